"""A small good world: a data set, records, a search of two generations, results, as the programs themselves write them."""

import contextlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
import yaml

from pipeline_lib import artifacts
from pipeline_lib.config import ConversionSettings
from pipeline_lib.data import convert
from pipeline_lib.train import state
from tests.corpus import harness
from tests.unit import made_faults

ANCESTOR = [[1, 3, 1, 1], [1, 3, 2, 2], [1, 3, 2, 2], [1, 3, 2, 1], [1, 3, 2, 1], [1, 3, 3, 1], [1, 3, 3, 1]]
SPACE = {"max_blocks": 2, "stride_limit": 8, "stem": 8, "head": 8, "head_layers": 1, "expansion": 2}
SCHEMA = made_faults.POINTS
KEYPOINTS = json.dumps(SCHEMA.model_dump())
MANIFEST = "data/val/manifest.json"
GENERATION = "results/corpus/search/gen_{:03d}"
G0, G1 = GENERATION.format(0), GENERATION.format(1)
FITNESS = ["--gamma", "-0.5", "--target-parameters", "20000"]

CONFIG: dict[str, Any] = {
    "experiment": "corpus",
    "dataset": "dataset.yaml",
    "input": {"height": 32, "width": 32},
    "search": {
        "generations": 1,
        "children": 2,
        "parents": 2,
        "gamma": -0.5,
        "target_parameters": 20000.0,
        "ancestor": ANCESTOR,
        "space": SPACE,
        "train": {"epochs": 1, "batch": 4},
    },
    "final": {"models": {"small": {"height": 32, "width": 32}}, "train": {"epochs": 1, "batch": 4}},
}
DATASET: dict[str, Any] = {
    "name": "small",
    "keypoints": SCHEMA.model_dump(mode="json"),
    "train": {"images": "images", "annotations": "images/annotations.json"},
    "val": {"images": "images", "annotations": "images/annotations.json", "detections": "images/detections.json"},
}


def program(name: str, *arguments: Any) -> None:
    said = harness.run([name, *map(str, arguments)])
    assert said.code == 0, said.stderr


def make(folder: Path) -> Path:
    """Write the world into `folder`."""
    folder.mkdir(parents=True)
    with contextlib.chdir(folder):
        _data()
        _search()
        _results()
        _others()
    return folder


def copied(good: Path, folder: Path) -> Path:
    """A world of its own, at the same place for every case."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(good, folder))


def _data() -> None:
    made_faults.data(Path("images")).write()
    annotations = ["--annotations", "images/annotations.json"]
    program("validate", *annotations, "--images", "images", "--keypoints", KEYPOINTS, "--verdict", "verdict.json")
    detections = [*annotations, "--detections", "images/detections.json", "--validation", "verdict.json"]
    program("validate", *detections, "--verdict", "detected.json")
    convert.convert(
        Path(MANIFEST),
        annotations=Path("images/annotations.json"),
        images=Path("images"),
        split="val",
        purpose="ground_truth",
        schema=SCHEMA,
        settings=ConversionSettings(shard_size=4),
    )
    Path("dataset.yaml").write_text(yaml.safe_dump(DATASET))
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))


def _train(place: str) -> None:
    program(
        *(
            "simulate_training",
            "--initial",
            f"{place}/initial.safetensors",
            "--weights",
            f"{place}/weights.safetensors",
        ),
        *("--history", f"{place}/history.csv", "--train-manifest", MANIFEST, "--val-manifest", MANIFEST, "--seed", 1),
        *("--simulation", '{"seconds": 0.001}', "--settings", '{"epochs": 2, "batch": 4}'),
    )
    program("score", "--weights", f"{place}/weights.safetensors", "--history", f"{place}/history.csv",
            "--score", f"{place}/score.json")  # fmt: skip


def _search() -> None:
    size = ["--height", 32, "--width", 32, "--keypoints", 2, "--space", json.dumps(SPACE)]
    program("ancestor", "--genotype", json.dumps(ANCESTOR), "--seed", 1, "--children", f"{G0}/children.json",
            "--genotypes", f"{G0}/genotypes.csv")  # fmt: skip
    initial = ["--weights", f"{G0}/child_00/initial.safetensors", "--report", f"{G0}/child_00/inheritance.json"]
    program("initialise", "--children", f"{G0}/children.json", "--member", "child_00", *size, *initial)
    _train(f"{G0}/child_00")
    _select(0, 1)
    program("mutate", *MUTATE, "--children", f"{G1}/children.json", "--genotypes", f"{G1}/genotypes.csv")
    for child in ("child_00", "child_01"):
        place = f"{G1}/{child}"
        program("transfer", "--children", f"{G1}/children.json", "--member", child, "--parents", f"{G0}/parents/0.safetensors",
                "--weights", f"{place}/initial.safetensors", "--report", f"{place}/inheritance.json")  # fmt: skip
        _train(place)
    _select(1, 2)
    program("champion", *CHAMPION, "--champion", "champion.json", "--weights", "champion.safetensors")


MUTATE = ["--parents", f"{G0}/parents.json", "--known", f"{G0}/genotypes.csv", "--number", "2", "--seed", "1"]
MUTATE += ["--ancestor", json.dumps(ANCESTOR), "--space", json.dumps(SPACE)]
CHAMPION = ["--parents", f"{G1}/parents.json", "--parent-weights", f"{G1}/parents/0.safetensors"]


def select(generation: int) -> list[str]:
    """The inputs of a selection."""
    place = GENERATION.format(generation)
    children = [f"{place}/child_{child:02d}" for child in range(generation + 1)]
    before = ["--before", f"{G0}/parents.json", "--parents", f"{G0}/parents/0.safetensors"] if generation else []
    return [
        *("--children", f"{place}/children.json", "--scores", *(f"{child}/score.json" for child in children)),
        *("--weights", *(f"{child}/weights.safetensors" for child in children), *before, *FITNESS),
    ]


def _select(generation: int, survivors: int) -> None:
    place = GENERATION.format(generation)
    program("select_parents", *select(generation), "--population", f"{place}/population.csv",
            "--survivors", f"{place}/parents.json",
            "--survivor-weights", *(f"{place}/parents/{rank}.safetensors" for rank in range(survivors)))  # fmt: skip


def _results() -> None:
    results = [
        {"image_id": number, "category_id": 1, "keypoints": [5.0, 6.0, 0.9, 7.0, 8.0, 0.8], "score": 0.5}
        for number in range(1, made_faults.IMAGES + 1)
    ]
    artifacts.write_json("results.json", results)
    program("evaluate", "--annotations", "images/annotations.json", "--results", "results.json",
            "--keypoints", KEYPOINTS, "--metrics", "models/small/metrics_ground_truth.json")  # fmt: skip


def _others() -> None:
    Path("delivered").mkdir()
    Path("delivered/a.txt").write_text("content")
    program("restore_artifacts", "--make", "delivered")
    with state.opened("training/weights.safetensors", "key") as store:
        variables = {"model/00000": np.arange(8, dtype=np.float32)}
        store.save(state.State(1, 0, variables, variables, [{"epoch": 1}], {"best_loss": 1.0}))
    with h5py.File("b0.weights.h5", "w") as stream:
        stream["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 32), np.float32)
    with zipfile.ZipFile("b0.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write("b0.weights.h5", "model.weights.h5")
    with zipfile.ZipFile("files.zip", "w") as archive:
        archive.writestr("inside/a.txt", "content " * 100, zipfile.ZIP_DEFLATED)
    Path("videos").mkdir()
    frames = [
        {"id": 10 + frame, "file_name": f"{frame}.jpg", "is_labeled": True}
        for frame in range(1, made_faults.IMAGES + 1)
    ]
    people = [
        {
            "id": 100 + frame["id"],
            "image_id": frame["id"],
            "category_id": 1,
            "bbox": [1, 2, 20, 15],
            "keypoints": [5, 6, 1, 7, 8, 1],
        }
        for frame in frames
    ]
    content = {"images": frames, "annotations": people, "categories": [{"id": 1, "keypoints": list(SCHEMA.names)}]}
    artifacts.write_json("videos/one.json", content)
    artifacts.write_csv("table.csv", [{"genotype": "x", "seconds": 1.0, "loss": 2.0}], ("genotype", "seconds", "loss"))
    PIL.Image.fromarray(made_faults.pixels(1)).save("picture.png")
