"""The configuration: what it accepts, how it explains what it refuses, and that schema, manual and models are equal."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from pycocotools.cocoeval import Params

from pipeline_lib import config, manual
from pipeline_lib.config import COCO_KEYPOINTS, KeypointSchema
from pipeline_lib.errors import ConfigError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"

MINIMAL = {
    "experiment": "test",
    "dataset": {
        "name": "own",
        "train": {"images": "images/train", "annotations": "train.json"},
        "val": {"images": "images/val", "annotations": "val.json"},
    },
    "search": {"generations": 3, "children": 4, "parents": 2},
    "final": {"models": {"s": {}}},
}


def changed(**values):
    """MINIMAL with values at paths such as search__train__epochs."""
    raw = copy.deepcopy(MINIMAL)
    for path, value in values.items():
        *folders, key = path.split("__")
        section = raw
        for folder in folders:
            section = section.setdefault(folder, {})
        section[key] = value
    return raw


def message(raw):
    with pytest.raises(ConfigError) as caught:
        config.load(raw)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_papers_values_are_the_defaults():
    loaded = config.load(MINIMAL)
    assert (loaded.input.height, loaded.input.width) == (256, 192)
    search = loaded.search
    assert (search.gamma, search.target_parameters, search.ancestor_epochs) == (-0.07, 5e6, 30)
    assert (search.train.epochs, search.train.batch, search.train.warmup_epochs, search.train.l2) == (5, 512, 0, 1e-5)
    assert search.train.base_rate == 2.5e-4 and search.train.scale_rate
    augmentation = search.train.augmentation  # the search's only one is the flip
    assert (augmentation.flip, augmentation.scale_std, augmentation.rotation_probability) == (0.5, 0, 0)
    assert search.space.max_downsamplings == 4  # Algorithm 1: sum(stride - 1) = 4
    assert config.overall_stride(search.ancestor) == 32
    full = config.load(changed(final__train__augmentation={})).final.train.augmentation
    assert (full.flip, full.scale_std, full.scale_limit, full.rotation_probability) == (0.5, 0.3, 0.3, 0.6)
    assert (full.rotation_std, full.rotation_limit, full.half_body_probability, full.half_body_joints) == (40, 80, 0, 8)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"serach": {}}, "serach: unknown key, is search meant? correct it or leave it out"),
        ({"search__train__epoch": 3}, "search.train.epoch: unknown key, is epochs meant?"),
        ({"search__space__kernel": [3]}, "search.space.kernel: unknown key, is kernels meant?"),
        ({"search__children": 4, "search__spice": {}}, "search.spice: unknown key, is space meant?"),
        ({"blurred": 1}, "blurred: unknown key, correct it or leave it out"),
        ({"storage": {"cache": "a\0b"}}, "storage.cache: text without"),
        ({"dataset__by_hand": "half \ud800"}, r"dataset.by_hand: text without"),
        ({"search__gamma": 1e308}, "search.gamma"),
        ({"search__gamma": -26}, "search.gamma"),
        ({"search__target_parameters": 1e300}, "search.target_parameters"),
        ({"search__children": "four"}, "(given: 'four')"),
        ({"search__generations": -1}, "search.generations"),
        ({"search__generations": 2.5}, "search.generations"),
        ({"search__gamma": float("nan")}, "search.gamma"),
        ({"train__precision": "float16"}, "precision"),
        ({"seed": -1}, "seed"),
        ({"experiment": "../up"}, "experiment"),
        ({"device": "npu"}, "device"),
        ({"final__models": {}}, "final.models"),
        ({"final__models": {"a/b": {}}}, "final.models"),
        ({"search__space__kernels": [4]}, "search.space.kernels: odd numbers in ascending order"),
        ({"search__space__kernels": [5, 3]}, "ascending"),
        ({"search__space__kernels": [3, 3]}, "ascending"),
        ({"search__space__stride_limit": 24}, "search.space.stride_limit: a power of two"),
        ({"search__space__free_stride_modules": [8]}, "free_stride_modules"),
        ({"search__ancestor": [[1, 3, 2, 1]] * 6}, "search.ancestor"),
        ({"search__train__warmup_epochs": 5}, "warmup_epochs (5.0) must be below epochs (5)"),
        (
            {"conversion__records": "crops", "final__train__augmentation__half_body_probability": 0.1},
            "final.train.augmentation.half_body_probability: half bodies are cut out of whole images",
        ),
        ({"conversion__records": "crops", "preset": "released"}, "set conversion.records: images"),
        ({"conversion__records": "boxes"}, "conversion.records"),
        ({"conversion__jpeg_quality": 101}, "conversion.jpeg_quality"),
        ({"conversion__crop_encoding": "png"}, "conversion.crop_encoding"),
        ({"conversion__crop_resolution": 0.5}, "conversion.crop_resolution"),
        ({"conversion__crop_resolution": True}, "conversion.crop_resolution: a number is expected"),
        ({"conversion__crop_resolution": "2"}, "conversion.crop_resolution: a number is expected"),
        ({"conversion__crop_resolution": float("nan")}, "conversion.crop_resolution"),
        ({"search__train__devices": 3}, "a batch of 512 cannot be shared by 3 devices"),
        (
            {"search__train__devices": 2, "search__train__accumulation": 3},
            "a device's share of 256 cannot be split into 3 parts",
        ),
        ({"search__train__accumulation": 0}, "search.train.accumulation: Input should be greater than 0"),
        ({"search__pretrained": "weights.pt"}, "search.pretrained: a file of weights is expected, whose name"),
        (
            {"final__models": {"m": {"pretrained": "x.doc"}}},
            "final.models.m.pretrained: a file of weights is expected, whose name ends in .safetensors, .h5 or .keras "
            "(given: 'x.doc')",
        ),
        ({"paper_prefix": "../x"}, "paper_prefix: letters (A-Z, a-z), digits, '_', '-' and '.' are allowed"),
        ({"final__train__patience": 0}, "final.train.patience: Input should be greater than 0"),
        ({"final__train": {"patience": 3, "keep": "last"}}, "final.train: patience: training ends after its best epoch"),
        (
            {"search__compare_scratch": True, "search__train": {"evaluate_initial": True, "patience": 2}},
            "search: compare_scratch: it compares trainings of the same length",
        ),
        ({"dataset__keypoints": "halpe"}, "dataset.keypoints: a section is expected"),
        ({"dataset__format": "posetrack", "dataset__synthetic": {}}, "dataset: synthetic: only for data sets of format"),
        (
            {"dataset__format": "posetrack", "dataset__test": {"images": "a", "annotations": "b"}},
            "dataset: test: only for data sets of format: coco; leave it out",
        ),
        (
            {"final__models": {"m": {"height": 256, "width": 192, "initial": "champion", "pretrained": "b0.h5"}}},
            "final.models.m: pretrained: weights come from there or",
        ),
        ({"search__children": {2: 4}}, "entry for generation 1"),
        ({"resume_from": 5}, "resume_from: 5, but the search has 3 generations (search.generations); at most 4"),
        ({"resume_from": 0}, "resume_from: Input should be greater than 0"),
        ({"only": 4}, "only: generation 4 is none of those that could be made, 0 to 3"),
        ({"only": 2, "resume_from": 3}, "only: generation 2 is none of those that could be made, 3 to 3"),
        ({"only": True}, "only: a section is expected (given: True)"),
        ({"only": {"children": [1]}}, "only.generation: Field required"),
        ({"only": {"generation": 1, "children": []}}, "only.children"),
        ({"only": {"generation": 1, "children": [3, 1, 3]}}, "only: children [3, 1, 3]: name each once"),
        (
            {"only": {"generation": 1, "children": [4, 3]}},
            "only.children: the last child of generation 1 is 3, not 4",
        ),
        ({"only": {"generation": 0, "children": [1]}}, "the last child of generation 0 is 0, not 1"),
        ({"branch": "b"}, "branch: say which is the first generation of its own, such as resume_from: 3"),
        ({"branch": "a@b", "resume_from": 1}, "branch: letters (A-Z, a-z), digits"),
        ({"search__convergence": {}}, "search.convergence.patience: Field required"),
        ({"search__convergence": {"patience": 0}}, "search.convergence.patience: Input should be greater than 0"),
        ({"search__convergence": {"patience": 1, "min_gain": 1.0}}, "search.convergence.min_gain"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change, expected):
    assert expected in message(changed(**change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"search__children": -3}, "search.children: Input should be greater than 0 (given: -3)"),
        ({"search__children": {1: -2}}, "search.children.1: Input should be greater than 0 (given: -2)"),
        (
            {"final__models": {"a b": {}}},
            "final.models: key 'a b': letters (A-Z, a-z), digits, '_', '-' and '.' are allowed, a letter or digit first",
        ),
        (
            {"experiment": "a/b"},
            "experiment: letters (A-Z, a-z), digits, '_', '-' and '.' are allowed, a letter or digit first (given: 'a/b')",
        ),
        ({"experiment": 5}, "experiment: text is expected; put it into quotation marks (given: 5)"),
        ({"experiment": "data"}, "experiment: results/data/ is not an experiment's; give it another name (given: 'data')"),
        ({"experiment": "paper"}, "experiment: results/paper/ is not an experiment's; give it another name (given: 'paper')"),
        ({"train": {"epochs": 0}}, "train.epochs: Input should be greater than 0 (given: 0)"),
        (
            {"train": {"epochs": 0}, "final__train": {"epochs": -1}},
            "train.epochs: Input should be greater than 0 (given: 0); "
            "final.train.epochs: Input should be greater than 0 (given: -1)",
        ),
        (
            {"train": {"batch": 12, "devices": 5}, "search__train": {"epochs": 2}},
            "train: a batch of 12 cannot be shared by 5 devices: not divisible",
        ),
        ({"search__ancestor": [[1, 3, 2, 1]] * 6}, "search.ancestor: 7 entries are expected, 6 given"),
        ({"search__ancestor": [[1, 3, 2, 1]] * 8}, "search.ancestor: 7 entries are expected, 8 given"),
        (
            {"search__ancestor": [[1, 3, 2, 1]] * 6 + [[1, 3]]},
            "search.ancestor.6: 4 entries are expected, 2 given",
        ),
        ({"search__space": [1]}, "search.space: a section is expected (given: [1])"),
        ({"dataset": None}, "dataset: Field required, give it a value"),
        (
            {"search__generations": "2"},
            "search.generations: an integer is expected; write it without quotation marks (given: '2')",
        ),
        ({"search__generations": True}, "search.generations: an integer is expected (given: True)"),
        ({"search__children": True}, "search.children: an integer is expected (given: True)"),
        ({"search__gamma": True}, "search.gamma: a number is expected (given: True)"),
        ({"search__transfer": 1}, "search.transfer: true or false is expected (given: 1)"),
        ({"search__space": {"max_blocks": True}}, "search.space.max_blocks: a list is expected (given: True)"),
    ],
)  # fmt: skip
def test_messages_are_for_people(change, expected):
    assert message(changed(**change)) == expected


@pytest.mark.parametrize(
    ("written", "better"), [("8e-3", "8.0e-3"), ("5e6", "5.0e+6"), ("2.5e5", "2.5e+5"), ("-7E-2", "-7.0e-2")]
)
def test_numbers_that_yaml_reads_as_text(written, better):
    given = yaml.safe_load(f"base_rate: {written}")
    assert given["base_rate"] == written and yaml.safe_load(better) == float(written)
    text = message(changed(train=given))
    assert text == (
        f"train.base_rate: a number is expected; YAML reads {written} as text: write {better} (given: '{written}')"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2**63},
        {"search__generations": 10_001},
        {"search__children": 100_001},
        {"search__children": {1: 100_001}},
        {"search__children": {10_001: 1, 1: 1}},
        {"search__parents": 100_001},
        {"search__ancestor_epochs": 10**6},
        {"search__ancestor": [[1, 3, 10**9, 1]] * 7},
        {"search__space": {"max_blocks": 10**9}},
        {"search__space": {"expansion": [10**9] * 7}},
        {"search__space": {"stem": 10**9}},
        {"search__space": {"head_layers": 10**9}},
        {"search__space": {"stride_limit": 2**60}},
        {"train": {"epochs": 10**9}},
        {"train": {"batch": 2**21}},
        {"train": {"cpu_threads": 10**6}},
        {"train": {"accumulation": 10**9}},
        {"input": {"height": 8224, "width": 32}},
        {"final__models": {"s": {"width": 32 * 10**6}}},
        {"final__models": {"s": {"coefficients": [1e9, 1]}}},
        {"evaluation": {"batch": 10**9}},
        {"conversion": {"workers": 10**9}},
        {"conversion": {"shard_size": 10**9}},
        {"report": {"overlays": 10**9}},
        {"dataset__synthetic": {"train_images": 10**9}},
        {"dataset__synthetic": {"people": 10**9}},
    ],
    ids=lambda change: next(iter(change)) + str(next(iter(change.values())))[:20],
)
def test_nonsense_is_refused_at_once(change):
    assert "Input should be less than or equal to" in message(changed(**change))


def test_trainings_of_all_generations_have_a_limit():
    assert "1,000,000,000 children in all generations" in message(
        changed(search__generations=10_000, search__children=100_000)
    )


def test_an_empty_section_is_as_if_left_out():
    plain = config.load(MINIMAL)
    empty = changed(train=None, input=None, conversion=None, evaluation=None, report=None)
    empty["search"] |= {"space": None, "train": None}
    empty["final"] |= {"train": None, "models": {"s": None}}
    assert config.load(empty) == plain
    assert config.load(changed(search=None)).search == config.SearchConfig()
    # `augmentation:` with nothing under it does not hide what is shared.
    shared = {"augmentation": {"scale_std": 0.1}}
    merged = config.load(changed(train=shared, search__train={"augmentation": None})).search.train
    assert merged.augmentation.scale_std == 0.1
    assert config.load(changed(preset="released", search=None)).search.keep_ancestor
    assert "serach: unknown key" in message(changed(serach=None))


def test_all_problems_are_named_at_once():
    text = message(changed(serach={}, seed=-1))
    assert "serach" in text and "seed" in text


def test_a_missing_key_is_named():
    raw = changed()
    del raw["final"]["models"]
    assert "final.models: Field required" in message(raw)


def test_sides_have_to_be_divisible():
    assert "input: 250x192" in message(changed(input={"height": 250, "width": 192}))
    text = message(changed(final__models={"m": {"height": 384, "width": 280}}))
    assert "final.models.m: 384x280 is not divisible by the overall stride 32" in text
    assert "384x288 is" in text
    # Without evolution only the ancestor's own stride counts, with it the largest that can be reached.
    ancestor = [[1, 3, 2, 1]] * 6 + [[1, 3, 2, 2]]
    half = changed(search__ancestor=ancestor, search__generations=0, input={"height": 36, "width": 28})
    half["search"]["space"] = {"head_layers": 1}
    assert config.load(half).input.height == 36
    half["search"]["generations"] = 1
    assert "stride 32" in message(half)
    deep = [[1, 3, 2, 1]] + [[1, 3, 2, 2]] * 5 + [[1, 3, 2, 1]]
    text = message(changed(search__ancestor=deep, input={"height": 96, "width": 96}))
    assert text.startswith(
        "search.ancestor: its overall stride is 64 (stem included), over search.space.stride_limit 32;"
    )
    deeper = changed(search__ancestor=deep, search__space={"stride_limit": 64}, input={"height": 96, "width": 96})
    assert "96x96 is not divisible by the overall stride 64" in message(deeper)


def test_survivors_cannot_outnumber_the_pool():
    assert config.load(changed(search__parents=5)).search.parents == 5  # 4 children and the ancestor
    text = message(changed(search__parents=6))
    assert "parents (mu = 6) is larger than the pool of generation 1: 4 children + 1 parents = 5" in text
    assert "generation 1" in message(changed(search__children={1: 1, 2: 50}, search__parents=3))
    assert config.load(changed(search__parents=6, search__generations=0)).search.parents == 6


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"search__ancestor_epochs": 2, "search__train": {"epochs": 5, "warmup_epochs": 3}},
            "search: train.warmup_epochs (3.0) must be below ancestor_epochs (2) too",
        ),
        (
            {"search__compare_scratch": True, "search__transfer": False, "search__train": {"evaluate_initial": True}},
            "search: compare_scratch: there is nothing to compare with transfer: false",
        ),
        ({"search__compare_scratch": True}, "set train.evaluate_initial: true"),
        (
            {"search__space": {"head_layers": 5}},
            "search.space.head_layers: 5 layers enlarge 32 times, but the backbone may reduce only 16 times",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change, expected):
    said = message(changed(**change))
    assert expected in said
    assert "given" not in said  # of a whole section


def test_the_published_program_differs_where_it_is_said():
    plain = config.load(changed())
    released = config.load(changed(preset="released"))
    for train in (released.search.train, released.final.train):
        assert train.augmentation == plain.search.train.augmentation.model_copy(update={"half_body_probability": 0.5})
        assert not train.l2_depthwise and train.l2 == 1e-5
    assert (released.search.keep_ancestor, released.search.donor, released.search.transfer_kernels) == (
        True,
        "network",
        False,
    )
    assert (plain.search.keep_ancestor, plain.search.donor, plain.search.transfer_kernels) == (False, "module", True)
    assert (released.evaluation.flip_test, plain.evaluation.flip_test) == ("released", "aligned")
    same = released.model_dump()
    for section in ("search", "final"):
        same[section]["train"] = plain.model_dump()[section]["train"]
    same["search"] |= {"keep_ancestor": False, "donor": "module", "transfer_kernels": True}
    same["evaluation"]["flip_test"], same["preset"] = "aligned", "paper"
    assert same == plain.model_dump()


def test_what_is_written_wins_over_the_published_program():
    found = config.load(
        changed(
            preset="released",
            train={"l2_depthwise": True},
            final__train={"augmentation": {"scale_std": 0.2, "half_body_probability": 0.1}},
            search__donor="module",
            evaluation={"flip_test": "off"},
        )
    )
    assert found.search.train.l2_depthwise and found.final.train.l2_depthwise
    assert found.final.train.augmentation == config.Augmentation(scale_std=0.2, half_body_probability=0.1)
    assert (found.search.donor, found.search.keep_ancestor, found.evaluation.flip_test) == ("module", True, "off")


def test_one_size_for_all_final_networks():
    models = {"a": {"height": 256, "width": 192}, "b": {"network": "cpn", "height": 384, "width": 288}}
    found = config.load(changed(final__models=models, final__input={"height": 64, "width": 96}))
    assert {(model.height, model.width) for model in found.final.models.values()} == {(64, 96)}
    assert found.final.models["b"].network == "cpn"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"search__enabled": False}, "final.models.s: without a search"),
        ({"final__models": {"m": {"network": "cpn", "initial": "champion"}}}, "cpn has no part in the champion"),
        ({"final__models": {"m": {"network": "cpn", "coefficients": [1, 1]}}}, "cpn has its own"),
        ({"search__holdout": 1}, "search.holdout"),
        ({"train": {"batch": 12, "devices": 2, "accumulation": 4}}, "share of 6 cannot be split into 4 parts"),
    ],
)
def test_networks_and_parts_that_cannot_be(change, expected):
    assert expected in message(changed(**change))


def test_the_largest_heads():
    assert config.load(changed(search__space={"head_layers": 4})).search.space.head_layers == 4
    assert config.load(changed(search__generations=0, search__space={"head_layers": 5})).search.generations == 0


def test_children_map():
    search = config.load(changed(search__children={1: 8, 3: 4, 10: 2})).search
    assert [search.children_of(generation) for generation in (0, 1, 2, 3, 9, 10, 50)] == [1, 8, 8, 4, 4, 2, 2]
    assert [search.parents_of(generation) for generation in (0, 1, 5)] == [1, 2, 2]


def test_shared_training_is_merged():
    raw = changed(
        train={"batch": 32, "base_rate": 1e-3, "epochs": 7}, search__train={"epochs": 2}, final__train={"batch": 64}
    )
    loaded = config.load(raw)
    assert (loaded.search.train.batch, loaded.search.train.base_rate, loaded.search.train.epochs) == (32, 1e-3, 2)
    assert (loaded.final.train.batch, loaded.final.train.base_rate, loaded.final.train.epochs) == (64, 1e-3, 7)
    assert config.load(changed(train={"batch": 32})).search.train.batch == 32
    assert raw["search"]["train"] == {"epochs": 2}  # the caller's values stay as they are


def test_the_ancestors_training_is_longer_and_else_equal():
    search = config.load(changed(search__train={"epochs": 2, "batch": 64}, search__ancestor_epochs=9)).search
    assert search.train_of(0).epochs == 9 and search.train_of(1).epochs == search.train_of(7).epochs == 2
    assert search.train_of(0).model_copy(update={"epochs": 2}) == search.train
    assert search.train_of(0).augmentation == search.train.augmentation


def test_dataset_files(tmp_path):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(MINIMAL["dataset"]))
    assert config.load(changed(dataset="own.yaml"), tmp_path).dataset == config.load(MINIMAL).dataset
    with pytest.raises(ConfigError, match=r"dataset: .*missing\.yaml cannot be read"):
        config.load(changed(dataset="missing.yaml"), tmp_path)
    (tmp_path / "own.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"own\.yaml is not YAML"):
        config.load(changed(dataset="own.yaml"), tmp_path)
    (tmp_path / "own.yaml").write_text("name: own\n")
    with pytest.raises(ConfigError, match=r"dataset\.train: Field required"):
        config.load(changed(dataset="own.yaml"), tmp_path)


def test_single_values_stand_for_all_modules():
    space = config.load(changed(search__space={"max_blocks": 3, "expansion": 4})).search.space
    assert space.max_blocks == (3,) * 7 and space.expansion == (4,) * 7
    assert config.SearchSpace(stride_limit=64).max_downsamplings == 5
    assert config.SearchSpace(stride_limit=2).max_downsamplings == 0


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        config.load(MINIMAL).search.parents = 3


# Keypoints


def test_coco_keypoints_are_cocos():
    # The category of person_keypoints_val2017.json.
    names = (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
        "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
    )
    skeleton = [
        [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10], [9, 11],
        [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
    ]  # fmt: skip
    assert COCO_KEYPOINTS.names == tuple(names.split())
    assert [[a + 1, b + 1] for a, b in COCO_KEYPOINTS.indices(COCO_KEYPOINTS.skeleton)] == skeleton
    assert COCO_KEYPOINTS.sigmas == pytest.approx(Params("keypoints").kpt_oks_sigmas)
    assert COCO_KEYPOINTS.flip_permutation() == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert COCO_KEYPOINTS.upper_body == COCO_KEYPOINTS.names[:11]
    dataset = changed(dataset__keypoints="coco")
    assert config.load(dataset).dataset.keypoints == COCO_KEYPOINTS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sigmas": (0.1,)}, "one sigma for each of the 3 names"),
        ({"names": ("a", "a", "b")}, "differ"),
        ({"skeleton": (("a", "d"),)}, "d: not among the names"),
        ({"upper_body": ("e",)}, "e: not among the names"),
        ({"flip_pairs": (("a", "b"), ("b", "c"))}, "one flip pair only"),
    ],
)
def test_keypoints_have_to_be_consistent(change, expected):
    values = {"names": ("a", "b", "c"), "sigmas": (0.1, 0.2, 0.3), "flip_pairs": (("a", "c"),)}
    assert KeypointSchema(**values).flip_permutation() == (2, 1, 0)
    assert expected in message(changed(dataset__keypoints=values | change))


def test_a_part_of_a_search():
    whole = config.load(MINIMAL)
    assert (whole.only, whole.folder, whole.first_generation) == (None, "test", 0)
    one = config.load(changed(only=2))
    assert one.only == config.Only(generation=2) and one.first_generation == 2
    children = config.load(changed(only={"generation": 3, "children": [3, 0]}, resume_from=1))
    assert children.only.children == (3, 0) and children.first_generation == 3
    branch = config.load(changed(branch="small", resume_from=4))
    assert (branch.folder, branch.first_generation) == ("test@small", 4)


@pytest.mark.parametrize("change", [{"resume_from": 1}, {"only": 0}, {"branch": "b"}])
def test_a_part_of_no_search_is_refused(change):
    raw = changed(search__enabled=False, final__models={"s": {"network": "evopose2d_s"}}, **change)
    assert f"{next(iter(change))}: there is no search (search.enabled); leave it out" in message(raw)


# Schema, manual and shipped configurations


def test_schema_is_generated():
    assert SCHEMA.read_text() == config.schema(), (
        "run `python -m pipeline_lib.config > workflow/schemas/config.schema.yaml`"
    )


def test_schema_accepts_and_refuses_as_the_models_do():
    validator = jsonschema.Draft202012Validator(yaml.safe_load(SCHEMA.read_text()))
    validator.validate(json.loads(json.dumps(MINIMAL)))
    validator.validate(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
    for change in ({"serach": {}}, {"search__children": "four"}, {"search__train__epoch": 3}, {"seed": -1}):
        assert not validator.is_valid(changed(**change))


@pytest.mark.parametrize("path", sorted((ROOT / "config/datasets").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_datasets_are_valid(path):
    assert config.load(changed(dataset=str(path))).dataset.name == path.stem


def test_manual_has_every_key():
    text = manual.MANUAL.read_text(encoding="utf-8")
    assert manual.renewed(text) == text, "run `python -m pipeline_lib.manual`"
    assert [section for section in manual.SECTIONS if f"<!-- keys: {section} -->" not in text] == []

    def models(model):
        yield model
        for field in model.model_fields.values():
            for nested in sections_in(field.annotation):
                yield from models(nested)

    def sections_in(annotation):
        if isinstance(annotation, type) and issubclass(annotation, config.Section):
            return [annotation]
        return [found for argument in getattr(annotation, "__args__", ()) for found in sections_in(argument)]

    assert set(models(config.Config)) == set(manual.SECTIONS.values())
    for model in manual.SECTIONS.values():
        for key in model.model_fields:
            assert f"| `{key}` | " in text


def test_manual_says_type_and_default():
    table = manual.table("train").splitlines()
    assert "| `batch` | integer > 0 and ≤ 1,048,576 | `512` | Persons in a step, over all devices. |" in table
    assert '| `keep` | `best` or `last` | `"best"` | Which epoch\'s weights are kept. |' in table
    assert any(row.startswith("| `stochastic_depth` | number ≥ 0 and ≤ 1 or null | `null` |") for row in table)
    assert any(
        row.startswith("| `generations` | integer ≥ 0 and ≤ 10,000 | `15` |")
        for row in manual.table("search").splitlines()
    )
    assert any(
        row.startswith("| `models` | map to section | **required** |") for row in manual.table("final").splitlines()
    )


def test_manuals_unknown_section_is_refused():
    with pytest.raises(ConfigError, match="no section nothing"):
        manual.renewed("<!-- keys: nothing -->\n<!-- end -->")
