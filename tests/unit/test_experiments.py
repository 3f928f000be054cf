"""The paper's experiments as configurations: they load, say what they are, and have the paper's values."""

import re

import pytest
import yaml

from pipeline_lib import config, plan
from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from tests.unit.made_results import EXPERIMENTS, ROOT, SMOKE, raw

FILES = sorted(EXPERIMENTS.glob("*.yaml"))
NAMES = [path.stem for path in FILES]
HEADERS = {
    path.stem: "\n".join(line for line in path.read_text().splitlines() if line.startswith("#")) for path in FILES
}
# Facts of the paper, of the fine-tuning on PoseTrack: batch, input and place of the weights trained on COCO.
POSETRACK = {
    "posetrack_simple_baseline_r50": (256, 256, 192),
    "posetrack_evopose2d_s": (512, 256, 192),
    "posetrack_hrnet_w32": (256, 256, 192),
    "posetrack_evopose2d_m": (256, 384, 288),
}
# Facts of the paper: batch of each network's final training.
BATCHES = {"evopose2d_xs": 512, "evopose2d_s": 512, "evopose2d_m": 256, "evopose2d_l": 128}
# lambda, mu, Gamma, kernel of the final convolution, weight transfer.
SEARCHES = {
    "E1": (32, 4, -0.04, 3, True),
    "E2": (32, 4, -0.07, 1, True),
    "E3": (64, 4, -0.07, 1, True),
    "E3_scratch": (64, 4, -0.07, 1, False),
}
RATE = {"": (5, True), "_nowarmup": (0, True), "_noscaling": (5, False)}


def loaded(name, *others):
    return config.load(raw(name, *others), ROOT)


def test_every_experiment_of_the_paper_has_a_file_and_every_file_one():
    assert sorted(NAMES) == sorted(experiments.names()) and len(NAMES) == 4 + 6 + 20 + 4
    assert {name for name in NAMES if name.startswith("posetrack")} == set(POSETRACK)
    rows = [row for row in paper.table3() if not row.starred]
    for row in rows:
        name = experiments.of_result(row)
        ((model, network),) = loaded(name).final.models.items()
        assert (network.network, network.height, network.width) == (row.network, row.height, row.width), name
        assert (network.pretrained is not None) == row.pretrained and model == row.network


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_loads_with_and_without_smoke(name):
    own = loaded(name)
    assert own.experiment == name and own.preset == "paper"
    assert own.dataset.name == ("posetrack18" if name in POSETRACK else "coco2017")
    assert own.search.enabled is (name in SEARCHES)
    small = loaded(name, SMOKE)
    assert small.dataset.synthetic is not None and small.experiment == name
    assert small.final.models.keys() == own.final.models.keys()
    for model in small.final.models.values():
        assert (model.height, model.width, model.pretrained) == (64, 64, None)
    trainings = [small.final.train, *([small.search.train_of(0), small.search.train] if name in SEARCHES else [])]
    assert {(train.epochs, train.batch, train.devices, train.accumulation) for train in trainings} == {(1, 8, 1, 1)}
    if name in SEARCHES:
        assert (small.search.generations, small.search.children, small.search.pretrained) == (1, 2, None)
    # Everything that can be found wrong before a job; its data are made by it.
    plan.load(raw(name, SMOKE), ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_the_header_names_the_command_and_says_what_was_reproduced(name):
    header = HEADERS[name]
    assert re.findall(r"^# Command: (.*)$", header, re.MULTILINE) == [
        f"snakemake --profile tpu --configfile config/experiments/{name}.yaml"
    ]
    assert header.splitlines()[0].startswith(
        "# yaml-language-server: $schema=../../workflow/schemas/config.schema.yaml"
    )
    for part in ("# Paper: ", "# Cost: ", "# Reproduced here: "):
        assert header.count(part) == 1, part
    assert all(len(line) <= 130 for line in header.splitlines())


POSEFIX = [name for name in NAMES if name.endswith("_posefix")]


@pytest.mark.parametrize("name", POSEFIX)
def test_experiments_with_posefix_are_those_without_and_a_refiner(name):
    own, base = loaded(name), loaded(name.removesuffix("_posefix"))
    assert own.model_copy(update={"experiment": base.experiment, "refine": base.refine}) == base
    assert own.refine.enabled and not base.refine.enabled
    refine, train = own.refine, own.refine.train
    assert (refine.network, refine.height, refine.width, refine.pose_sigma) == ("posefix_r152", 384, 288, 9)
    assert (train.epochs, train.milestones, train.base_rate, train.scale_rate) == (140, (90, 120), 5e-4, False)
    assert (train.precision, train.devices, train.keep) == ("bfloat16", 8, "last")
    augmentation = train.augmentation
    assert (augmentation.flip, augmentation.scale_std, augmentation.scale_limit) == (0.5, 0.3, 0.3)
    assert (augmentation.rotation_probability, augmentation.rotation_std) == (0.6, 40)
    (row,) = [row for row in paper.table3() if row.dataset == "coco_val" and experiments.of_result(row) == name]
    before = paper.without_posefix(row)
    assert row.starred and f"({before.AP} without PoseFix)" in HEADERS[name]
    small = loaded(name, SMOKE).refine
    assert (small.enabled, small.network, small.height, small.width) == (True, "posefix_r50", 64, 64)
    assert (small.train.epochs, small.train.batch, small.train.precision, small.train.devices) == (1, 8, "float32", 1)


def test_starred_rows_are_their_networks_with_posefix():
    names = {(row.method, row.dataset): experiments.of_result(row) for row in paper.table3() if row.starred}
    assert names == {
        (method, dataset): f"table3_{name}_posefix"
        for method, name in (("HRNet-W48* [51]", "hrnet_w48_pretrained_384x288"), ("EvoPose2D-L*", "evopose2d_l"))
        for dataset in ("coco_val", "coco_test_dev")
    }
    assert len(POSEFIX) == 2


def stated(name):
    """AP of val2017 and of test-dev, parameters (M), multiply-adds (G) and frames a second, as the header has them."""
    header = " ".join(line.lstrip("# ") for line in HEADERS[name].splitlines())
    said = header[header.index("Paper: ") : header.index("Cost: ")]
    patterns = {
        "coco_val": r"AP ([\d.]+) on COCO val2017",
        "posetrack_val": r"AP ([\d.]+) on PoseTrack 2018 val with ground-truth boxes",
        "coco_test_dev": r"(?:AP ([\d.]+) on COCO test-dev)|(?:([\d.]+) on test-dev)",
        "params_M": r"([\d.]+) M parameters",
        "flops_G": r"([\d.]+) G multiply-adds",
        "fps": r"([\d.]+) frames/s",
    }
    found = {key: re.findall(pattern, said) for key, pattern in patterns.items()}
    return {key: "".join(values[0]) for key, values in found.items() if values}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("table3", "posetrack"))])
def test_the_header_has_the_values_of_table_3(name):
    said = stated(name)
    rows = [row for row in paper.table3() if experiments.of_result(row) == name]
    # The paper's own value, where it also quotes another one.
    rows.sort(key=lambda row: row.implemented_by_the_paper)
    expected = {row.dataset: f"{row.AP}" for row in rows}
    of_val = [row for row in rows if row.dataset in ("coco_val", "posetrack_val")]
    for column in ("params_M", "flops_G", "fps"):
        if of_val and getattr(of_val[-1], column) is not None:
            expected[column] = f"{getattr(of_val[-1], column)}"
    assert said == expected


@pytest.mark.parametrize("row", paper.table1(), ids=experiments.of_batch_size)
def test_experiments_of_table_1(row):
    name = experiments.of_batch_size(row)
    header = HEADERS[name]
    assert f"# Paper: AP {row.AP} on COCO val2017" in header and f"# Cost: {row.hours:.2f} hours on a v3-8" in header
    own = loaded(name)
    train, (model,) = own.final.train, own.final.models.values()
    warmup, scaled = RATE[name.removeprefix(f"table1_{row.batch}")]
    assert (train.batch, train.epochs, train.warmup_epochs, train.scale_rate) == (row.batch, 200, warmup, scaled)
    # Its rate is 0.002 in Fig. 4 where it is not scaled, and 2.5e-4 for 32 persons otherwise.
    assert train.base_rate == (2.5e-4 if scaled else 2e-3)
    assert (model.network, model.height, model.width) == ("simple_baseline_r50", 256, 192)
    # Batch statistics are those of a core of the v3-8: the largest that fits one.
    assert train.batch / train.devices <= 256 and train.devices == 8


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("table3")])
def test_experiments_of_table_3_train_as_the_paper(name):
    own = loaded(name)
    ((model, _),) = own.final.models.items()
    train = own.final.train
    assert (train.epochs, train.warmup_epochs, train.batch) == (200, 5, BATCHES.get(model, 256))
    assert (train.precision, train.keep, train.scale_rate, train.base_rate) == ("bfloat16", "last", True, 2.5e-4)
    augmentation = train.augmentation
    assert (augmentation.flip, augmentation.scale_limit, augmentation.rotation_limit) == (0.5, 0.3, 80)
    assert augmentation.half_body_probability == 0 and own.evaluation.flip_test == "aligned"
    assert own.evaluation.frame_rate


@pytest.mark.parametrize("name", POSETRACK)
def test_experiments_of_posetrack_go_on_from_those_of_coco(name):
    """Section V-C2: as on COCO but for 20 epochs with early stopping; ground-truth boxes."""
    own = loaded(name)
    ((model, network),) = own.final.models.items()
    train, batch = own.final.train, POSETRACK[name][0]
    assert (batch, network.height, network.width) == POSETRACK[name]
    before = loaded(f"table3_{model}")
    ((_, same),) = before.final.models.items()
    assert network.model_copy(update={"pretrained": None}) == same
    assert network.pretrained == f"results/table3_{model}/models/{model}/weights.safetensors"
    changes = {"epochs": 20, "keep": "best", "patience": train.patience}
    assert train == before.final.train.model_copy(update=changes) and train.batch == batch
    assert train.patience is not None and 1 <= train.patience < 20 and train.warmup_epochs == 5
    assert own.dataset.format == "posetrack" and own.dataset.keypoints == config.POSETRACK_KEYPOINTS
    assert own.dataset.val.detections is own.dataset.download is None and plan.boxes(own) == ["ground_truth"]
    assert own.evaluation == before.evaluation


@pytest.mark.parametrize("name", SEARCHES)
def test_experiments_of_the_searches(name):
    own = loaded(name).search
    children, parents, gamma, kernel, transfer = SEARCHES[name]
    assert (own.children, own.parents, own.gamma, own.space.final_kernel, own.transfer) == (
        *(children, parents, gamma, kernel, transfer),
    )
    assert (own.target_parameters, own.fitness_split, own.keep_ancestor) == (5e6, "val", False)
    assert (own.ancestor_epochs, own.train.epochs, own.train.batch, own.train.warmup_epochs) == (30, 5, 512, 0)
    assert own.ancestor == config.PAPER_ANCESTOR and own.pretrained.endswith("efficientnetb0_notop.h5")
    assert own.train.keep == "best"
    augmentation = own.train.augmentation
    assert (augmentation.flip, augmentation.scale_std, augmentation.rotation_probability) == (0.5, 0, 0)
    # Fig. 5 has up to 1,000 evaluations; E2 took half the time of E1.
    assert 500 <= own.children * own.generations <= 1100
    (printed,) = [search for search in paper.searches() if experiments.SEARCHES[search.name] == name]
    assert (printed.children, printed.parents, printed.gamma, printed.transfer) == (children, parents, gamma, transfer)
    if printed.days:
        assert f"# Cost: {printed.days} days on eight v2-8 TPUs" in HEADERS[name]
    first = HEADERS[name].splitlines()[1]
    assert (
        f"lambda {children}" in first and f"Gamma {gamma}" in first if transfer else "without weight transfer" in first
    )


def test_smoke_names_a_place_of_its_own_for_results():
    header = (ROOT / "config/overrides/smoke.yaml").read_text()
    assert "--config experiment=smoke_E3" in header
    assert yaml.safe_load(header)["dataset"] == "config/datasets/smoke.yaml"
