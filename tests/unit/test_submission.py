"""Archives for COCO's server: their form, that they keep every metric, and what is refused."""

import json
import logging
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib import artifacts
from pipeline_lib.config import COCO_KEYPOINTS
from pipeline_lib.data import verdict
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import ConfigError, DataError
from pipeline_lib.evaluate import coco
from pipeline_lib.evaluate.submission import submission, write
from scripts import submission as program

NAME = "person_keypoints_test-dev2017_evopose_m_results"


def result(image: int = 1, score: float = 0.5, seed: int = 0, **changes: Any) -> dict[str, Any]:
    points = np.random.default_rng(seed).uniform(0, 300, (17, 3))
    return {"image_id": image, "category_id": 1, "keypoints": points.ravel().tolist(), "score": score, **changes}


def test_form_of_a_person() -> None:
    given = result(7, 1 / 3, keypoints=[1.005001, 2.0, 0.9, -0.001, 640.129, -3.0], box="left out")
    (person,) = submission([given], [7, 8], 2)
    assert person == {
        "image_id": 7,
        "category_id": 1,
        "keypoints": [1.01, 2.0, 1, 0.0, 640.13, 1],
        "score": 1 / 3,  # exactly: ties would change the order of people
    }
    assert json.dumps(person["keypoints"]) == "[1.01, 2.0, 1, 0.0, 640.13, 1]"  # no -0.0


def test_the_best_twenty_people_of_each_image_stay_in_their_order() -> None:
    # Scores 0, 0.04, ... 0.96; two more of the lowest score that is kept, later in the list.
    crowd = [result(1, index / 25, seed=index) for index in np.random.default_rng(0).permutation(25)]
    ties = [result(1, 6 / 25, seed=100), result(1, 6 / 25, seed=101)]
    others = [result(2, 0.0, seed=200 + index) for index in range(20)]
    people = submission([*crowd, *ties, *others], [1, 2], 17)
    found = [person["score"] for person in people if person["image_id"] == 1]
    expected = [one["score"] for one in [*crowd, *ties] if one["score"] > 6 / 25]
    assert len(expected) == 18
    kept = [one["score"] for one in [*crowd, ties[0]] if one["score"] >= 6 / 25]
    assert found == kept and len(found) == 20
    first_tie = np.round(ties[0]["keypoints"][0], 2)
    assert [person["keypoints"][0] for person in people if person["image_id"] == 1][-1] == first_tie
    assert sum(person["image_id"] == 2 for person in people) == 20


def test_every_metric_is_kept() -> None:
    """Of 30 people in an image, at the server as with the whole list; and what is left out changes nothing."""
    rng = np.random.default_rng(1)
    annotations, results = [], []
    for index in range(30):
        points = np.column_stack([rng.uniform(0, 100, (17, 2)) + 120 * index, np.full(17, 2)])
        annotations.append(
            {
                "id": index + 1, "image_id": 1 + index % 2 * (index > 27), "category_id": 1, "iscrowd": 0,
                "bbox": [120 * index, 0, 100, 100], "area": 1e4, "num_keypoints": 17, "keypoints": points.ravel().tolist(),
            }
        )  # fmt: skip
        moved = points + rng.normal(0, 5, (17, 3))
        results.append(result(annotations[-1]["image_id"], float(rng.uniform()), keypoints=moved.ravel().tolist()))
    truth = {"images": [{"id": 1}, {"id": 2}], "annotations": annotations}
    people = submission(results, [1, 2], 17)
    assert len(people) < len(results)
    before, after = (coco.evaluate(truth, given, COCO_KEYPOINTS.sigmas)["metrics"] for given in (results, people))
    assert after == pytest.approx(before, abs=1e-9) and 0.1 < after["AP"] < 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 3}, r"result 1: image 3 is not among the 2 images"),
        ({"image_id": "1"}, r"result 1: image '1'"),
        ({"image_id": 1.0}, r"result 1: image 1\.0"),
        ({"image_id": True}, r"result 1: image True"),
        ({"category_id": 2}, r"result 1: category 2; only persons \(1\)"),
        ({"keypoints": [0.0] * 48}, r"result 1: 3 numbers for each of 17 keypoints"),
        ({"keypoints": 5}, r"result 1: 3 numbers"),
        ({"keypoints": [0.0] * 50 + [math.nan]}, r"result 1: keypoints and score have to be finite"),
        ({"keypoints": [math.inf] + [0.0] * 50}, r"result 1: keypoints and score have to be finite"),
        ({"keypoints": ["1"] + [0.0] * 50}, r"result 1: keypoints and score have to be finite"),
        ({"score": math.nan}, r"result 1: keypoints and score have to be finite"),
        ({"score": None}, r"result 1: keypoints and score have to be finite"),
        ({"score": True}, r"result 1: keypoints and score have to be finite"),
    ],
)
def test_what_the_server_would_refuse_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        submission([result(), {**result(), **changes}], [1, 2], 17)


def test_lists_of_something_else_are_refused() -> None:
    with pytest.raises(DataError, match="there are no results"):
        submission([], [1], 17)
    with pytest.raises(DataError, match="result 0: 'a' is no result"):
        submission(["a"], [1], 17)
    partial = result()
    del partial["score"], partial["keypoints"]
    with pytest.raises(DataError, match="result 0: keypoints, score missing"):
        submission([partial], [1], 17)


def test_archive(tmp_path: Path) -> None:
    people = submission([result(1, 0.25)], [1], 17)
    write(tmp_path / f"{NAME}.zip", people)
    with zipfile.ZipFile(tmp_path / f"{NAME}.zip") as archive:
        assert archive.testzip() is None
        (entry,) = archive.infolist()
        assert entry.filename == f"{NAME}.json"
        assert entry.compress_type == zipfile.ZIP_DEFLATED and entry.compress_size < entry.file_size
        assert entry.external_attr >> 16 == 0o644
        text = archive.read(entry).decode()
    assert json.loads(text) == people
    assert " " not in text
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.zip"]


def test_equal_people_make_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = submission([result(seed=seed) for seed in range(5)], [1], 17)
    write(tmp_path / "a" / f"{NAME}.zip", people)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(tmp_path / "b" / f"{NAME}.zip", people)
    assert (tmp_path / "a" / f"{NAME}.zip").read_bytes() == (tmp_path / "b" / f"{NAME}.zip").read_bytes()


@pytest.mark.parametrize(
    "name",
    ["results.zip", "keypoints_val2017_a_results.zip", "person_keypoints_val2017_results.zip", f"{NAME}.json"],
)
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the server expects a file person_keypoints_<images>_<algorithm>_results"):
        write(tmp_path / name, [])
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.zip"
    path.write_text("before")
    with pytest.raises(ValueError):
        write(path, [{"score": math.nan}])
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "results.json").write_text(
        json.dumps([result(139, seed=seed, keypoints=[1, 2, 3]) for seed in range(22)])
    )
    (tmp_path / "images.json").write_text(json.dumps({"images": [{"id": 139, "file_name": "000000000139.jpg"}]}))
    archive = tmp_path / f"{NAME}.zip"
    arguments = ["--results", tmp_path / "results.json", "--images", tmp_path / "images.json", "--archive", archive]
    with caplog.at_level(logging.INFO):
        program.main(program.parser().parse_args([*map(str, arguments), "--keypoints", "1"]))
    assert f"20 of 22 people in 1 images: {archive}" in caplog.text
    content = json.loads(zipfile.ZipFile(archive).read(f"{NAME}.json"))
    assert len(content) == 20 and content[0]["keypoints"] == [1.0, 2.0, 1]
    # What the validation left out cannot have results.
    verdict.write(
        tmp_path / "verdict.json",
        Verdict(
            file="images.json",
            sha256=artifacts.sha256(tmp_path / "images.json"),
            entries={"images": 1},
            dropped={"images": {"empty_image": ((0, 139),)}},
        ),
    )
    validated = [*map(str, arguments), "--keypoints", "1", "--validation", str(tmp_path / "verdict.json")]
    with pytest.raises(DataError, match="image 139 is not among the 0 images"):
        program.main(program.parser().parse_args(validated))
    with pytest.raises(DataError, match="17 keypoints"):
        program.main(program.parser().parse_args(list(map(str, arguments))))
