"""COCO files as records: filters, sanitised boxes, order, errors."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import COCO_KEYPOINTS, KeypointSchema, ValidationConfig
from pipeline_lib.data.coco import Part, Selection, detections, ground_truth, sanitise
from pipeline_lib.data.validation import validate
from pipeline_lib.errors import DataError

POINTS = KeypointSchema(names=("a", "b"), sigmas=(0.1, 0.1))
SEEN, HIDDEN, NONE = [5, 6, 2, 7, 8, 0], [5, 6, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]


def image(image_id: int, height: int = 100, width: int = 200) -> dict[str, Any]:
    return {"id": image_id, "file_name": f"{image_id}.jpg", "height": height, "width": width}


def annotation(identity: int, image_id: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [10, 20, 31, 41],
        "area": 700.5,
        "iscrowd": 0,
        "keypoints": SEEN,
        "num_keypoints": 1,
        **changes,
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def _write(annotations: Any, images: Any = None, name: str = "coco.json") -> Path:
        path = tmp_path / name
        content = {"images": [image(1)] if images is None else images, "annotations": annotations}
        path.write_text(json.dumps(content))
        return path

    return _write


@pytest.fixture
def mixed(write: Any) -> Path:
    return write(
        [
            annotation(1),
            annotation(2, iscrowd=1, keypoints=SEEN, num_keypoints=1),
            annotation(3, keypoints=NONE, num_keypoints=0),
            annotation(4, keypoints=[5, 6, 0, 7, 8, 0], num_keypoints=2),
            annotation(5, image_id=9),
            annotation(6, area=0),
            annotation(7, keypoints=HIDDEN),
            annotation(8, keypoints=SEEN, num_keypoints=0),
        ]
    )


def selected(path: Path, training: bool) -> Selection:
    verdict = validate(path, POINTS, ValidationConfig(unknown_image="drop"))
    return ground_truth(path, POINTS, training=training, verdict=verdict)


def test_training_keeps_labelled_people_only(mixed: Path) -> None:
    selection = selected(mixed, training=True)
    assert [person.annotation_id for person in selection.people] == [1, 7]
    assert selection.dropped == {
        "all_keypoints_invisible": 1,
        "crowd": 1,
        "invalid_box": 1,
        "no_labelled_keypoints": 2,
        "unknown_image": 1,
    }


def test_validation_keeps_crowds_and_unlabelled_people_with_nothing_visible(mixed: Path) -> None:
    selection = selected(mixed, training=False)
    assert {person.annotation_id: person.labelled for person in selection.people} == {
        1: True,
        2: False,
        3: False,
        4: False,
        7: True,
        8: False,
    }
    assert selection.dropped == {"invalid_box": 1, "unknown_image": 1}


def test_what_an_annotation_may_leave_out(write: Any) -> None:
    """Without iscrowd it is a person, without num_keypoints the visibilities say it, without area the box does."""
    people = [annotation(1), annotation(2, keypoints=NONE), annotation(3, bbox=[10, 20, 0, 41])]
    for person in people:
        del person["iscrowd"], person["num_keypoints"], person["area"]
    path = write(people)
    training, validation = (ground_truth(path, POINTS, training=training) for training in (True, False))
    assert [(person.annotation_id, person.labelled) for person in training.people] == [(1, True)]
    assert training.dropped == {"no_labelled_keypoints": 1, "invalid_box": 1}
    assert [(person.annotation_id, person.labelled) for person in validation.people] == [(1, True), (2, False)]
    assert validation.dropped == {"invalid_box": 1}


def test_null_is_as_good_as_left_out(write: Any) -> None:
    nothing = dict.fromkeys(["iscrowd", "num_keypoints", "area", "category_id"])
    (kept,) = ground_truth(write([annotation(1, **nothing)]), POINTS, training=True).people
    (plain,) = ground_truth(write([annotation(1)]), POINTS, training=True).people
    # Without an area, that of the box stands for it.
    _, _, width, height = annotation(1)["bbox"]
    assert (kept.area, plain.area) == (width * height, 700.5)
    assert replace(kept, area=plain.area) == plain


def test_a_crowd_needs_no_keypoints(write: Any) -> None:
    crowd = annotation(1, iscrowd=1)
    del crowd["keypoints"]
    path = write([crowd])
    assert ground_truth(path, POINTS, training=True).dropped == {"crowd": 1}
    (kept,) = ground_truth(path, POINTS, training=False).people
    assert set(kept.keypoints) == {0.0} and not kept.labelled


def test_other_categories_are_dropped_before_their_keypoints_are_read(write: Any) -> None:
    dog = {"id": 7, "image_id": 1, "category_id": 18, "bbox": [1, 1, 5, 5]}
    for training in (True, False):
        selection = ground_truth(write([annotation(1), dog]), POINTS, training=training)
        assert [person.annotation_id for person in selection.people] == [1]
        assert selection.dropped == {"other_category": 1}


def test_person_has_everything_of_its_annotation(write: Any) -> None:
    path = write([annotation(4, image_id=3, keypoints=[5.25, 6.5, 1, 7, 8, 2])], [image(3, 50, 60)])
    (person,) = ground_truth(path, POINTS, training=True).people
    assert (person.image.image_id, person.image.file_name, person.image.height, person.image.width) == (
        3,
        "3.jpg",
        50,
        60,
    )
    assert person.annotation_id == 4
    assert person.keypoints == (5.25, 6.5, 1, 7, 8, 2)
    assert person.box == (10, 20, 30, 29)
    assert person.score == 1


def test_order_is_by_image_then_annotation(write: Any) -> None:
    path = write(
        [annotation(9, 2), annotation(11, 1), annotation(2, 10), annotation(3, 1)], [image(10), image(2), image(1)]
    )
    people = ground_truth(path, POINTS, training=True).people
    assert [(person.image.image_id, person.annotation_id) for person in people] == [(1, 3), (1, 11), (2, 9), (10, 2)]


def test_a_hold_out_and_the_rest_share_no_image(write: Any) -> None:
    images = [image(number) for number in range(1, 41)]
    path = write([annotation(number, image_id=1 + number % 40) for number in range(120)], images)
    for training in (True, False):
        inside, outside = (
            ground_truth(path, POINTS, training=training, part=Part(0.2, held_out=held_out))
            for held_out in (True, False)
        )
        held, others = ({person.image.image_id for person in one.people} for one in (inside, outside))
        assert len(held) == 8 and len(others) == 32 and not held & others
        assert inside.dropped == {"other_part": 96} and outside.dropped == {"other_part": 24}
        whole = ground_truth(path, POINTS, training=training).people
        assert sorted([*inside.people, *outside.people], key=whole.index) == list(whole)


def test_the_hold_out_depends_on_ids_and_fraction_alone() -> None:
    ids = list(range(100, 200))
    held = Part(0.1, held_out=True).of(ids)
    assert held == Part(0.1, held_out=True).of(ids[::-1]) and len(held) == 10
    assert held != frozenset(range(100, 110)) and held != Part(0.1, held_out=True).of(range(101, 201))
    assert Part(0.1, held_out=False).of(ids) == set(ids) - held


@pytest.mark.parametrize(("fraction", "number"), [(0.006, 1), (0.05, 5), (0.09, 9), (0.1, 10), (0.2, 20)])
def test_a_hold_out_of_a_few_images_is_warned_of(
    caplog: pytest.LogCaptureFixture, fraction: float, number: int
) -> None:
    assert len(Part(fraction, held_out=True).of(range(100))) == number
    assert bool(caplog.messages) is (number < 10)
    if number < 10:
        assert caplog.messages[0].startswith(f"search.holdout: {fraction} of 100 images holds out {number}: ")


@pytest.mark.parametrize("held_out", [True, False])
def test_a_hold_out_of_nothing_is_refused(held_out: bool) -> None:
    with pytest.raises(DataError, match=r"search\.holdout: 1e-09 of 118,287 images is not a single one; raise it"):
        Part(1e-9, held_out=held_out).of(range(118_287))


@pytest.mark.parametrize(
    ("box", "clean"),
    [
        ((10.5, 20.25, 30.0, 40.0), (10.5, 20.25, 29.0, 39.0)),
        ((-5.0, -6.0, 30.0, 40.0), (0.0, 0.0, 29.0, 39.0)),
        ((150.0, 80.0, 100.0, 50.0), (150.0, 80.0, 49.0, 19.0)),
        ((199.0, 99.0, 10.0, 10.0), (199.0, 99.0, 0.0, 0.0)),
        ((10.0, 10.0, 0.5, 20.0), (10.0, 10.0, 0.0, 19.0)),
        ((199.5, 10.0, 20.0, 20.0), None),
        ((10.0, 99.5, 20.0, 20.0), None),
    ],
)
def test_boxes_are_cut_to_the_image(box: Any, clean: Any) -> None:
    assert sanitise(box, 1.0, height=100, width=200) == clean


@pytest.mark.parametrize("area", [0.0, -1.0])
def test_boxes_without_area_are_invalid(area: float) -> None:
    assert sanitise((10.0, 10.0, 20.0, 20.0), area, 100, 200) is None


def test_detections(write: Any, tmp_path: Path) -> None:
    def detection(image_id: int, category: int = 1, score: float = 0.5, box: Any = (1.5, 2, 3, 4)) -> dict[str, Any]:
        return {"image_id": image_id, "category_id": category, "bbox": list(box), "score": score}

    names = write([], [image(1), image(2)])
    found = tmp_path / "detections.json"
    found.write_text(
        json.dumps(
            [
                detection(2, score=0.001),
                detection(1, category=2),
                detection(7),
                detection(1, score=0.25, box=(-9.5, 90, 500, 600)),
                detection(1, score=0.75),
            ]
        )
    )
    selection = detections(found, names, COCO_KEYPOINTS)
    assert [(person.image.image_id, person.score) for person in selection.people] == [(1, 0.25), (1, 0.75), (2, 0.001)]
    assert [person.box for person in selection.people[:2]] == [(-9.5, 90, 500, 600), (1.5, 2, 3, 4)]
    assert {person.annotation_id for person in selection.people} == {0}
    assert {person.keypoints for person in selection.people} == {(0.0,) * 51}
    assert selection.dropped == {"detection_of_unknown_image": 1, "other_category": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": [1, 2, 2]}, r"annotations\[1\].*3 values.*6 numbers.*schema"),
        ({"keypoints": None}, r"annotations\[1\].*keypoints"),
        ({"keypoints": [1, 2, 2, 3, float("nan"), 2]}, r"keypoints\[4\] \(y of \w+\) is nan; a finite number"),
        ({"keypoints": [1, 2, None, 3, 4, 2]}, r"keypoints\[2\] \(v of \w+\) is None"),
        ({"bbox": [1, 2, 3]}, r"annotations\[1\].*bbox"),
        ({"bbox": [1, 2, 3, float("nan")]}, r"annotations\[1\].*bbox"),
        ({"bbox": [1, 2, 3, True]}, r"annotations\[1\].*bbox"),
        ({"area": "large"}, r"annotations\[1\].*area"),
        ({"area": True}, r"annotations\[1\].*area"),
        ({"image_id": True}, r"annotations\[1\].*image_id"),
        ({"image_id": 1.5}, r"annotations\[1\].*image_id"),
        ({"image_id": "one"}, r"annotations\[1\].*image_id"),
        ({"image_id": 9}, r"annotations\[1\].*image_id is 9, which none of the 1 images has"),
        ({"id": 1}, r"annotations\[1\].*id 1 occurs twice"),
    ],
)
def test_wrong_annotations_are_named(write: Any, changes: dict[str, Any], message: str) -> None:
    path = write([annotation(1), annotation(2, **changes)])
    with pytest.raises(DataError, match=message) as raised:
        ground_truth(path, POINTS, training=False)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([image(1), image(2), image(1)], r"images\[2\].*image id 1 occurs twice"),
        ([image(1), image(2, height=0)], r"images\[1\].*positive height and width"),
        ([image(1), image(2, width=0)], r"images\[1\].*positive height and width"),
        ([image(1), image(2) | {"file_name": ""}], r"images\[1\].*file_name"),
    ],
)
def test_wrong_images_are_named(write: Any, images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ground_truth(write([annotation(1)], images), POINTS, training=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[]", "not a COCO file"),
        ('{"info": {}}', "not a COCO file"),
        ('{"images": []}', "`annotations` must be a list"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images\[0\]"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "coco.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        ground_truth(path, POINTS, training=False)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "a JSON list"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]', r"\[0\].*score"),
        ('[{"image_id": 1, "category_id": 1, "score": 1, "bbox": 5}]', r"\[0\].*bbox"),
        ("[1]", r"\[0\].*category_id"),
    ],
)
def test_wrong_detections_are_named(write: Any, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "detections.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        detections(path, write([]), POINTS)
