"""COCO metrics against cases that can be worked out by hand, and the program that prints them."""

import argparse
import copy
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS
from pipeline_lib.errors import DataError
from pipeline_lib.evaluate.coco import METRICS, evaluate, table

SIGMAS = COCO_KEYPOINTS.sigmas
LARGE, MEDIUM = 100.0, 50.0


def person(identifier: int, image: int, side: float = LARGE, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(identifier)
    points = np.column_stack([rng.uniform(0, side, (17, 2)) + 20, np.full(17, 2)])
    return {
        "id": identifier,
        "image_id": image,
        "category_id": 1,
        "bbox": [20, 20, side, side],
        "area": side**2,
        "iscrowd": 0,
        "num_keypoints": 17,
        "keypoints": points.reshape(-1).tolist(),
        **changes,
    }


def annotated(*people: dict[str, Any], images: int = 2) -> dict[str, Any]:
    return {
        "images": [{"id": number, "width": 200, "height": 200} for number in range(1, images + 1)],
        "annotations": list(people),
        "categories": [{"id": 1, "name": "person"}],
    }


def predicted(truth: dict[str, Any], score: float = 0.9, move: np.ndarray | None = None) -> dict[str, Any]:
    points = np.reshape(truth["keypoints"], (17, 3)).astype(float)
    if move is not None:
        points[:, 0] += move
    return {
        "image_id": truth["image_id"],
        "category_id": 1,
        "keypoints": points.reshape(-1).tolist(),
        "score": score,
    }


def move_to(similarity: float, area: float) -> np.ndarray:
    """The distance of each keypoint that makes exp(-d^2 / (2 area (2 sigma)^2)) equal `similarity`."""
    return np.array([math.sqrt(-2 * area * (2 * sigma) ** 2 * math.log(similarity)) for sigma in SIGMAS])


def test_perfect_predictions() -> None:
    people = [person(1, 1), person(2, 2, MEDIUM)]
    evaluation = evaluate(annotated(*people, images=3), [predicted(one) for one in people], SIGMAS)
    assert evaluation["metrics"] == pytest.approx(dict.fromkeys(METRICS, 1.0))
    assert evaluation["explanations"] == {}
    assert (evaluation["images"], evaluation["persons"], evaluation["results"]) == (3, 2, 2), "one image has nobody"


def test_one_person_of_a_known_similarity() -> None:
    truth = person(1, 1)
    metrics = evaluate(annotated(truth), [predicted(truth, move=move_to(0.72, LARGE**2))], SIGMAS)["metrics"]
    # 0.50, 0.55, 0.60, 0.65 and 0.70 are reached, 0.75 to 0.95 are not
    expected = {
        "AP": 0.5,
        "AP50": 1,
        "AP75": 0,
        "APM": -1,
        "APL": 0.5,
        "AR": 0.5,
        "AR50": 1,
        "AR75": 0,
        "ARM": -1,
        "ARL": 0.5,
    }
    assert metrics == pytest.approx(expected)


def test_an_annotation_may_have_the_id_0() -> None:
    people = [person(identifier, 1, bbox=[20, 20, LARGE, LARGE]) for identifier in (0, 1)]
    found = evaluate(annotated(*people), [predicted(each) for each in people], SIGMAS)
    assert found["metrics"]["AP"] == pytest.approx(1) and found["metrics"]["AR"] == pytest.approx(1)


@pytest.mark.parametrize("left_out", ["iscrowd", "category_id", "area", "num_keypoints"])
@pytest.mark.parametrize("null", [False, True])
def test_what_the_conversion_does_not_need_the_metrics_do_not_either(left_out: str, null: bool) -> None:
    whole = person(5, 1)
    partial = {name: value for name, value in whole.items() if name != left_out} | ({left_out: None} if null else {})
    results = [predicted(whole, move=move_to(0.77, LARGE**2))]
    assert evaluate(annotated(partial), results, SIGMAS) == evaluate(annotated(whole), results, SIGMAS)


def test_a_crowd_needs_no_keypoints() -> None:
    crowd = person(6, 1, iscrowd=1)
    del crowd["keypoints"], crowd["num_keypoints"]
    known = person(5, 1)
    found = evaluate(annotated(known, crowd), [predicted(known)], SIGMAS)
    assert found["metrics"]["AP"] == pytest.approx(1) and found["persons"] == 1


def test_sigmas_are_those_of_the_schema() -> None:
    truth = person(1, 1, keypoints=[30, 30, 2, 60, 60, 2, 90, 90, 1], num_keypoints=3)
    found = {"image_id": 1, "category_id": 1, "keypoints": [30, 30, 1, 60, 60, 1, 100, 90, 1], "score": 1.0}
    # the third keypoint is 10 pixels off: exp(-100 / (2 * 10000 * 4 * sigma^2)) = 0.25 when sigma^2 = 1 / (800 ln 4)
    sigma = 1 / math.sqrt(800 * math.log(4))
    metrics = evaluate(annotated(truth), [found], (0.1, 0.1, sigma * 1.0001))["metrics"]
    assert metrics["AP"] == pytest.approx(0.6)  # (1 + 1 + 0.25) / 3 = 0.75: 0.50 to 0.75
    metrics = evaluate(annotated(truth), [found], (0.1, 0.1, sigma * 0.9999))["metrics"]
    assert metrics["AP"] == pytest.approx(0.5)


def test_a_missed_person_in_an_image_without_results() -> None:
    people = [person(1, 1), person(2, 2)]
    metrics = evaluate(annotated(*people), [predicted(people[0])], SIGMAS)["metrics"]
    assert metrics["AR"] == pytest.approx(0.5)
    assert metrics["AP"] == pytest.approx(51 / 101)  # precision 1 at the recalls 0, 0.01 ... 0.5


def test_a_false_positive_counts_by_its_score() -> None:
    truth = person(1, 1)
    wrong = predicted(person(5, 1), score=0.95)
    assert evaluate(annotated(truth), [predicted(truth), wrong], SIGMAS)["metrics"]["AP"] == pytest.approx(0.5)
    wrong["score"] = 0.1
    assert evaluate(annotated(truth), [predicted(truth), wrong], SIGMAS)["metrics"]["AP"] == pytest.approx(1.0)


def test_swapped_sides_are_worse() -> None:
    truth = person(1, 1)
    swapped = predicted(truth)
    points = np.reshape(swapped["keypoints"], (17, 3))
    swapped["keypoints"] = points[list(COCO_KEYPOINTS.flip_permutation())].reshape(-1).tolist()
    assert evaluate(annotated(truth), [swapped], SIGMAS)["metrics"]["AP"] < 0.1


def test_crowds_unlabelled_people_and_other_categories_are_ignored() -> None:
    truth = person(1, 1)
    others = [
        person(2, 1, iscrowd=1),
        person(3, 1, keypoints=[0.0] * 51, num_keypoints=0),
        person(4, 2, category_id=2, keypoints=[]),
    ]
    evaluation = evaluate(annotated(truth, *others), [predicted(truth)], SIGMAS)
    assert evaluation["metrics"]["AP"] == pytest.approx(1)
    assert evaluation["metrics"]["AR"] == pytest.approx(1)
    assert evaluation["persons"] == 1


def test_the_number_of_labelled_keypoints_is_counted_where_it_is_not_said() -> None:
    points = np.reshape(person(1, 1)["keypoints"], (17, 3))
    points[:, 2] = 1  # hidden, but labelled
    hidden, unsaid = (person(number, 1, keypoints=points.ravel().tolist()) for number in (1, 2))
    del unsaid["num_keypoints"]
    for labelled in (hidden, unsaid):
        evaluation = evaluate(annotated(labelled), [predicted(labelled)], SIGMAS)
        assert (evaluation["persons"], evaluation["metrics"]["AP"]) == (1, pytest.approx(1))
    denied = {**hidden, "num_keypoints": 0}
    evaluation = evaluate(annotated(denied), [predicted(denied)], SIGMAS)
    assert (evaluation["persons"], evaluation["metrics"]["AP"]) == (0, -1)


def test_an_undefined_metric_is_explained() -> None:
    large = person(1, 1)
    evaluation = evaluate(annotated(large), [predicted(large)], SIGMAS)
    assert evaluation["metrics"]["APM"] == evaluation["metrics"]["ARM"] == -1
    assert set(evaluation["explanations"]) == {"APM", "ARM"}
    assert all("medium" in text for text in evaluation["explanations"].values())
    medium = person(1, 1, MEDIUM)
    evaluation = evaluate(annotated(medium), [predicted(medium)], SIGMAS)
    assert set(evaluation["explanations"]) == {"APL", "ARL"}
    assert all("large" in text for text in evaluation["explanations"].values())
    small = person(1, 1, 20.0)
    evaluation = evaluate(annotated(small), [predicted(small)], SIGMAS)
    assert set(evaluation["explanations"]) == {"APM", "ARM", "APL", "ARL"}
    assert all(("medium" if name[-1] == "M" else "large") in text for name, text in evaluation["explanations"].items())
    elsewhere = evaluate(annotated(person(1, 7)), [], SIGMAS)
    assert elsewhere["persons"] == 0 and set(elsewhere["explanations"]) == set(METRICS)
    assert "labelled" in elsewhere["explanations"]["APL"]
    evaluation = evaluate(annotated(), [], SIGMAS)
    assert set(evaluation["explanations"]) == set(METRICS)
    assert "labelled" in evaluation["explanations"]["AP"]
    assert "labelled" in table({"network": evaluation})


def test_no_results_are_0() -> None:
    evaluation = evaluate(annotated(person(1, 1)), [], SIGMAS)
    assert evaluation["metrics"]["AP"] == evaluation["metrics"]["AR"] == 0.0


def test_arguments_stay_and_stdout_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    truth = annotated(person(1, 1))
    found = [predicted(truth["annotations"][0])]
    before = copy.deepcopy((truth, found))
    evaluate(truth, found, SIGMAS)
    assert (truth, found) == before
    assert capsys.readouterr().out == ""


def test_what_does_not_fit_is_named() -> None:
    truth = person(1, 1)
    with pytest.raises(DataError, match=r"result 0: image 9 "):
        evaluate(annotated(truth), [{**predicted(truth), "image_id": 9}], SIGMAS)
    with pytest.raises(DataError, match=r"result 1: 6 keypoint numbers"):
        evaluate(annotated(truth), [predicted(truth), {**predicted(truth), "keypoints": [0.0] * 6}], SIGMAS)
    with pytest.raises(DataError, match=r"annotation 1: 51 keypoint numbers instead of 6"):
        evaluate(annotated(truth), [], SIGMAS[:2])
    for name in ("bbox", "keypoints", "image_id"):
        partial = {key: value for key, value in truth.items() if key != name}
        with pytest.raises(DataError, match=rf"annotation 1: {name} missing"):
            evaluate(annotated(partial), [], SIGMAS)


def test_table_shows_every_row_and_metric() -> None:
    large = person(1, 1)
    right = evaluate(annotated(large), [predicted(large)], SIGMAS)
    nothing = evaluate(annotated(large), [], SIGMAS)
    lines = table({"network": right, "mean pose": nothing}).splitlines()
    assert lines[0].split() == list(METRICS)
    assert lines[1].split() == ["network", *["1.000"] * 3, "-", *["1.000"] * 4, "-", "1.000"]
    assert lines[2].split()[:5] == ["mean", "pose", "0.000", "0.000", "0.000"]
    assert [line.split()[0] for line in lines[3:]] == ["APM", "ARM"]


def test_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[2] / "scripts" / "evaluate.py"
    specification = importlib.util.spec_from_file_location("evaluate_program", path)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    people = [person(1, 1), person(2, 2)]
    files = {
        "annotations": annotated(*people),
        "results": [predicted(one) for one in people],
        "baseline": [predicted(people[0])],
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    arguments = program.parser().parse_args(
        [
            *("--annotations", str(tmp_path / "annotations"), "--results", str(tmp_path / "results")),
            *("--baseline-results", str(tmp_path / "baseline"), "--metrics", str(tmp_path / "metrics.json")),
            *("--keypoints", COCO_KEYPOINTS.model_dump_json()),
        ]
    )
    assert isinstance(arguments, argparse.Namespace)
    program.main(arguments)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["metrics"]["AP"] == pytest.approx(1)
    assert written["baseline"]["metrics"]["AR"] == 0.5
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split()[:2] == ["network", "1.000"]
    assert printed.splitlines()[2].split()[:3] == ["mean", "pose", "0.505"]
