"""A small data set with faults, by real Snakemake: what is fatal stops with one sentence, all else goes on and is counted."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

from pipeline_lib import artifacts
from pipeline_lib.config import COCO_KEYPOINTS
from tests.workflow.conftest import TINY, Workplace
from tests.workflow.test_planning import jobs

NETWORK = "evopose2d_xs"
HEIGHT, WIDTH = 48, 64
VALIDATION, RECORDS = Path("results/data/faulty/validation"), Path("results/data/faulty/images")
POLICIES = {
    "truncated_image": "drop",
    "missing_image": "drop",
    "keypoint_length": "drop",
    "invalid_visibility": "repair",
    "detection_of_unknown_image": "drop",
}


def configuration(**policies: str) -> dict[str, Any]:
    config = copy.deepcopy(TINY)
    splits = {split: {"images": f"data/{split}", "annotations": f"data/{split}.json"} for split in ("train", "val")}
    splits["val"]["detections"] = "data/detections.json"
    config["dataset"] = {"name": "faulty", **splits, "validation": policies}
    config["search"] = {"enabled": False}
    config["final"] = {"models": {NETWORK: {"network": NETWORK, "height": 32, "width": 32}}, "train": {"epochs": 1}}
    config["train"] = {"batch": 4}
    return config


def picture(path: Path, seed: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    made = PIL.Image.fromarray(cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    made.save(path, quality=95)
    return made


def data_set(folder: Path) -> None:
    """Six images of two people for training, four for validation, and a detection in each of these; no faults."""
    for split, number in (("train", 6), ("val", 4)):
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for image in range(1, number + 1):
            picture(folder / split / f"{image}.jpg", image)
            images.append({"id": image, "file_name": f"{image}.jpg", "height": HEIGHT, "width": WIDTH})
            for person in range(2):
                rng = np.random.default_rng(10 * image + person)
                points = np.column_stack([rng.uniform([10, 5], [50, 40], (17, 2)).round(2), rng.integers(1, 3, 17)])
                annotations.append(
                    {
                        "id": 10 * image + person,
                        "image_id": image,
                        "category_id": 1,
                        "bbox": [8.0, 4.0, 45.0, 38.0],
                        "area": 1500.0,
                        "iscrowd": 0,
                        "keypoints": points.ravel().tolist(),
                        "num_keypoints": 17,
                    }
                )
        category = {"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINTS.names)}
        write(folder / f"{split}.json", {"images": images, "annotations": annotations, "categories": [category]})
    boxes = [
        {"image_id": image, "category_id": 1, "bbox": [8.0, 4.0, 45.0, 38.0], "score": 0.9} for image in range(1, 5)
    ]
    write(folder / "detections.json", boxes)


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def faults(folder: Path) -> None:
    """A truncated, a CMYK and a progressive image and a short list of keypoints for training; for validation an image
    that is not there, a v of 3, and a detection in no image."""
    truncated = folder / "train/2.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-99])
    picture(folder / "train/3.jpg", 3).convert("CMYK").save(folder / "train/3.jpg", quality=95)
    picture(folder / "train/4.jpg", 4).save(folder / "train/4.jpg", quality=95, progressive=True)
    train, val, boxes = (json.loads((folder / f"{name}.json").read_text()) for name in ("train", "val", "detections"))
    train["annotations"][0]["keypoints"] = [1, 2, 2]
    (folder / "val/4.jpg").unlink()
    val["annotations"][1]["keypoints"][2] = 3
    boxes.append({**boxes[0], "image_id": 99})
    for name, content in (("train", train), ("val", val), ("detections", boxes)):
        write(folder / f"{name}.json", content)


@pytest.fixture
def faulty(workplace: Workplace) -> Workplace:
    data_set(workplace.folder / "data")
    faults(workplace.folder / "data")
    workplace.configure(configuration())
    return workplace


def test_what_is_fatal_stops_the_run_with_one_sentence(faulty: Workplace) -> None:
    done = faulty.snakemake("data", "--keep-going")
    assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout
    assert not list((faulty.folder / "results").rglob("manifest.json"))
    said = {line.partition(" ERROR ")[2] for line in done.stderr.splitlines() if " ERROR " in line}
    # Of the training split the annotations, which are looked at first.
    assert said == {
        "data/train.json, annotations[0]: annotation 10 in 1.jpg: keypoints has 3 values; 51 numbers are expected, x, y, v for "
        "each of the 17 names of the data set's keypoint schema; correct the annotation, or the schema: `keypoints` of the "
        "data set's configuration, or set dataset.validation.keypoint_length to drop",
        "data/val.json, annotations[1]: annotation 11 in 1.jpg: v of nose is 3; 0, 1 or 2 is expected; correct it: 0 is not "
        "labelled, 1 labelled and hidden, 2 labelled and visible, or set dataset.validation.invalid_visibility to drop or repair",
    }
    faulty.configure(configuration(keypoint_length="drop"))
    done = faulty.snakemake(str(RECORDS / "train/manifest.json"))
    said = {line.partition(" ERROR ")[2] for line in done.stderr.splitlines() if " ERROR " in line}
    assert done.returncode != 0 and len(said) == 1
    assert re.fullmatch(
        r"data/train/2\.jpg: image 2 of train\.json: image file is truncated \(\d+ bytes not processed\); get it again, or set "
        r"dataset\.validation\.truncated_image to drop",
        said.pop(),
    )
    faulty.configure(configuration(keypoint_length="repair"))
    done = faulty.snakemake("data", "-n")
    said = "dataset.validation.keypoint_length: Input should be 'fatal' or 'drop' (given: 'repair')"
    assert done.returncode != 0 and said in done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_goes_on_without_what_is_dropped_and_with_what_is_repaired(faulty: Workplace) -> None:
    faulty.configure(configuration(**POLICIES))
    done = faulty.snakemake("results/tiny/summary.md")
    assert done.returncode == 0, done.stderr[-6000:]
    folder = faulty.folder
    ran = jobs(done.stdout + done.stderr)
    assert (ran["validate"], ran["validate_detections"], ran["convert"]) == (2, 1, 3)
    expected = {
        "train": {
            "keypoint_length": ("drop", 1), "truncated_image": ("drop", 1), "cmyk_image": ("repair", 1),
            "progressive_image": ("accept", 1), "of_dropped_image": ("drop", 2),
        },
        "val": {"invalid_visibility": ("repair", 1), "missing_image": ("drop", 1), "of_dropped_image": ("drop", 2)},
        "val_detections": {"of_dropped_image": ("drop", 1), "detection_of_unknown_image": ("drop", 1)},
    }  # fmt: skip
    summary = artifacts.read_json(folder / "results/tiny/summary.json")
    for name, kinds in expected.items():
        verdict = artifacts.read_json(folder / VALIDATION / f"{name}.json")
        for found in (verdict["found"], summary["validation"][name]["found"]):
            assert {kind: (one["policy"], one["number"]) for kind, one in found.items()} == kinds

    manifests = {name: artifacts.read_json(folder / RECORDS / name / "manifest.json") for name in expected}
    assert {name: one["examples"] for name, one in manifests.items()} == {"train": 9, "val": 6, "val_detections": 3}
    assert manifests["train"]["dropped"] == {"keypoint_length": 1, "of_dropped_image": 2}
    for name, one in manifests.items():
        counted = {
            file: {kind: tuple(n.values()) for kind, n in kinds.items()} for file, kinds in one["validation"].items()
        }
        of_detections = {"detections": expected["val_detections"]} if name == "val_detections" else {}
        assert counted == {"annotations": expected[name.removesuffix("_detections")]} | of_detections

    text = (folder / "results/tiny/summary.md").read_text()
    for line in (
        "train, truncated_image: data/train/2.jpg: image 2 of train.json: image file is truncated",
        "train, cmyk_image: data/train/3.jpg: image 3 of train.json: its colours are CMYK.",
        "val, missing_image: data/val/4.jpg: image 4 of val.json: no such file.",
        "val, invalid_visibility: data/val.json, annotations[1]: annotation 11 in 1.jpg: v of nose is 3",
        "val_detections, detection_of_unknown_image: data/detections.json, [4]: image_id is 99, which",
        "Left out by the validation, and not evaluated: 1 images, 2 persons.",
    ):
        assert line in text
    for name in (
        f"models/{NETWORK}/metrics_ground_truth",
        f"models/{NETWORK}/metrics_detections",
        "mean_pose/metrics_ground_truth",
    ):
        metrics = artifacts.read_json(folder / "results/tiny" / f"{name}.json")
        assert (metrics["images"], metrics["persons"], metrics["left_out"]) == (3, 6, {"images": 1, "persons": 2})

    again = faulty.snakemake("results/tiny/summary.md")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr

    # An image that changed since is named, by a conversion that is forced alone; validated again, it is used.
    shutil.copy(folder / "data/train/5.jpg", folder / "data/train/6.jpg")
    done = faulty.snakemake(str(RECORDS / "train/manifest.json"), "--force")
    assert (
        done.returncode != 0
        and "data/train/6.jpg: cannot be used (it has changed since it was validated)" in done.stderr
    )
    assert "`snakemake data -R validate`" in done.stderr and "Traceback" not in done.stderr
    done = faulty.snakemake("data", "-R", "validate")
    assert done.returncode == 0, done.stderr[-3000:]
    ran = jobs(done.stdout + done.stderr)
    assert (ran["validate"], ran["validate_detections"], ran["convert"]) == (2, 1, 3)
    assert artifacts.read_json(folder / RECORDS / "train/manifest.json")["examples"] == 9
