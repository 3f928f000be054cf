import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline_lib import config, facts, plan
from pipeline_lib.config import EvaluationConfig, ModelConfig, Reach, SearchSpace, Split
from pipeline_lib.errors import ConfigError, EvoPoseError
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import initial_weights
from tests import loopback

ROOT = Path(__file__).parents[2]
RAW = yaml.safe_load((ROOT / "config/config.yaml").read_text())
SYNTHETIC = yaml.safe_load((ROOT / "config/datasets/synthetic.yaml").read_text())


def raw(dataset=None, **changes):
    return {**RAW, "dataset": dataset or SYNTHETIC, **changes}


def real(folder, detections=True):
    """A data set of empty files that are there."""
    dataset = {"name": "real"}
    for split in ("train", "val"):
        (folder / f"images/{split}").mkdir(parents=True)
        (folder / f"{split}.json").touch()
        dataset[split] = {"images": str(folder / f"images/{split}"), "annotations": str(folder / f"{split}.json")}
    if detections:
        (folder / "detections.json").touch()
        dataset["val"]["detections"] = str(folder / "detections.json")
    return dataset


def test_the_demo_loads_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = plan.load({**RAW, "pathvars": {"results": "elsewhere"}}, ROOT)
    assert loaded == config.load(RAW, ROOT)
    assert plan.synthetic_folder(loaded) == "results/data/synthetic/source"
    assert plan.splits(loaded) == ["train", "val", "val_detections"]
    assert plan.boxes(loaded) == ["ground_truth", "detections"]


def test_unknown_keys_are_refused():
    with pytest.raises(ConfigError, match="pathvar: unknown key"):
        plan.load(raw(pathvar={}), ROOT)


def test_an_ancestor_outside_of_its_space_is_refused():
    rows = [[9, 3, 1, 1], *RAW["search"]["ancestor"][1:]]
    with pytest.raises(ConfigError, match="module 1 has 9 blocks"):
        plan.load(raw(search={**RAW["search"], "ancestor": rows}), ROOT)


def test_a_data_set_that_is_there(tmp_path):
    loaded = plan.load(raw(real(tmp_path)), ROOT)
    assert plan.splits(loaded) == ["train", "val", "val_detections"]
    assert plan.split_of(loaded, "train") == loaded.dataset.train
    assert plan.split_of(loaded, "val") == plan.split_of(loaded, "val_detections") == loaded.dataset.val


def test_without_detections_only_the_annotated_boxes_are_evaluated(tmp_path):
    loaded = plan.load(raw(real(tmp_path, detections=False)), ROOT)
    assert plan.splits(loaded) == ["train", "val"]
    assert plan.boxes(loaded) == ["ground_truth"]


@pytest.mark.parametrize(
    ("gone", "key"),
    [("train.json", "train.annotations"), ("val.json", "val.annotations"), ("detections.json", "val.detections")],
)
def test_missing_data_is_named(tmp_path, gone, key):
    dataset = real(tmp_path)
    (tmp_path / gone).unlink()
    with pytest.raises(ConfigError) as caught:
        plan.load(raw(dataset), ROOT)
    assert f"data set 'real': no such file or folder: dataset.{key}: {tmp_path / gone}; put the data" in str(
        caught.value
    )


def test_pretrained_weights_that_are_missing_are_named(tmp_path):
    there, none, bucket = tmp_path / "there.h5", tmp_path / "none.weights.h5", "gs://bucket/b0.keras"
    there.touch()
    models = {"one": {"pretrained": str(none)}, "two": {"pretrained": bucket}}
    for path, missing in ((none, f"search.pretrained: {none}, "), (there, ""), (bucket, ""), (tmp_path, None)):
        search = {**RAW["search"], "pretrained": str(path)}
        with pytest.raises(ConfigError) as caught:
            plan.load(raw(search=search, final={"models": models}), ROOT)
        if missing is None:
            assert "search.pretrained" in str(caught.value)
        else:
            named = f"pretrained weights: no such file: {missing}final.models.one.pretrained: {none}; put them there"
            assert str(caught.value).startswith(named)
    loaded = plan.load(raw(search={**RAW["search"], "pretrained": bucket}), ROOT)
    assert plan.local(loaded.search.pretrained) == plan.local(None) == []
    assert plan.local(str(there)) == [str(there)]


def test_every_missing_path_is_named(tmp_path):
    dataset = real(tmp_path)
    (tmp_path / "images/train").rmdir()
    (tmp_path / "images/val").rmdir()
    with pytest.raises(ConfigError, match=r"dataset\.train\.images: .*, dataset\.val\.images: "):
        plan.load(raw(dataset), ROOT)


WITH_DOWNLOAD = loopback.dataset(loopback.archives(), "http://host")


@pytest.mark.parametrize("word", ["coco", "coco_test", "results/data/coco/files/archives/val2017.json"])
def test_data_may_be_missing_when_it_is_asked_for(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    loaded = plan.load(raw(WITH_DOWNLOAD), ROOT, ["--cores", "2", word, "-n"])
    archives = ["annotations_trainval2017", "image_info_test2017", "val2017", "train2017"]
    assert plan.archives(loaded, optional=False) == archives
    assert plan.archives(loaded, optional=True) == [*archives, "test2017"]


@pytest.mark.parametrize("word", ["all", "experiment=coco", "results/data/coco/images/train/manifest.json"])
def test_missing_data_that_can_be_got(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no such file.*; `make coco` gets the data.*leave `detections` out"):
        plan.load(raw(WITH_DOWNLOAD), ROOT, [word])
    # Where nothing says how to get it, asking for it is no excuse.
    with pytest.raises(ConfigError, match="put the data there"):
        plan.load(raw({**WITH_DOWNLOAD, "download": None}), ROOT, ["coco"])


def test_images_of_the_test_split_may_be_missing(tmp_path):
    dataset = real(tmp_path) | {"test": {"images": "nowhere", "annotations": "nowhere.json"}}
    loaded = plan.load(raw(dataset), ROOT)
    assert list(loaded.dataset.splits()) == ["train", "val", "test"] and plan.archives(loaded, optional=True) == []


@pytest.mark.parametrize(
    ("split", "kind", "path"),
    [
        ("train", "images", "x/images/train"),
        ("val", "images", "results/data/synthetic/source/images/train"),
        ("val", "annotations", "results/data/synthetic/source/annotations/val.json"),
        ("val", "detections", None),
    ],
)
def test_synthetic_data_lies_where_it_is_written(split, kind, path):
    dataset = {**SYNTHETIC, split: {**SYNTHETIC[split], kind: path}}
    with pytest.raises(ConfigError, match=rf"dataset\.{split}\.{kind}: the synthetic data set is written to"):
        plan.load(raw(dataset), ROOT)


def test_the_synthetic_data_set_has_cocos_keypoints_alone():
    keypoints = {"names": ["a", "b"], "sigmas": [0.1, 0.1]}
    with pytest.raises(ConfigError, match=r"dataset\.keypoints: the synthetic data set has COCO's 17"):
        plan.load(raw({**SYNTHETIC, "keypoints": keypoints}), ROOT)


@pytest.mark.parametrize("runner", ["FnApiRunner", "fnapi", "directrunner", "Flink", "package.module.Runner"])
def test_runners_that_there_are(runner):
    assert plan.load(raw(conversion={"runner": runner}), ROOT).conversion.runner == runner


@pytest.mark.parametrize("name", ["FnRunner", "../../etc", "package.", ".module", "a.1"])
def test_an_unknown_runner_is_named(name):
    with pytest.raises(
        ConfigError, match=r"conversion\.runner: \S+ is none of Beam's runners \(.*FnApiRunner"
    ) as caught:
        plan.load(raw(conversion={"runner": name}), ROOT)
    assert name in str(caught.value)


def test_the_runners_are_beams():
    from apache_beam.options.pipeline_options import StandardOptions

    beams = {path.rpartition(".")[2] for path in StandardOptions.ALL_KNOWN_RUNNERS}
    assert set(plan.RUNNERS) == beams | {"PythonRPCDirectRunner", "DaskRunner"}


def test_a_final_network_cannot_be_scaled_beyond_all_bounds():
    final = {**RAW["final"], "models": {"huge": {"height": 8192, "width": 8192}}}
    with pytest.raises(ConfigError, match=r"final\.models\.huge: 8192x8192 is scaled .* a depth coefficient of "):
        plan.load(raw(final=final), ROOT)
    final["models"]["huge"]["coefficients"] = [1.0, 1.0]
    assert plan.load(raw(final=final), ROOT).final.models["huge"].height == 8192


def test_the_command_lines_nested_values_are_typed():
    given = {"search": {"generations": "1", "gamma": "8e-3", "ancestor": [["1"]], "transfer": "false"}, "seed": "7"}
    values = {"search": {"parents": "2", "space": {"stem": "8"}, **given["search"]}, "seed": "7", "experiment": "5"}
    assert plan.typed(values, given) == {
        "search": {
            "parents": "2",  # of a file, where it was put into quotation marks
            "space": {"stem": "8"},
            "generations": 1,
            "gamma": "8e-3",
            "ancestor": [[1]],
            "transfer": False,
        },
        "seed": "7",  # Snakemake types what is not within braces
        "experiment": "5",
    }


@pytest.mark.parametrize("key", ["search", "final"])
def test_several_devices_need_accelerators(key, monkeypatch):
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "tpu:0")  # without its packages
    one = plan.load(raw(), ROOT)
    plan.check_device(one, "cpu")
    section = {**RAW[key], "train": {**RAW[key]["train"], "devices": 2}}
    several = plan.load(raw(**{key: section}), ROOT)
    for kind in ("cpu", "auto"):
        with pytest.raises(EvoPoseError, match=rf"^{key}\.train\.devices: 2 devices are asked for, but .* on the CPU"):
            plan.check_device(several, kind)
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "gpu:0,gpu:1")
    plan.check_device(several, "auto")
    plan.check_device(several, "auto", pool=2)
    with pytest.raises(
        EvoPoseError, match=rf"^{key}\.train\.devices: 2 .* lets a run have 1; .*--resources accelerator=2"
    ):
        plan.check_device(several, "auto", pool=1)
    plan.check_device(several, "auto", each=2, pool=1)
    with pytest.raises(EvoPoseError, match="no TPU here"):
        plan.check_device(one, "tpu")
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "gpu:1")
    plan.check_device(one, "auto")
    with pytest.raises(EvoPoseError, match=rf"^{key}\.train\.devices: 2 accelerators .* there are 1 here \(gpu:1\)"):
        plan.check_device(several, "auto")


class Resource:
    """A resource as Snakemake hands it on."""

    def __init__(self, raw):
        self.raw = raw


@pytest.mark.parametrize("resource", ["tpu", "'tpu'", '"tpu"', Resource("'tpu'")])
def test_the_profile_names_the_device_unless_the_configuration_does(resource):
    given = {"device": resource, "mem_mb": 1000}
    assert plan.device(config.load(raw(device="auto")), given) == "tpu"
    for device in ("cpu", "gpu", "tpu"):
        assert plan.device(config.load(raw(device=device)), given) == device


@pytest.mark.parametrize("resources", [None, {}, {"mem_mb": 1}, {"device": "'auto'"}])
def test_the_device_is_auto_when_nobody_names_one(resources):
    assert plan.device(config.load(raw(device="auto")), resources) == "auto"


def test_an_unknown_device_of_the_profile_is_refused():
    with pytest.raises(ConfigError, match="'npu' is none of auto, cpu, gpu, tpu"):
        plan.device(config.load(raw(device="auto")), {"device": "'npu'"})


def test_numbers_in_paths():
    assert [plan.number(7), plan.number(1234), plan.number(7, 2)] == ["007", "1234", "07"]


def test_a_generation_has_one_name():
    """Another name of the same number, such as gen_1, would be a second chain of files."""
    for name in ("000", "001", "199", "1000"):
        assert re.fullmatch(plan.GENERATION, name)
    for name in ("", "0", "1", "12", "1a3", "-01"):
        assert not re.fullmatch(plan.GENERATION, name)


def test_settings_are_what_differs_and_come_back():
    space = SearchSpace(max_blocks=3, stem=32)
    assert plan.settings(space) == '{"max_blocks":[3,3,3,3,3,3,3]}'
    assert SearchSpace.model_validate_json(plan.settings(space)) == space
    assert plan.settings(ModelConfig()) == "{}"


def test_settings_without_what_does_not_change_a_result():
    evaluation = EvaluationConfig(batch=5, frame_rate=True, latency_passes=9)
    assert plan.settings(evaluation, "frame_rate", "latency_passes") == '{"batch":5}'


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ("a/person_keypoints_val2017.json", "val2017"),
        ("a/image_info_test-dev2017.json", "test-dev2017"),
        ("own_people.v1.json", "own-people-v1"),
    ],
)
def test_image_sets_are_named_as_their_annotations(annotations, name):
    assert plan.image_set(Split(images="x", annotations=annotations)) == name


def test_submissions():
    loaded = config.load(raw(), ROOT)
    folder = "evopose_m/submission_"
    assert plan.submissions(loaded) == [
        f"{folder}{boxes}/person_keypoints_val_evopose_m_results.zip" for boxes in ("ground_truth", "detections")
    ]


def prefixed(root, conda, command):
    # Snakemake formats a shell command once more, after the prefix.
    script = plan.shell_prefix(root, conda).format() + command
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "other"}
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=False)


def test_shell_prefix(tmp_path):
    root = tmp_path / "a b"
    root.mkdir()
    done = prefixed(root, False, 'echo "$PYTHONPATH"; command -v python; echo "$EVOPOSE_CONSOLE_FD"; echo seen >&3')
    folder = Path(sys.executable).parent
    assert done.stdout.splitlines() == [f"{root}:other", f"{folder}/python", "3"]
    assert done.stderr == "seen\n"
    assert prefixed(root, False, "false | true; echo on").stdout == ""
    assert prefixed(root, True, 'echo "$PATH"').stdout.strip() == os.environ["PATH"]


def search(**changes):
    return config.load(raw(search={**RAW["search"], **changes}))


@pytest.mark.parametrize("compared", [False, True])
def test_figures(compared):
    names = plan.figures(search(), [0, 1, 12], compared)
    assert [name for name in names if name.startswith("training_gen")] == [
        f"training_gen_{generation:03d}.svg" for generation in (0, 1, 12)
    ]
    assert ("comparison.svg" in names) == compared
    assert names[:4] == ["metrics.svg", "fitness.svg", "pareto.svg", "architecture.svg"]
    assert names[-2:] == ["training_evopose_m.svg", "overlays_evopose_m.png"]
    assert len(names) == len(set(names))


FINAL_CROPS = {"scale_limit": 0.25, "rotation_limit": 30}


def with_crops(**changes):
    models = {"big": {"height": 128, "width": 96}, "small": {"height": 96, "width": 64}}
    final = {"models": models, "train": {"augmentation": FINAL_CROPS}}
    return config.load(raw(**{"conversion": {"records": "crops"}, "final": final} | changes))


def test_records_of_whole_images_are_shared_by_all():
    found = config.load(RAW | {"dataset": SYNTHETIC})
    assert plan.record_folders(found) == {"images": None} and plan.reach(found, "images") == ""
    assert set(plan.all_records(found)) == {f"images/{split}" for split in plan.splits(found)}
    assert plan.search_records(found, "train") == plan.final_records(found, "evopose_m", "train") == "images/train"
    assert plan.final_records(found, "evopose_m", "test_detections") == "images/test_detections"


def test_crops_are_made_for_what_each_training_reaches():
    found = with_crops()
    assert plan.record_folders(found) == {
        "crops/96x64": Reach(height=96, width=64),
        "crops/128x96": Reach(height=128, width=96),
        "crops/128x96_scale1.25_rotation30": Reach(height=128, width=96, scale=1.25, rotation=30.0),
        "crops/96x64_scale1.25_rotation30": Reach(height=96, width=64, scale=1.25, rotation=30.0),
    }
    assert plan.search_records(found, "train") == "crops/96x64/train"
    assert plan.search_records(found, "val") == plan.final_records(found, "small", "val") == "crops/96x64/val"
    assert plan.final_records(found, "big", "train") == "crops/128x96_scale1.25_rotation30/train"
    assert plan.final_records(found, "big", "val_detections") == "crops/128x96/val_detections"
    assert plan.final_records(found, "small", "test_detections") == "crops/96x64/test_detections"
    assert sorted(plan.all_records(found)) == sorted(
        [
            *("crops/96x64/train", "crops/96x64/val", "crops/96x64/val_detections"),
            *("crops/96x64_scale1.25_rotation30/train", "crops/128x96_scale1.25_rotation30/train"),
            *("crops/128x96/val", "crops/128x96/val_detections"),
        ]
    )
    for folder, reach in plan.record_folders(found).items():
        assert Reach.model_validate_json(plan.reach(found, folder)) == reach
    assert {path.rpartition("/")[0] for path in plan.all_records(found)} == set(plan.record_folders(found))


def test_records_are_made_again_for_what_changes_their_bytes_alone():
    """A search is on crops that are neither scaled nor turned: the resolution of the final training's records is none of its own."""

    def contents(**conversion):
        found = with_crops(conversion=conversion)
        return {folder: plan.content(found, folder) for folder in plan.record_folders(found)}

    crops, reduced = contents(records="crops"), contents(records="crops", crop_resolution=1)
    assert {folder for folder in crops if crops[folder] != reduced[folder]} == {
        "crops/96x64_scale1.25_rotation30",
        "crops/128x96_scale1.25_rotation30",
    }
    coarse = contents(records="crops", jpeg_quality=50)
    assert all(crops[folder] != coarse[folder] for folder in crops)
    raw = contents(records="crops", crop_encoding="raw", jpeg_quality=50, workers=3, shards="elsewhere")
    assert all(crops[folder] != raw[folder] for folder in crops)
    assert set(raw.values()) == {'{"records":"crops","crop_encoding":"raw"}'}
    assert contents() == contents(crop_encoding="raw", jpeg_quality=50, crop_resolution=1) == {"images": "{}"}
    assert contents(shard_size=7) == {"images": '{"shard_size":7}'}


def test_crops_of_a_hold_out_and_without_a_search():
    found = with_crops(search={**RAW["search"], "fitness_split": "holdout", "holdout": 0.25})
    search = [plan.search_records(found, split) for split in plan.search_splits(found)]
    assert search == ["crops/96x64/search_0.25", "crops/96x64/holdout_0.25"] == plan.all_records(found)[:2]
    wide = with_crops(search={**RAW["search"], "train": {"augmentation": FINAL_CROPS}, "compare_scratch": False})
    assert plan.search_records(wide, "train") == "crops/96x64_scale1.25_rotation30/train"
    alone = config.load(
        raw(conversion={"records": "crops"}, search={"enabled": False}, final={"models": {"big": HRNET}})
    )
    assert set(plan.record_folders(alone)) == {"crops/64x96"}


HRNET = {"network": "hrnet_w32", "height": 64, "width": 96}


def test_without_a_search_only_final_networks_are_made():
    found = plan.load(raw(search={"enabled": False}, final={"models": {"big": HRNET}}), ROOT)
    assert plan.figures(found, [], False) == ["metrics.svg", "training_big.svg", "overlays_big.png"]
    assert plan.splits(found) == ["train", "val", "val_detections"]
    assert plan.search_splits(found) == () and plan.fitness_note(found) == ""


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"network": "hrnet_w3"}, "final.models.big: unknown network 'hrnet_w3'; known are evopose2d_xs"),
        (HRNET | {"width": 90}, "final.models.big: input 64x90 is not divisible by the overall stride 32 of hrnet_w32"),
        ({"network": "evopose2d_s", "height": 72, "width": 48}, "final.models.big: input 72x48 is not divisible"),
    ],
)
def test_published_networks_are_checked(model, expected):
    with pytest.raises(ConfigError, match=expected):
        plan.load(raw(search={"enabled": False}, final={"models": {"big": model}}), ROOT)


def test_a_search_with_a_hold_out_has_records_of_its_own():
    found = search(fitness_split="holdout", holdout=0.25)
    assert plan.search_splits(found) == ("search_0.25", "holdout_0.25")
    assert plan.splits(found) == ["train", "val", "val_detections", "search_0.25", "holdout_0.25"]
    assert [plan.purpose(split) for split in plan.splits(found)] == [
        *("training", "ground_truth", "detections"),
        *("training", "ground_truth"),
    ]
    assert [plan.part(found, split) for split in plan.splits(found)] == [
        *("", "", ""),
        *("--without-holdout 0.25", "--holdout 0.25"),
    ]
    for split in ("train", "search_0.25", "holdout_0.25"):
        assert plan.split_of(found, split) == found.dataset.train
    for split in ("val", "val_detections"):
        assert plan.split_of(found, split) == found.dataset.val
    assert "hold-out of 25 % of the training images" in plan.fitness_note(found)
    assert plan.search_splits(search()) == ("train", "val") and "as in the paper" in plan.fitness_note(search())
    branch = config.load(raw(branch="small", resume_from=2))
    assert plan.fitness_note(branch) == plan.fitness_note(search()) + (
        " The generations before 2 are those of demo, ranked with this branch's Gamma and T."
    )


def test_what_is_given_needs_no_weights_to_begin_with():
    begun = {**RAW["search"], "pretrained": "nowhere.safetensors"}
    with pytest.raises(ConfigError, match=r"search\.pretrained: nowhere\.safetensors"):
        plan.load(raw(search=begun), ROOT)
    assert plan.load(raw(search=begun, resume_from=1), ROOT).search.pretrained == "nowhere.safetensors"


def test_the_published_program_trains_hrnet_without_l2():
    models = {"hrnet": HRNET, "simple": {**HRNET, "network": "simple_baseline_r50"}, "champion": {}}
    for preset, expected in (("released", 0.0), ("paper", 1e-5)):
        found = config.load(raw(preset=preset, final={"models": models}))
        assert facts.final_train(found, "hrnet").l2 == expected
        assert facts.final_train(found, "simple").l2 == facts.final_train(found, "champion").l2 == 1e-5


def test_facts_name_what_a_result_depends_on():
    found = config.load(raw(final={"models": {"big": HRNET}, "train": {"epochs": 7}}, seed=5, preset="released"))
    known = facts.of(found)
    assert (known["dataset"], known["preset"], known["seed"]) == (found.dataset.name, "released", 5)
    big = known["models"]["big"]
    assert (big["network"], big["height"], big["width"]) == ("hrnet_w32", 64, 96)
    assert (big["train"]["epochs"], big["train"]["l2"]) == (7, 0.0)
    assert (known["synthetic"], known["flip_test"]) == (found.dataset.synthetic is not None, found.evaluation.flip_test)
    assert known["search"]["gamma"] == found.search.gamma and known["search"]["height"] == found.input.height
    assert known["search"]["train"]["batch"] == found.search.train.batch
    assert (big["pretrained"], big["initial"], big["coefficients"]) == (None, "scratch", None)
    alone = facts.of(config.load(raw(search={"enabled": False}, final={"models": {"big": HRNET}})))
    assert alone["search"] is None


def test_pretrained_weights_that_cannot_be_are_refused_by_their_name(tmp_path):
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"")
    models = {"big": HRNET | {"pretrained": str(weights)}}
    with pytest.raises(ConfigError, match=r"final.models.big: .*weights.h5: keras.applications has no hrnet_w32"):
        plan.load(raw(final={"models": models}), ROOT)
    models["big"]["network"] = "simple_baseline_r50"
    assert plan.load(raw(final={"models": models}), ROOT).final.models["big"].pretrained == str(weights)


def test_weights_of_another_network_are_refused_by_their_header(tmp_path):
    stored = tmp_path / "weights.safetensors"
    network = registry.architecture("mspn2", 64, 64, 17)
    files.save(stored, network, initial_weights(network, 0))
    models = {"big": HRNET | {"pretrained": str(stored)}}
    with pytest.raises(
        ConfigError, match=r"^final.models.big: .*weights of hrnet_w32 are expected, these are of mspn2"
    ):
        plan.load(raw(final={"models": models}), ROOT)
    with pytest.raises(ConfigError, match=r"^refine: .*weights of posefix_r50 are expected, these are of mspn2"):
        plan.load(raw(refine={"enabled": True, "network": "posefix_r50", "pretrained": str(stored)}), ROOT)
    models["big"]["network"] = "mspn2"
    assert plan.load(raw(final={"models": models}), ROOT).final.models["big"].pretrained == str(stored)


def test_facts_say_whether_crops_were_trained_on():
    images = facts.of(config.load(raw()))
    crops = facts.of(config.load(raw(conversion={"records": "crops", "jpeg_quality": 90})))
    stored = facts.of(config.load(raw(conversion={"records": "crops", "crop_encoding": "raw"})))
    assert facts.differences(crops, images) == ["records: crops, JPEG 90, instead of images"]
    assert facts.differences(stored, images) == ["records: crops, raw, instead of images"]
    default = facts.of(config.load(raw(conversion={"records": "crops"})))
    assert facts.differences(default, images) == ["records: crops, JPEG, instead of images"]
    reduced = facts.of(config.load(raw(conversion={"records": "crops", "jpeg_quality": 90, "crop_resolution": 1.5})))
    assert facts.differences(reduced, images) == ["records: crops, JPEG 90 of resolution 1.5, instead of images"]
    assert facts.differences(images, images) == facts.differences(crops, crops) == []


VIDEOS = {
    "name": "videos",
    "format": "posetrack",
    "keypoints": "posetrack",
    "by_hand": "ask for them",
    "train": {"images": "pt", "annotations": "pt/annotations/train"},
    "val": {"images": "pt", "annotations": "pt/annotations/val"},
}


def test_a_data_set_of_videos(tmp_path, monkeypatch):
    """Whatever uses annotations uses the COCO file that they are joined to; a rule makes it of the files that there are."""
    monkeypatch.chdir(tmp_path)
    for name in ("train/2.json", "train/1.json", "train/readme.txt", "val/3.json"):
        (tmp_path / "pt/annotations" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pt/annotations" / name).touch()
    loaded = plan.load(raw(VIDEOS), ROOT)
    assert plan.videos(loaded, "train") == ["pt/annotations/train/1.json", "pt/annotations/train/2.json"]
    assert plan.videos(loaded, "val") == ["pt/annotations/val/3.json"]
    places = {
        split: f"results/data/videos/source/annotations/person_keypoints_{split}.json" for split in ("train", "val")
    }
    for split, own in (("train", "train"), ("search_0.05", "train"), ("holdout_0.05", "train"), ("val", "val")):
        found = plan.split_of(loaded, split)
        assert (found.images, found.annotations) == ("pt", places[own])
        assert plan.is_made(loaded, found.annotations)
    assert not plan.is_made(loaded, "pt/annotations/val") and plan.boxes(loaded) == ["ground_truth"]
    assert plan.image_set(plan.split_of(loaded, "val")) == "val"
    # Of other data sets nothing is made but the synthetic one.
    (tmp_path / "real").mkdir()
    assert not plan.is_made(plan.load(raw(real(tmp_path / "real")), ROOT), places["val"])
    assert plan.is_made(plan.load(raw(), ROOT), SYNTHETIC["val"]["annotations"])


def test_data_that_are_got_by_hand_can_be_planned_without(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    said = "data set 'videos': no such file or folder: dataset.train.images: pt"
    with pytest.raises(ConfigError) as caught:
        plan.load(raw(VIDEOS), ROOT)
    assert str(caught.value).startswith(said) and "; ask for them; or name their place" in str(caught.value)
    loaded = plan.load(raw(VIDEOS), ROOT, ["-n"])
    assert plan.videos(loaded, "train") == [] and said in caplog.text
    with pytest.raises(ConfigError, match="put the data there"):
        plan.load(raw({**VIDEOS, "by_hand": None}), ROOT, ["-n"])


@pytest.mark.parametrize("resource", ["8", 8, Resource(8), Resource("8")])
def test_numbers_of_the_profile(resource):
    assert plan.number_of_profile({"accelerator": resource}, "accelerator") == 8
    assert plan.number_of_profile({}, "accelerator") is plan.number_of_profile(None, "accelerator") is None


@pytest.mark.parametrize("resource", ["0", "many", "2.5", -1])
def test_a_number_of_the_profile_that_is_none_is_refused(resource):
    with pytest.raises(ConfigError, match="resource cores_per_accelerator of the profile: an integer above 0"):
        plan.number_of_profile({"cores_per_accelerator": resource}, "cores_per_accelerator")


def test_the_profile_names_the_accelerators_unless_the_environment_does(monkeypatch):
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "x")  # so that it is restored
    monkeypatch.delenv("EVOPOSE_ACCELERATORS")
    plan.name_accelerators({"device": "'tpu'"})
    assert "EVOPOSE_ACCELERATORS" not in os.environ
    plan.name_accelerators({"accelerators": "'tpu:evo-1,tpu:evo-2'"})
    assert os.environ["EVOPOSE_ACCELERATORS"] == "tpu:evo-1,tpu:evo-2"
    plan.name_accelerators({"accelerators": "'tpu:evo-3'"})
    assert os.environ["EVOPOSE_ACCELERATORS"] == "tpu:evo-1,tpu:evo-2"
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "evo-1")
    with pytest.raises(EvoPoseError, match="'evo-1' is not the name of an accelerator"):
        plan.name_accelerators(None)


IN_A_BUCKET = {
    "name": "far",
    **{
        split: {"images": f"gs://b/{split}", "annotations": f"gs://b/{split}/people.json"} for split in ("train", "val")
    },
}
IN_A_BUCKET["val"]["detections"] = "gs://b/val/people.json"


def test_a_data_set_in_a_bucket_is_planned_without_a_look_at_it():
    """Rules depend on files of this machine alone."""
    loaded = plan.load(raw(IN_A_BUCKET, conversion={"shards": "gs://b/records"}), ROOT)
    assert plan.fetches(loaded) and not plan.fetches(plan.load(RAW, ROOT))
    train, val = plan.split_of(loaded, "train"), plan.split_of(loaded, "val_detections")
    assert (train.images, train.annotations) == (
        "gs://b/train",
        "results/data/far/source/train/annotations/people.json",
    )
    assert val.annotations == "results/data/far/source/val/annotations/people.json"
    assert val.detections == "results/data/far/source/val/detections/people.json"
    assert all(plan.is_made(loaded, path) for path in (train.annotations, val.annotations, val.detections))
    assert plan.shards(loaded, "images", "train") == "gs://b/records/far/images/train"
    assert plan.shards(plan.load(RAW, ROOT), "images", "train") == ""
    videos = {**IN_A_BUCKET, "format": "posetrack", "keypoints": "posetrack"}
    videos["val"] = {**videos["val"], "detections": None}
    assert plan.videos(plan.load(raw(videos), ROOT), "train") == []


def test_what_is_made_here_is_not_made_in_a_bucket():
    dataset = {**SYNTHETIC, "val": {**SYNTHETIC["val"], "images": "gs://b/val"}}
    with pytest.raises(
        ConfigError, match=r"val\.images: gs://b/val is in a bucket, but `synthetic` puts the data on this"
    ):
        plan.load(raw(dataset), ROOT)
    coco = yaml.safe_load((ROOT / "config/datasets/coco2017.yaml").read_text())
    coco["download"]["folder"] = "gs://b/coco"
    with pytest.raises(ConfigError, match=r"download\.folder: gs://b/coco is in a bucket, but `download` puts"):
        config.load(raw(coco), ROOT)


def test_dataflow_sees_nothing_of_this_machine(tmp_path):
    runner = {"runner": "DataflowRunner", "shards": "gs://b/records"}
    assert plan.load(raw(IN_A_BUCKET, conversion=runner), ROOT).conversion.runs_on("DataflowRunner")
    with pytest.raises(
        ConfigError, match=r"conversion\.runner: .* see no files of this machine.*conversion\.shards: beside"
    ):
        plan.load(raw(IN_A_BUCKET, conversion={"runner": "dataflow"}), ROOT)
    with pytest.raises(ConfigError, match=r"see no files of this machine.*: dataset\.train\.images: /"):
        plan.load(raw(real(tmp_path), conversion=runner), ROOT)


def test_programs_are_told_of_the_cache(monkeypatch):
    for name in ("EVOPOSE_CACHE", "EVOPOSE_CACHE_GB"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    loaded = plan.load(raw(storage={"cache": "/disk", "cache_gb": 1.5}), ROOT)
    plan.name_cache(loaded)
    assert (os.environ["EVOPOSE_CACHE"], os.environ["EVOPOSE_CACHE_GB"]) == ("/disk", "1.5")
    plan.name_cache(plan.load(raw(storage={"cache": "/other"}), ROOT))
    assert os.environ["EVOPOSE_CACHE"] == "/disk", "the environment comes first"


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        (
            {"mirror": "gs://b/results/"},
            r"storage\.mirror: an address such as gs://bucket/folder without a slash at its end",
        ),
        ({"mirror": "/disk/results"}, r"storage\.mirror: an address such as gs://"),
        ({"cache_gb": 0}, r"storage\.cache_gb"),
    ],
)
def test_wrong_storage_is_refused(storage, message):
    with pytest.raises(ConfigError, match=message):
        plan.load(raw(storage=storage), ROOT)
