"""PoseTrack's files of videos become one COCO file: what is kept, what is computed, what is refused."""

import copy
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, POSETRACK_KEYPOINTS, ValidationConfig
from pipeline_lib.data import coco, posetrack
from pipeline_lib.data.validation import validate
from pipeline_lib.errors import DataError
from pipeline_lib.evaluate.coco import evaluate
from tests.unit.made_posetrack import HEIGHT, NAMES, WIDTH, video, write

ROOT = Path(__file__).parents[2]


def joined(root: Path, split: str = "val") -> dict:
    path = root / "joined.json"
    posetrack.join(root / "annotations" / split, root, POSETRACK_KEYPOINTS, path)
    return json.loads(path.read_text())


def test_keypoints_of_posetrack() -> None:
    schema = POSETRACK_KEYPOINTS
    assert list(schema.names) == NAMES
    # By position COCO's, eyes excepted: head_bottom and head_top are no pair.
    assert [i for i in range(17) if schema.names[i] != COCO_KEYPOINTS.names[i]] == [1, 2]
    assert schema.sigmas == COCO_KEYPOINTS.sigmas
    assert schema.flip_permutation() == (0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert schema.upper_body == tuple(NAMES[:11])
    drawn = {frozenset(pair) for pair in schema.skeleton}
    assert len(drawn) == 16 and not any("ear" in name for pair in drawn for name in pair)
    assert frozenset(("nose", "head_bottom")) in drawn and frozenset(("left_ankle", "left_knee")) in drawn


def test_videos_become_one_coco_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    second, first = video(tmp_path, "val", 342), video(tmp_path, "val", 7, frames=3, labelled=(0,), people=1)
    video(tmp_path, "train", 1)
    found = joined(tmp_path)
    frames = [image for content in (first, second) for image in content["images"] if image["is_labeled"]]
    assert found["images"] == [
        {"id": image["id"], "file_name": image["file_name"], "height": HEIGHT, "width": WIDTH} for image in frames
    ]
    assert found["images"][0]["file_name"] == "images/val/000007_mpii_val/000000.jpg"
    people = [person for content in (first, second) for person in content["annotations"]]
    assert len(found["annotations"]) == len(people) == 1 + 4
    for person, given in zip(found["annotations"], people, strict=True):
        assert {key: person[key] for key in ("id", "image_id", "bbox", "keypoints")} == {
            key: given[key] for key in ("id", "image_id", "bbox", "keypoints")
        }
        assert person["area"] == given["bbox"][2] * given["bbox"][3]
        assert person["num_keypoints"] == int(np.sum(given["keypoints"][2::3])) > 0
        assert (person["category_id"], person["iscrowd"]) == (1, 0)
    assert found["categories"] == [{"id": 1, "name": "person", "keypoints": NAMES}]
    assert "2 videos, 3 of 7 frames are labelled, with 5 people; dropped: none" in caplog.text


def test_it_is_read_and_evaluated_as_any_coco_file(tmp_path: Path) -> None:
    video(tmp_path, "val", 3)
    found = joined(tmp_path)
    people = coco.ground_truth(tmp_path / "joined.json", POSETRACK_KEYPOINTS, training=True).people
    assert [person.annotation_id for person in people] == [person["id"] for person in found["annotations"]]
    assert people[0].keypoints == tuple(found["annotations"][0]["keypoints"])
    perfect = [
        {"image_id": person["image_id"], "category_id": 1, "keypoints": person["keypoints"], "score": 1}
        for person in found["annotations"]
    ]
    assert evaluate(found, perfect, POSETRACK_KEYPOINTS.sigmas)["metrics"]["AP"] == pytest.approx(1)


def test_who_cannot_be_used_is_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    content = video(tmp_path, "val", 5, people=8)
    people = content["annotations"]
    kept = [person["id"] for person in people[6:]]
    del people[0]["bbox"]
    people[1]["bbox"] = []
    del people[2]["keypoints"]
    people[3] |= {"keypoints": [], "bbox": None}  # without both: counted once
    people[4]["category_id"] = 2
    people[5]["image_id"] = content["images"][0]["id"]  # a frame without labels
    people[6]["keypoints"] = [0] * 51  # nothing is visible: kept for evaluation
    write(tmp_path, "val", "000005_mpii_val", content)
    found = joined(tmp_path)["annotations"]
    assert [person["id"] for person in found] == kept and found[0]["num_keypoints"] == 0
    assert (
        f"with {len(kept)} people; dropped: 3 no_bbox, 1 no_keypoints, 1 other_category, 1 unlabelled_frame"
        in caplog.text
    )


def key(*path):
    """Sets the value at a path of keys and indices, or removes the last key where there is none."""

    def change(content, *value):
        for part in path[:-1]:
            content = content[part]
        if value:
            content[path[-1]] = value[0]
        else:
            del content[path[-1]]

    return change


WRONG = {
    "not an object": (lambda content: content.clear(), "`categories` must be a list"),
    "no images": (lambda content: key("images")(content), "`images` must be a list"),
    "no people": (lambda content: key("annotations")(content), "`annotations` must be a list"),
    "image id": (lambda content: key("images", 1, "id")(content), "images[1]: id is None; an integer"),
    "not an entry": (lambda content: key("images", 1)(content, 5), "images[1]: id is None"),
    "text as id": (lambda content: key("annotations", 2, "id")(content, "7"), "annotations[2]: id is '7'"),
    "no file name": (lambda content: key("images", 0, "file_name")(content), "images[0]: file_name is None"),
    "labelled": (lambda content: key("images", 0, "is_labeled")(content), "images[0]: is_labeled is None"),
    "other image": (lambda content: key("annotations", 1, "image_id")(content, 12), "annotations[1]: image_id 12 is no"),
    "no category": (lambda content: key("annotations", 0, "category_id")(content), "annotations[0]: category_id is None"),
    "names": (
        lambda content: key("categories", 0, "keypoints", 1)(content, "left_eye"),
        "categories[0]: its keypoints are ['nose', 'left_eye', 'head_top'",
    ),
    "same image": (
        lambda content: content["images"].append(content["images"][0]),
        "images[4]: id 10003420000 occurs twice, first in ",
    ),
    "same person": (
        lambda content: content["annotations"].append(content["annotations"][0]),
        "annotations[4]: id 1000342000100 occurs twice, first in ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_video_and_item(tmp_path: Path, name: str) -> None:
    content = video(tmp_path, "val", 342)
    change, said = WRONG[name]
    changed = copy.deepcopy(content)
    change(changed)
    path = write(tmp_path, "val", "000342_mpii_val", changed)
    with pytest.raises(DataError) as caught:
        joined(tmp_path)
    assert str(caught.value).startswith(str(path)) and said in str(caught.value)
    assert not (tmp_path / "joined.json").exists()


# What the validation of the joined file finds, as of any COCO file.
FOUND = {
    "box": (key("annotations", 0, "bbox"), [1, 2, 3], "malformed_box", "bbox is [1, 2, 3]"),
    "box of text": (key("annotations", 0, "bbox", 3), "x", "malformed_box", "'x']; four numbers"),
    "keypoints": (key("annotations", 0, "keypoints"), [0] * 45, "keypoint_length", "keypoints has 45 values; 51 numbers"),
    "text for keypoints": (key("annotations", 0, "keypoints"), "none", "keypoint_length", "keypoints has 'none'"),
    "a keypoint": (key("annotations", 0, "keypoints", 4), None, "invalid_keypoint", "keypoints[4] (y of head_bottom) is None"),
    "NaN": (key("annotations", 0, "keypoints", 4), float("nan"), "invalid_keypoint", "(y of head_bottom) is nan"),
    "v": (key("annotations", 0, "keypoints", 5), 7, "invalid_visibility", "v of head_bottom is 7"),
    "missing picture": (key("images", 1, "file_name"), "images/val/none.jpg", "missing_image", "no such file"),
    "damaged picture": (
        key("images", 1, "file_name"), "annotations/val/000342_mpii_val.json", "unreadable_image", "its bytes are no image",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("policy", ["fatal", "drop"])
def test_numbers_and_pictures_are_left_to_the_validation(tmp_path: Path, name: str, policy: str) -> None:
    content = video(tmp_path, "val", 342)
    change, value, kind, said = FOUND[name]
    change(content, value)
    write(tmp_path, "val", "000342_mpii_val", content)
    joined(tmp_path)
    path, policies = tmp_path / "joined.json", ValidationConfig(**{kind: policy})
    if policy == "fatal":
        with pytest.raises(DataError) as caught:
            validate(path, POSETRACK_KEYPOINTS, policies, images=tmp_path)
        # The item, by the image's file the video too, and what to do.
        assert said in str(caught.value) and f"dataset.validation.{kind} to drop" in str(caught.value)
        assert content["images"][1]["file_name"] in str(caught.value)
        return
    verdict = validate(path, POSETRACK_KEYPOINTS, policies, images=tmp_path)
    assert {found: one.number for found, one in verdict.found.items()} == (
        {kind: 1, "of_dropped_image": 2} if kind.endswith("_image") else {kind: 1}
    )
    left = coco.ground_truth(path, POSETRACK_KEYPOINTS, training=True, verdict=verdict).people
    assert len(left) == (2 if kind.endswith("_image") else 3)


def test_hidden_files_are_no_videos(tmp_path: Path) -> None:
    """A Macintosh leaves such files in archives."""
    path = write(tmp_path, "val", "000342_mpii_val", video(tmp_path, "val", 342))
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    joined(tmp_path)


def test_ids_are_unique_over_videos(tmp_path: Path) -> None:
    first, second = video(tmp_path, "val", 1), video(tmp_path, "val", 2)
    for kind, index in (("annotations", 3), ("images", 0)):
        changed = copy.deepcopy(second)
        changed[kind][index]["id"] = first[kind][0]["id"]
        write(tmp_path, "val", "000002_mpii_val", changed)
        with pytest.raises(DataError) as caught:
            joined(tmp_path)
        assert f"000002_mpii_val.json, {kind}[{index}]: id" in str(caught.value)
        assert str(caught.value).count("000001_mpii_val.json") == 1


def test_folders_without_anything_to_use_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no videos' files"):
        joined(tmp_path)
    video(tmp_path, "val", 1, labelled=())
    with pytest.raises(DataError, match="no labelled frame has a person"):
        joined(tmp_path)
    write(tmp_path, "val", "000000_text", "").write_text("{")
    with pytest.raises(DataError, match=r"000000_text\.json: not JSON"):
        joined(tmp_path)
    write(tmp_path, "val", "000000_text", [1])
    with pytest.raises(DataError, match=r"000000_text\.json: an object with images"):
        joined(tmp_path)


def test_the_program_says_one_line_and_writes_nothing(tmp_path: Path) -> None:
    video(tmp_path, "val", 1)
    command = [sys.executable, str(ROOT / "scripts/join_videos.py"), "--videos", str(tmp_path / "annotations/val")]
    command += ["--keypoints", POSETRACK_KEYPOINTS.model_dump_json(), "--annotations", str(tmp_path / "made/all.json")]
    done = subprocess.run([*command, "--images", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "made/all.json").read_text())["annotations"]) == 4
    (tmp_path / "made/all.json").unlink()
    write(tmp_path, "val", "000002_mpii_val", [])
    done = subprocess.run([*command, "--images", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "000002_mpii_val.json: an object" in done.stderr
    assert not (tmp_path / "made/all.json").exists()
