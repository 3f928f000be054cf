"""The mean-pose predictor on people whose mean can be worked out by hand."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.config import KeypointSchema
from pipeline_lib.data.coco import Image, Person
from pipeline_lib.errors import DataError
from pipeline_lib.evaluate.baseline import mean_pose, place, predict

SCHEMA = KeypointSchema(names=("nose", "left_hand", "right_hand"), sigmas=(0.1, 0.1, 0.1))
IMAGE = Image(1, "1.jpg", 200, 300)


def person(box: tuple[float, float, float, float], *keypoints: float) -> Person:
    return Person(IMAGE, 1, box, keypoints)


def test_mean_is_over_the_people_with_that_keypoint_in_units_of_their_boxes() -> None:
    people = [
        person((10, 20, 100, 50), 60, 30, 2, 30, 40, 1, 0, 0, 0),  # nose (0.5, 0.2), left hand (0.2, 0.4)
        person((0, 0, 10, 20), 7, 8, 1, 3, 3, 0, 0, 0, 0),  # nose (0.7, 0.4), left hand not labelled
        person((5, 5, 0, 9), 5, 6, 2, 5, 6, 2, 5, 6, 2),  # no area
    ]
    np.testing.assert_allclose(mean_pose(people), [[0.6, 0.3], [0.2, 0.4], [0.5, 0.5]])


def test_nobody_is_an_error() -> None:
    with pytest.raises(DataError, match="no labelled person"):
        mean_pose([])


def test_pose_is_placed_in_the_box() -> None:
    placed = place(np.array([[0.5, 0.25], [0, 0], [1, 1]]), (10, 20, 40, 80))
    np.testing.assert_allclose(placed, [[30, 40, 1], [10, 20, 1], [50, 100, 1]])


def annotation(identifier: int, box: list[float], keypoints: list[float], **changes: Any) -> dict[str, Any]:
    labelled = sum(v > 0 for v in keypoints[2::3])
    plain = {"id": identifier, "image_id": 1, "category_id": 1, "bbox": box, "area": 100.0, "iscrowd": 0}
    return {**plain, "keypoints": keypoints, "num_keypoints": labelled, **changes}


def test_crowds_and_unlabelled_people_are_no_training_people(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "1.jpg", "height": 200, "width": 300}]
    people = [annotation(1, [0, 0, 9, 9], [5, 5, 2] * 3, iscrowd=1), annotation(2, [0, 0, 9, 9], [0] * 9)]
    (tmp_path / "train").write_text(json.dumps({"images": images, "annotations": people}))
    with pytest.raises(DataError, match="no labelled person"):
        predict(tmp_path / "train", tmp_path / "train", SCHEMA)


def test_program(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "1.jpg", "height": 200, "width": 300}]
    train = [
        annotation(1, [10, 20, 101, 51], [60, 30, 2, 35, 45, 2, 110, 70, 2]),
        annotation(2, [10, 20, 101, 51], [10, 20, 2, 10, 20, 2, 10, 20, 2], iscrowd=1),
        annotation(3, [10, 20, 101, 51], [0] * 9),
    ]
    val = [annotation(4, [100, 100, 41, 81], [1, 1, 2] * 3), annotation(5, [0, 0, 11, 11], [0] * 9, iscrowd=1)]
    for name, people in (("train", train), ("val", val)):
        (tmp_path / name).write_text(json.dumps({"images": images, "annotations": people}))
    path = Path(__file__).parents[2] / "scripts" / "baseline.py"
    specification = importlib.util.spec_from_file_location("baseline_program", path)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    program.main(
        program.parser().parse_args(
            [
                *("--train-annotations", str(tmp_path / "train"), "--annotations", str(tmp_path / "val")),
                *("--keypoints", SCHEMA.model_dump_json(), "--results", str(tmp_path / "results.json")),
            ]
        )
    )
    first, second = json.loads((tmp_path / "results.json").read_text())
    # the one training person: (0.5, 0.2), (0.25, 0.5), (1, 1) of a sanitised box of 100 x 50
    assert first == {
        "image_id": 1,
        "category_id": 1,
        "keypoints": pytest.approx([120, 116, 1, 110, 140, 1, 140, 180, 1]),
        "score": 1.0,
    }
    assert second["keypoints"] == pytest.approx([5, 2, 1, 2.5, 5, 1, 10, 10, 1])
