"""The estimate of a run: its work, time, storage and money by hand, and what was spent."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from pipeline_lib import artifacts, config, plan
from pipeline_lib.data.convert import convert
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import count_network, initial_weights
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.price import estimate, persons, spent, storage, text, work
from pipeline_lib.price.speed import Speed
from pipeline_lib.search.breed import breed
from pipeline_lib.search.genotype import key
from tests.unit.test_structure import ROOT, assert_no_backend

PEOPLE = {"train": 149_813, "val": 11_004, "val_detections": 100_000}
SMALL = {"train": 103, "val": 20, "val_detections": 25}


def experiment(of_paper: str = "E3", **changes) -> config.Config:
    raw = yaml.safe_load((ROOT / f"config/experiments/{of_paper}.yaml").read_text(encoding="utf-8"))
    for name, value in changes.items():
        raw[name] = {**raw[name], **value} if isinstance(value, dict) and name in raw else value
    return config.load(raw, ROOT)


def of(trainings, name):
    return next(one for one in trainings if one.name == name)


def test_the_work_of_e3_is_that_of_its_configuration():
    cfg = experiment()
    found = work.trainings(cfg, PEOPLE)
    search = [one for one in found if one.part == work.SEARCH]
    assert [one.number for one in search] == [1] + 16 * [64]
    ancestor, child, final = of(found, "generation 0"), of(found, "generation 9"), of(found, "champion_l")
    # Rests of less than a batch are left out of an epoch; each is validated on all of val.
    assert ancestor.images == 30 * (149_813 // 512) * 512 and ancestor.val_images == 30 * 11_004
    assert child.images == 5 * 292 * 512 and child.val_images == 5 * 11_004
    assert final.images == 200 * (149_813 // 128) * 128 and final.settings.devices == 8
    assert ancestor.multiply_adds == count_network(ancestor.network)["multiply_adds"]
    # The published sizes are those of other genotypes; the ancestor's are scaled with the coefficients of Eq. 4.
    assert of(found, "champion").network.scale == (1.0, 1.0)
    assert final.network.scale == pytest.approx((1.2**4.96, 1.1**4.96), rel=1e-3)
    scaled = work.trainings(cfg, PEOPLE, (*config.PAPER_ANCESTOR[:6], (4, 5, 40, 1)))
    assert of(scaled, "champion_l").multiply_adds > final.multiply_adds
    assert of(scaled, "generation 1") == of(found, "generation 1")


def test_children_have_the_mean_size_of_a_search_by_chance():
    cfg = experiment(search={"children": 200, "generations": 2})
    found = of(work.trainings(cfg, PEOPLE), "generation 1")
    assert found.number == 200
    # One mutation of the ancestor: around its size, and not all of it.
    ancestor = count_network(of(work.trainings(cfg, PEOPLE), "generation 0").network)
    assert 0.8 < found.multiply_adds / ancestor["multiply_adds"] < 1.2
    assert found.multiply_adds != ancestor["multiply_adds"]
    born = breed([cfg.search.ancestor], cfg.search.ancestor, [], work.SAMPLED, cfg.seed, 1, cfg.search.space)
    sizes = [count_network(Architecture.from_space(one.genotype, cfg.search.space, 256, 192)) for one in born]
    assert found.multiply_adds == pytest.approx(np.mean([size["multiply_adds"] for size in sizes]))
    assert found.parameters == pytest.approx(np.mean([size["parameters"] for size in sizes]))
    near = count_network(found.network)["multiply_adds"]
    assert abs(near / found.multiply_adds - 1) < 0.1
    assert work.trainings(cfg, PEOPLE) == work.trainings(cfg, PEOPLE)
    everybody = [key(genotype) for born in work._born(cfg) for genotype in born]
    assert len(everybody) == 1 + 2 * work.SAMPLED == len(set(everybody))
    assert of(work.trainings(experiment(search={"children": 200}, seed=7), PEOPLE), "generation 1") != found


def test_a_space_that_is_used_up_still_has_an_estimate():
    space = {"max_blocks": 1, "max_channels": [1] * 7, "kernels": [3], "free_stride_modules": [], "final_kernel": 1}
    ancestor = [[1, 3, 1, 1], *([1, 3, 1, 2] for _ in range(3)), [1, 3, 1, 1], [1, 3, 1, 2], [1, 3, 1, 1]]
    cfg = experiment(search={"space": space, "ancestor": ancestor, "generations": 3, "children": 5})
    sizes = {one.multiply_adds for one in work.trainings(cfg, PEOPLE) if one.part == work.SEARCH}
    assert len(sizes) == 1


def test_a_part_of_a_search_costs_only_that():
    twins = {"compare_scratch": True, "train": {"epochs": 5, "batch": 512, "evaluate_initial": True}}
    with_twins = work.trainings(experiment(search=twins), PEOPLE)
    assert of(with_twins, "generation 1").number == 2 * 64 + 1
    assert of(with_twins, "generation 2").number == 64
    assert of(with_twins, "generation 2").val_images == (5 + 1) * 11_004
    later = work.trainings(experiment(resume_from=15), PEOPLE)
    assert [one.name for one in later if one.part == work.SEARCH] == ["generation 15", "generation 16"]
    one = work.trainings(experiment(only={"generation": 11, "children": [3, 7]}), PEOPLE)
    assert [(each.name, each.number) for each in one if each.part == work.SEARCH] == [("generation 11", 2)]


def test_published_networks_and_a_refiner():
    cfg = experiment("table3_hrnet_w48_pretrained_384x288_posefix")
    found = work.trainings(cfg, PEOPLE)
    assert [one.part for one in found] == [work.FINAL, work.REFINER]
    network = registry.architecture("hrnet_w48", 384, 288, 17)
    assert found[0].network == network and found[0].parameters == count_network(network)["parameters"]
    assert found[1].settings == cfg.refine.train
    # The published program trains HRNet without L2.
    released = experiment("table3_hrnet_w32", preset="released")
    assert of(work.trainings(released, PEOPLE), "hrnet_w32").settings.l2 == 0 != released.final.train.l2


def test_people_are_counted_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = experiment()
    # Of COCO the numbers are known; the file of detections is not there.
    assert persons.persons(cfg) == {"train": 149_813, "val": 11_004, "val_detections": 11_004}
    assert persons.persons(cfg, {"train": 7})["train"] == 7
    held = experiment(search={"fitness_split": "holdout", "holdout": 0.1})
    found = persons.persons(held)
    assert (found["holdout_0.1"], found["search_0.1"]) == (14_981, 149_813 - 14_981)
    unknown = cfg.model_copy(update={"dataset": cfg.dataset.model_copy(update={"download": None})})
    with pytest.raises(ConfigError, match="--persons train=NUMBER"):
        persons.persons(unknown)


def test_people_of_records_and_of_annotations(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = experiment()
    folder = plan.manifest(cfg, "images/train").parent
    folder.parent.mkdir(parents=True)
    folder.symlink_to(manifest.parent)
    assert persons.persons(cfg)["train"] == artifacts.read_json(manifest)["examples"]
    split = cfg.dataset.val.model_copy(update={"annotations": str(manifest.parent.parent / "annotations.json")})
    own = cfg.model_copy(update={"dataset": cfg.dataset.model_copy(update={"val": split, "download": None})})
    listed = json.loads((manifest.parent.parent / "annotations.json").read_text())["annotations"]
    assert persons.persons(own)["val"] == len(listed)
    size = storage.storage(own, [], {"train": 1, "val": 1, "val_detections": 1}, 1)["records images/train"]
    assert size == sum(path.stat().st_size for path in manifest.parent.glob("*.tfrecord"))


def test_storage_by_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = {"records": "crops", "crop_encoding": "raw"}
    cfg = experiment("table3_hrnet_w32", conversion=raw)
    trainings = work.trainings(cfg, SMALL)
    found = storage.storage(cfg, trainings, SMALL, at_once=4)
    # Crops that are only evaluated are the input itself, three bytes a pixel.
    name = "records crops/256x192/val"
    assert name in found and found[name] == pytest.approx(20 * 256 * 192 * 3, rel=0.01)
    # What scaled and turned crops reach depends on the people.
    assert [size for key, size in found.items() if key.endswith("/train")] == [None]
    # Four parts of a state, two states, of the one training that there is.
    weights = files.size(trainings[0].network)
    assert found["weights of the final networks"] == pytest.approx(2 * weights)
    assert found["states of running trainings, at most"] == pytest.approx(2 * 4 * weights)
    assert storage.storage(experiment("table3_hrnet_w32"), trainings, SMALL, 1)["records images/train"] is None


def test_weights_of_a_search_are_those_of_its_files(tmp_path):
    cfg = experiment(search={"generations": 1, "children": 2, "parents": 2})
    found = storage.storage(cfg, work.trainings(cfg, PEOPLE)[:1], PEOPLE, 1)
    ancestor = work.trainings(cfg, PEOPLE)[0].network
    files.save(tmp_path / "a.safetensors", ancestor, initial_weights(ancestor, 0))
    # Before and after the training, and the survivors.
    size = (tmp_path / "a.safetensors").stat().st_size
    assert found["weights of the search"] == pytest.approx((2 + 2) * size)


def test_crops_and_images_are_looked_at(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = manifest.parent.parent
    cfg = experiment("table3_hrnet_w32")
    split = cfg.dataset.train.model_copy(
        update={"images": str(source), "annotations": str(source / "annotations.json")}
    )
    cfg = cfg.model_copy(update={"dataset": cfg.dataset.model_copy(update={"train": split})})
    (tmp_path / "pictures").mkdir()
    for number, size in enumerate((1000, 3000)):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(bytes(size))
    pictures = cfg.dataset.train.model_copy(update={"images": "pictures"})
    images = cfg.model_copy(update={"dataset": cfg.dataset.model_copy(update={"train": pictures})})
    assert storage.storage(images, [], SMALL, 1)["records images/train"] == 103 * (2000 + storage.RECORD_BYTES)


@pytest.mark.parametrize("resolution", [1, 4])
@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_crops_are_as_large_as_those_of_a_conversion(manifest, tmp_path, monkeypatch, encoding, resolution):
    monkeypatch.chdir(tmp_path)
    source = manifest.parent.parent
    annotations = source / "annotations.json"
    conversion = {"records": "crops", "crop_encoding": encoding, "crop_resolution": resolution}
    cfg = experiment("table3_hrnet_w32", conversion=conversion)
    split = cfg.dataset.train.model_copy(update={"images": str(source), "annotations": str(annotations)})
    models = {name: model.model_copy(update={"height": 16, "width": 16}) for name, model in cfg.final.models.items()}
    small = cfg.final.model_copy(update={"models": models})  # than the people
    cfg = cfg.model_copy(update={"dataset": cfg.dataset.model_copy(update={"train": split}), "final": small})
    (size,) = (value for key, value in storage.storage(cfg, [], SMALL, 1).items() if key.endswith("/train"))
    made = convert(
        tmp_path / "made/manifest.json",
        annotations=annotations,
        images=source,
        split="train",
        purpose="training",
        schema=cfg.dataset.keypoints,
        settings=cfg.conversion,
        reach=next(reach for reach in plan.record_folders(cfg).values() if reach is not None and reach.scale > 1),
    )
    written = sum(shard["bytes"] for shard in made["shards"])
    assert size == pytest.approx(103 / made["examples"] * written, rel=0.05)


SPEEDS = (
    Speed("generation 0", multiply_adds=1e9, train=0.01, validate=0.002, read=None, start=20.0, part=16),
    Speed("champion_l", multiply_adds=8e9, train=0.1, validate=0.03, read=0.2, start=50.0, part=16),
)


def training(name="generation 1", part=work.SEARCH, number=3, multiply_adds=2e9, devices=1, **changes):
    settings = config.TrainSettings(epochs=2, batch=8, devices=devices, **changes)
    network = registry.architecture("evopose2d_s", 256, 192, 17)
    return work.Training(part, name, number, network, multiply_adds, 1e6, settings, 100, 10)


def test_time_by_hand():
    rows = estimate.rows(
        [training(), training("champion_l", work.FINAL, 1, 8e9, devices=4), training("generation 0", number=1, multiply_adds=1e9)],
        SPEEDS, launch=5.0,
    )  # fmt: skip
    # 2 epochs of 12 steps of 8; twice the multiply-adds of the nearest network that was measured.
    assert rows[0].seconds == pytest.approx(5 + 20 + 192 * 0.02 + 2 * 10 * 0.004)
    assert not rows[0].measured
    # Four devices read no faster: 0.2 s an image for all of them, instead of 0.1 / 4.
    assert rows[1].seconds == pytest.approx(5 + 50 + 192 * 0.2 + 2 * 10 * 0.03 / 4)
    assert rows[1].measured and rows[2].measured
    # Its own measurement counts, even when another network is nearer in size.
    other = training("champion_l", work.FINAL, 1, 1.1e9)
    (own,) = estimate.rows([other], SPEEDS, launch=5.0)
    assert own.seconds == pytest.approx(5 + 50 + 192 * 0.2 + 2 * 10 * 0.03 * 1.1 / 8)
    assert rows[0].device_hours == pytest.approx(3 * rows[0].seconds / 3600)
    assert rows[1].device_hours == pytest.approx(4 * rows[1].seconds / 3600)


def row(name, number, seconds, part=work.SEARCH, devices=1):
    return estimate.Row(part, name, number, 100, 10, 1e9, 1e6, devices, True, seconds)


def planned(*rows, at_once=2, price=None):
    return estimate.Estimate("e", "cpu", SPEEDS, 5.0, tuple(rows), (estimate.Store("weights", 2e6),), at_once, price)


def test_generations_wait_for_each_other():
    found = planned(
        row("generation 0", 1, 3600), row("generation 1", 3, 3600), row("a", 1, 7200, work.FINAL),
        row("b", 1, 1800, work.FINAL, devices=2),
    )  # fmt: skip
    # 1, then 3 on 2 devices: 2, then both final networks, of which one needs both devices: one after the other.
    assert found.hours == pytest.approx(1 + 2 + 2.5)
    assert found.evaluations == 4
    assert found.device_hours == pytest.approx(1 + 3 + 2 + 1)


def test_the_file_says_the_same_again(tmp_path):
    found = planned(row("generation 0", 1, 3600), price=2.5)
    artifacts.write_json(tmp_path / "plan.json", found.to_json())
    assert estimate.Estimate.read(tmp_path / "plan.json") == found
    for change in ({"schema_version": 99}, {"rows": 3}, {"price": "much"}):
        artifacts.write_json(tmp_path / "plan.json", {**found.to_json(), **change})
        with pytest.raises(ArtifactError, match=r"plan.json: .*scripts/plan.py"):
            estimate.Estimate.read(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [("mine.yaml", "a: [1\n", "not valid JSON or YAML"), ("none.yaml", None, "No such file or directory")],
)
def test_of_several_configuration_files_the_wrong_one_is_named(tmp_path, name, content, problem):
    if content is not None:
        (tmp_path / name).write_text(content)
    command = [sys.executable, str(ROOT / "scripts/plan.py"), "--configfile", str(ROOT / "config/config.yaml")]
    done = subprocess.run([*command, str(tmp_path / name)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"--configfile {tmp_path / name}: " in done.stderr and problem in done.stderr


def write_training(folder, seconds, devices=1):
    folder.mkdir(parents=True)
    rows = [
        {"epoch": epoch + 1, "seconds": each, "device": "cpu", "devices": devices} for epoch, each in enumerate(seconds)
    ]
    artifacts.write_csv(folder / "history.csv", rows, ["epoch", "seconds", "device", "devices"])


def write_benchmark(folder, seconds):
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:01\n")


def test_what_was_spent(tmp_path):
    results, benchmarks = tmp_path / "results", tmp_path / "benchmarks"
    write_training(results / "search/gen_001/child_00", [100, 200])
    write_training(results / "search/gen_001/child_01", [100, 200])
    write_training(results / "search/gen_1000/child_00", [360])
    write_training(results / "models/m", [3600, 3600], devices=8)
    write_training(results / "refiner", [36])
    # The whole process of the first; the second was interrupted, and its last process was a short one.
    write_benchmark(benchmarks / "search/gen_001/child_00", 420)
    write_benchmark(benchmarks / "search/gen_001/child_01", 50)
    found = spent.spent(results, benchmarks)
    assert [(one.part, one.name, one.number) for one in found] == [
        (work.SEARCH, "generation 1", 2), (work.SEARCH, "generation 1000", 1), (work.FINAL, "m", 1),
        (work.REFINER, "refiner", 1),
    ]  # fmt: skip
    assert [one.device_hours for one in found] == pytest.approx([720 / 3600, 0.1, 16, 0.01])


def test_estimated_beside_spent():
    plan_ = planned(
        row("generation 0", 1, 3600), row("generation 1", 2, 1800), row("m", 1, 7200, work.FINAL), price=2.0
    )
    done = [spent.Spent(work.SEARCH, "generation 0", 1, 1.5), spent.Spent(work.SEARCH, "generation 7", 3, 4.0)]
    rows = text.spending(plan_, done)
    by_name = {each["name"]: each for each in rows}
    assert by_name["generation 0"]["estimated_device_hours"] == 1.0
    assert by_name["generation 0"]["spent_device_hours"] == 1.5 and by_name["generation 0"]["spent_cost"] == 3.0
    assert by_name["m"]["spent_device_hours"] == "" and by_name["m"]["estimated_cost"] == 4.0
    assert by_name["generation 7"]["trainings"] == 0 and by_name["generation 7"]["trained"] == 3
    total = rows[-1]
    assert (total["part"], total["trainings"], total["trained"]) == ("all", 4, 4)
    assert (total["estimated_device_hours"], total["spent_device_hours"]) == (4.0, 5.5)
    assert (total["estimated_cost"], total["spent_cost"]) == (8.0, 11.0)
    unpriced = text.spending(planned(row("generation 0", 1, 3600)), done)
    assert all(each["estimated_cost"] == each["spent_cost"] == "" for each in unpriced)
    (page,) = text.spent_page(planned(row("generation 0", 1, 3600)), unpriced)
    assert "cost" not in " ".join(page.blocks[1].header)


def test_the_page_says_what_counts():
    page = text.estimate(planned(row("generation 0", 1, 3600), row("m", 1, 1800, work.FINAL, 4), price=3.0))
    head = page[0].blocks[0]
    assert head.startswith(
        "1 evaluation in the search, 3 device-hours, 9.00 at 3 for a device's hour; with 2 devices 1.5 h"
    )
    assert text.duration(59) == "59.0 s" and text.duration(90) == "1.5 min" and text.duration(36 * 3600) == "1.5 d"
    assert text.size(999) == "999 B" and text.size(1.5e9) == "1.5 GB" and text.size(2e15) == "2000.0 TB"
    assert text.hours(1234.5) == "1,234" and text.hours(0.01234) == "0.0123"
    stored = page[-1].blocks[0].rows
    assert ("weights", "2.0 MB") in stored and ("all", "2.0 MB") in stored


def test_the_estimate_needs_no_backend_but_for_the_measurement():
    modules = ("work", "persons", "storage", "estimate", "spent", "text")
    assert_no_backend("; ".join(f"import pipeline_lib.price.{module}" for module in modules))


def test_calibration_measures_the_step_that_is_trained(manifest, monkeypatch):
    """Real networks on this device: twice the work takes longer, and what is measured can be compared with a training."""
    from pipeline_lib.price import calibration
    from tests.unit.conftest import TINY

    counted = count_network(TINY)
    settings = config.TrainSettings(epochs=1, batch=4, devices=2)
    child = work.Training(
        work.SEARCH, "generation 0", 1, TINY, counted["multiply_adds"], counted["parameters"], settings, 11, 11
    )
    twin = work.Training(work.SEARCH, "generation 1", 2, TINY, 1.0, 1.0, settings, 11, 11)
    refiner = work.Training(
        work.REFINER, "posefix_r50", 1, registry.refiner("posefix_r50", 64, 64, 17), 1e9, 1e6, settings, 11, 11
    )
    (speed,) = calibration.measure([child, twin, refiner], "cpu", 0.5, {"generation 0": manifest})
    assert speed.network == "generation 0" and speed.multiply_adds == counted["multiply_adds"]
    assert speed.part == 2  # a device's share of the batch
    assert 0 < speed.train < 1 and 0 < speed.validate < 1
    assert speed.start > 10 * speed.train  # tracing takes longer than many steps
    assert speed.read is not None and 0 < speed.read < 1
    assert speed.of(3 * speed.multiply_adds).train == pytest.approx(3 * speed.train)
    assert speed.of(3 * speed.multiply_adds).start == speed.start


def test_what_does_not_fit_is_measured_in_smaller_parts(monkeypatch):
    from pipeline_lib.price import calibration
    from tests.unit.conftest import TINY

    tried = []

    def step(training, strategy, persons, *rest):
        tried.append(persons)
        if persons > 3:
            raise MemoryError("out of memory")
        return Speed(training.name, 1.0, 1.0, 1.0, None, 0.0, persons)

    monkeypatch.setattr(calibration, "_step", step)
    one = work.Training(work.FINAL, "m", 1, TINY, 1.0, 1.0, config.TrainSettings(batch=64), 100, 10)
    (speed,) = calibration.measure([one], "cpu", 1.0)
    assert tried == [16, 8, 4, 2] and speed.part == 2


def test_columns_are_those_of_the_file(tmp_path):
    rows = text.spending(planned(row("generation 0", 1, 3600)), [])
    artifacts.write_csv(tmp_path / "costs.csv", rows, text.COLUMNS)
    with (tmp_path / "costs.csv").open(newline="") as stream:
        assert next(csv.DictReader(stream))["estimated_device_hours"] == "1.0"
    assert np.isfinite(rows[-1]["estimated_device_hours"])
