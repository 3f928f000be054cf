"""The synthetic data set: reproducible, true to COCO's format, and drawn where its annotations say."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as masks
from pycocotools.coco import COCO

from pipeline_lib.config import COCO_KEYPOINTS, SyntheticConfig
from pipeline_lib.data import synthetic as package
from pipeline_lib.data.synthetic import annotate as annotation
from pipeline_lib.data.synthetic import synthesize
from pipeline_lib.data.synthetic.annotate import annotate, detect, run_lengths
from pipeline_lib.data.synthetic.dataset import make
from pipeline_lib.data.synthetic.figure import Figure, Pose, Side, figure, sample_look, sample_pose
from pipeline_lib.data.synthetic.scene import FIRST_PERSON, Quirks, Scene, compose, label, silhouette
from scripts import synthesize as program

NAMES = COCO_KEYPOINTS.names
CONFIG = SyntheticConfig(train_images=26, val_images=24)
STANDING = Side(shoulder_abduction=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic")
    synthesize(CONFIG, 3, path)
    return path


def load(folder: Path, split: str) -> dict[str, Any]:
    return json.loads((folder / f"annotations/person_keypoints_{split}.json").read_text())


@pytest.fixture(scope="module", params=["train", "val"])
def split(request: pytest.FixtureRequest, folder: Path) -> tuple[dict[str, Any], Path]:
    return load(folder, request.param), folder / "images" / request.param


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def triples(entry: dict[str, Any]) -> np.ndarray:
    return np.array(entry["keypoints"]).reshape(-1, 3)


def person(pose: Pose, height: float = 200.0, foot: tuple[float, float] = (100.0, 220.0), seed: int = 0) -> Figure:
    return figure(pose, sample_look(np.random.default_rng(seed)), height, foot)


def place(drawn: Figure, name: str) -> np.ndarray:
    return drawn.keypoints[NAMES.index(name)]


# Reproducibility


def test_same_seed_same_bytes_and_more_pictures_change_none(tmp_path: Path) -> None:
    small = SyntheticConfig(train_images=3, val_images=2)
    for name, seed, workers in (("a", 5, 1), ("b", 5, 2), ("other", 6, 1)):
        synthesize(small, seed, tmp_path / name, workers)
    first, second, other = (files(tmp_path / name) for name in ("a", "b", "other"))
    assert first == second
    assert all(first[name] != other[name] for name in first)
    synthesize(SyntheticConfig(train_images=4, val_images=2), 5, tmp_path / "b")
    more = files(tmp_path / "b")
    pictures = [name for name in first if name.endswith(".jpg")]
    assert len(pictures) == 5
    assert all(first[name] == more[name] for name in pictures)
    by_id = {entry["id"]: entry for entry in load(tmp_path / "b", "train")["annotations"]}
    assert all(by_id[entry["id"]] == entry for entry in load(tmp_path / "a", "train")["annotations"])
    assert len({first[name] for name in pictures}) == 5


def test_pictures_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "images/train/000000000999.jpg").write_bytes(b"old")
    synthesize(SyntheticConfig(train_images=2, val_images=1), 1, tmp_path)
    assert len(list((tmp_path / "images/train").iterdir())) == 2
    assert len(list((tmp_path / "images/val").iterdir())) == 1


# Format


def test_files_have_what_real_files_have(split: tuple[dict[str, Any], Path]) -> None:
    content, images = split
    assert set(content) == {"info", "licenses", "images", "annotations", "categories"}
    (category,) = content["categories"]
    assert (category["id"], category["name"], category["supercategory"]) == (1, "person", "person")
    assert tuple(category["keypoints"]) == NAMES
    assert [16, 14] in category["skeleton"] and [5, 7] in category["skeleton"]  # 1-based, as COCO's
    assert np.min(category["skeleton"]) == 1 and np.max(category["skeleton"]) == 17
    keys = {"license", "file_name", "coco_url", "height", "width", "date_captured", "flickr_url", "id"}
    assert all(set(entry) == keys for entry in content["images"])
    keys = {"segmentation", "num_keypoints", "area", "iscrowd", "keypoints", "image_id", "bbox", "category_id", "id"}
    assert all(set(entry) == keys for entry in content["annotations"])
    for entries in (content["images"], content["annotations"]):
        ids = [entry["id"] for entry in entries]
        assert len(set(ids)) == len(ids)
        assert ids != sorted(ids)
    for entry in content["images"]:
        assert entry["file_name"] == f"{entry['id']:012d}.jpg"
        with PIL.Image.open(images / entry["file_name"]) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (entry["width"], entry["height"])
    assert {path.name for path in images.iterdir()} == {entry["file_name"] for entry in content["images"]}


def test_files_show_the_pictures_that_were_made(split: tuple[dict[str, Any], Path]) -> None:
    """Red is red, and JPEG takes little away."""
    content, images = split
    for index in (0, 2, 3):
        made, entry, *_ = make(CONFIG, 3, images.name, index)
        assert entry in content["images"]
        with PIL.Image.open(images / entry["file_name"]) as picture:
            assert np.abs(np.asarray(picture).astype(float) - made).mean() < 4.3


def test_broken_annotations_are_one_of_a_kind(split: tuple[dict[str, Any], Path]) -> None:
    content, _ = split
    width = {entry["id"]: entry["width"] for entry in content["images"]}
    assert sum(entry["bbox"][2] == 0 for entry in content["annotations"]) == 1
    assert sum(entry["bbox"][0] >= width[entry["image_id"]] for entry in content["annotations"]) == 1


def test_splits_share_no_image(folder: Path) -> None:
    train, val = ({entry["id"] for entry in load(folder, name)["images"]} for name in ("train", "val"))
    assert (len(train), len(val)) == (26, 24)
    assert not train & val
    assert not {*files(folder / "images/train").values()} & {*files(folder / "images/val").values()}


def test_every_oddity_of_real_data_is_there(split: tuple[dict[str, Any], Path]) -> None:
    content, images = split
    modes = Counter(PIL.Image.open(images / entry["file_name"]).mode for entry in content["images"])
    assert modes["L"] >= 2 and modes["RGB"] > modes["L"]
    sizes = {(entry["height"], entry["width"]) for entry in content["images"]}
    assert len(sizes) >= 3
    assert max(h for h, _ in sizes) == CONFIG.height and max(w for _, w in sizes) == CONFIG.width
    people = Counter(entry["image_id"] for entry in content["annotations"] if not entry["iscrowd"])
    assert set(people) < {entry["id"] for entry in content["images"]}  # some images have nobody
    assert max(people.values()) >= 3
    size = {entry["id"]: (entry["height"], entry["width"]) for entry in content["images"]}
    annotations = content["annotations"]
    assert any(entry["iscrowd"] for entry in annotations)
    assert any(not entry["iscrowd"] and not entry["num_keypoints"] for entry in annotations)
    assert any(entry["area"] == 0 and entry["bbox"][2] == 0 and entry["num_keypoints"] for entry in annotations)
    assert any(entry["bbox"][0] > size[entry["image_id"]][1] and entry["num_keypoints"] for entry in annotations)
    fractions = [value % 1 != 0 for entry in annotations for value in (entry["area"], *entry["bbox"])]
    assert np.mean(fractions) > 0.7
    visibility = Counter(np.concatenate([triples(entry)[:, 2] for entry in annotations if entry["num_keypoints"] > 5]))
    assert min(visibility[v] for v in (0, 1, 2)) > 0.04 * visibility.total()
    assert visibility[2] > 0.5 * visibility.total()
    areas = np.array([entry["area"] for entry in annotations if entry["num_keypoints"] > 5])
    assert np.mean(areas > 32**2) > 0.75 and np.any(areas > 96**2)


def test_keypoints_follow_the_rules(split: tuple[dict[str, Any], Path]) -> None:
    content, _ = split
    size = {entry["id"]: (entry["width"], entry["height"]) for entry in content["images"]}
    for entry in content["annotations"]:
        points = triples(entry)
        assert points.shape == (17, 3)
        assert entry["num_keypoints"] == np.count_nonzero(points[:, 2])
        assert set(points[:, 2]) <= {0, 1, 2}
        assert not points[points[:, 2] == 0].any()
        labelled = points[points[:, 2] > 0, :2]
        assert (labelled >= 0).all() and (labelled < size[entry["image_id"]]).all()
        if entry["iscrowd"]:
            assert not points.any()


def test_pycocotools_reads_the_segmentations(split: tuple[dict[str, Any], Path], folder: Path) -> None:
    content, images = split
    coco = COCO(str(folder / f"annotations/person_keypoints_{images.name}.json"))
    overlaps = []
    for entry in content["annotations"]:
        if entry["iscrowd"]:
            mask = coco.annToMask(entry)
            assert mask.sum() == entry["area"] > 0
            np.testing.assert_array_equal(masks.toBbox(masks.encode(np.asfortranarray(mask))), entry["bbox"])
        elif entry["num_keypoints"] > 5:
            corners = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in entry["segmentation"]])
            x, y, w, h = entry["bbox"]
            low, high = corners.min(0), corners.max(0)
            assert (low >= np.array([x, y]) - 0.02).all() and (high <= np.array([x + w, y + h]) + 0.02).all()
            overlaps.append(coco.annToMask(entry).sum() / entry["area"])
    assert np.all(np.abs(np.array(overlaps) - 1) < 0.2)


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (7, 9)])
def test_run_lengths_are_coco_s(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for mask in (np.zeros(shape, bool), np.ones(shape, bool), *(rng.random((20, *shape)) < 0.5)):
        encoded = masks.frPyObjects({"counts": run_lengths(mask), "size": list(shape)}, *shape)
        np.testing.assert_array_equal(masks.decode(encoded), mask)


# Truth of the keypoints


def test_left_and_right_are_the_person_s_own() -> None:
    pairs = [
        (f"left_{part}", f"right_{part}")
        for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    ]
    front, back = person(Pose(STANDING, STANDING)), person(Pose(STANDING, STANDING, yaw=np.pi))
    for left, right in pairs:
        assert place(front, left)[0] > place(front, right)[0] + 5
        assert place(back, left)[0] < place(back, right)[0] - 5


def test_a_person_who_looks_right_hides_the_own_left() -> None:
    drawn = person(Pose(STANDING, STANDING, yaw=np.pi / 2))
    assert place(drawn, "nose")[0] > place(drawn, "left_ear")[0] + 5
    order = [part.name for part in drawn.parts]
    assert order.index("left_upper_arm") < order.index("torso") < order.index("right_upper_arm")
    assert drawn.behind[NAMES.index("left_shoulder")] and not drawn.behind[NAMES.index("right_shoulder")]


def test_limbs_bend_the_way_people_do() -> None:
    walking = person(
        Pose(Side(hip_flexion=0.5, knee=0.6), Side(shoulder_flexion=0.5, elbow_flexion=0.8), yaw=np.pi / 2)
    )
    x = {name: place(walking, name)[0] for name in NAMES}
    assert x["left_knee"] > x["left_hip"] and x["left_ankle"] < x["left_knee"]
    assert x["right_elbow"] > x["right_shoulder"] and x["right_wrist"] > x["right_elbow"]
    raised = person(Pose(Side(shoulder_abduction=2.6), STANDING))
    assert place(raised, "left_wrist")[1] < place(raised, "left_elbow")[1] < place(raised, "left_shoulder")[1]
    bent = person(Pose(STANDING, STANDING, yaw=np.pi / 2, pitch=1.0))
    assert place(bent, "nose")[0] > place(bent, "left_hip")[0] + 30


def test_a_standing_person_has_the_asked_height() -> None:
    drawn = person(Pose(STANDING, STANDING), height=200, foot=(100, 220))
    scene = _painted([drawn])
    rows, columns = np.nonzero(silhouette(scene.labels, 0))
    assert abs(np.ptp(rows) - 200) < 8
    assert abs(rows.max() - 220) < 8
    assert abs((columns.min() + columns.max()) / 2 - 100) < 5


def test_bones_keep_their_length() -> None:
    rng = np.random.default_rng(4)
    bones = {("shoulder", "elbow"): 0.165, ("elbow", "wrist"): 0.15, ("hip", "knee"): 0.24, ("knee", "ankle"): 0.23}
    longest = dict.fromkeys(bones, 0.0)
    for _ in range(60):
        drawn = person(sample_pose(rng), height=100)
        for (start, end), length in bones.items():
            for side in ("left", "right"):
                seen = np.linalg.norm(place(drawn, f"{side}_{start}") - place(drawn, f"{side}_{end}")) / 100
                assert seen <= length + 1e-9
                longest[start, end] = max(longest[start, end], seen / length)
    assert all(share > 0.97 for share in longest.values())


def _painted(people: list[Figure], shape: tuple[int, int] = (240, 200)) -> Scene:
    from pipeline_lib.data.synthetic import scene as module

    image, labels = np.full((*shape, 3), 128, np.uint8), np.zeros(shape, np.int32)
    for index, drawn in enumerate(people):
        module._paint(image, labels, drawn, index)
    return Scene(image, labels, tuple(people), None)


@pytest.fixture
def perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    """An annotator who labels everything."""
    monkeypatch.setattr(annotation, "FORGOTTEN", 0.0)
    monkeypatch.setattr(annotation, "UNGUESSED", 0.0)


def _labels(scene: Scene, index: int = 0) -> dict[str, tuple[int, int, int]]:
    entries = annotate(scene, 1, np.random.default_rng(0))
    (entry,) = [entry for entry in entries if entry["id"] == 100 + index]
    return {name: tuple(int(v) for v in point) for name, point in zip(NAMES, triples(entry), strict=True)}


@pytest.mark.usefixtures("perfect")
def test_everything_is_seen_of_a_person_who_faces_the_viewer() -> None:
    drawn = person(Pose(STANDING, STANDING))
    for name, (x, y, v) in _labels(_painted([drawn])).items():
        assert v == 2, name
        assert np.abs(place(drawn, name) - (x, y)).max() <= 0.5


@pytest.mark.usefixtures("perfect")
def test_the_face_is_hidden_from_behind_and_the_far_side_from_the_side() -> None:
    back = _labels(_painted([person(Pose(STANDING, STANDING, yaw=np.pi))]))
    assert [back[name][2] for name in ("nose", "left_eye", "right_eye")] == [1, 1, 1]
    assert [back[name][2] for name in ("left_knee", "right_knee", "left_elbow", "right_wrist")] == [2, 2, 2, 2]
    side = _labels(_painted([person(Pose(Side(), Side(shoulder_flexion=0.9), yaw=np.pi / 2))]))
    assert [side[name][2] for name in ("right_shoulder", "right_hip", "right_knee", "right_eye")] == [2, 2, 2, 2]
    assert [side[name][2] for name in ("left_shoulder", "left_hip", "left_knee", "left_elbow")] == [1, 1, 1, 1]
    half = _labels(_painted([person(Pose(STANDING, STANDING, yaw=1.1))]))  # the own chest is before the far shoulder
    assert [half[name][2] for name in ("right_shoulder", "left_shoulder")] == [2, 1]


@pytest.mark.usefixtures("perfect")
def test_things_and_other_people_hide_keypoints() -> None:
    drawn = person(Pose(STANDING, STANDING))
    scene = _painted([drawn])
    x, y = np.round(place(drawn, "left_knee")).astype(int)
    scene.labels[y - 3 : y + 4, x - 3 : x + 4] = 0
    labels = _labels(scene)
    assert labels["left_knee"] == (x, y, 1)
    assert labels["right_knee"][2] == labels["left_ankle"][2] == 2
    other = person(Pose(STANDING, STANDING), foot=(103.0, 221.0))
    crowded = _painted([drawn, other])
    assert _labels(crowded, 0)["nose"][2] == 1
    assert _labels(crowded, 1)["nose"][2] == 2


@pytest.mark.usefixtures("perfect")
def test_keypoints_beyond_the_border_are_not_labelled() -> None:
    drawn = person(Pose(STANDING, STANDING), foot=(0.0, 300.0))
    labels = _labels(_painted([drawn]))
    inside = {name: place(drawn, name)[0] >= 0 and place(drawn, name)[1] < 239.5 for name in NAMES}
    assert {name: point != (0, 0, 0) for name, point in labels.items()} == inside
    assert 0 < sum(inside.values()) < 17
    assert not inside["left_ankle"] and not inside["right_shoulder"] and inside["left_shoulder"]


def test_tiny_people_and_bystanders_have_no_keypoints() -> None:
    tiny = _painted([person(Pose(STANDING, STANDING), height=30, foot=(100, 100))])
    (entry,) = annotate(tiny, 1, np.random.default_rng(0))
    assert (entry["num_keypoints"], entry["iscrowd"]) == (0, 0)
    large = _painted([person(Pose(STANDING, STANDING))])
    (entry,) = annotate(Scene(large.image, large.labels, large.people, 0), 1, np.random.default_rng(0))
    assert entry["num_keypoints"] == 0


def test_sides_are_told_apart_by_colour_and_by_brightness() -> None:
    seen: dict[str, list[np.ndarray]] = {"left": [], "right": []}
    for index in range(25):
        scene = compose(CONFIG, np.random.default_rng([9, index]), Quirks())
        for entry in annotate(scene, index, np.random.default_rng(0)):
            for name, (x, y, v) in zip(NAMES, triples(entry), strict=True):
                if v == 2 and name.endswith(("elbow", "knee")):
                    seen[name.split("_")[0]].append(scene.image[y, x].astype(float))
    left, right = np.array(seen["left"]), np.array(seen["right"])
    assert len(left) > 50 and len(right) > 50
    assert np.mean(left[:, 0] > left[:, 2] + 30) > 0.95
    assert np.mean(np.maximum(right[:, 1], right[:, 2]) > right[:, 0] + 15) > 0.95
    assert left.mean() > right.mean() + 30


def test_the_label_map_matches_the_picture() -> None:
    drawn = person(Pose(STANDING, STANDING))
    scene = _painted([drawn])
    for part in drawn.parts:
        pixels = scene.image[cv2.erode((scene.labels == label(0, part.name)).astype(np.uint8), np.ones((5, 5))) > 0]
        if len(pixels):
            assert (pixels == part.colour).all(), part.name
    assert silhouette(scene.labels, 0).sum() == np.count_nonzero(scene.labels >= FIRST_PERSON)
    assert not silhouette(scene.labels, 1).any()


def test_people_do_not_bury_one_another() -> None:
    config = SyntheticConfig(people=4)
    shares, numbers = [], Counter()
    for index in range(30):
        scene = compose(config, np.random.default_rng([2, index]), Quirks())
        numbers[len(scene.people)] += 1
        for number, drawn in enumerate(scene.people):
            alone = _painted([drawn], scene.labels.shape)
            shares.append(silhouette(scene.labels, number).sum() / max(1, silhouette(alone.labels, 0).sum()))
    assert set(numbers) == {1, 2, 3, 4}
    assert np.median(shares) > 0.9
    assert 0.1 < np.mean(np.array(shares) < 0.98) < 0.6


# Detections


def test_detections_are_those_of_a_fallible_detector(folder: Path) -> None:
    found = json.loads((folder / "annotations/person_detections_val.json").read_text())
    assert all(set(entry) == {"image_id", "category_id", "bbox", "score"} for entry in found)
    assert all(0 < entry["score"] <= 1 and min(entry["bbox"][2:]) > 0 for entry in found)
    assert not (folder / "annotations/person_detections_train.json").exists()
    content = load(folder, "val")
    assert {entry["image_id"] for entry in found} <= {entry["id"] for entry in content["images"]}
    people = [entry for entry in found if entry["category_id"] == 1]
    assert 0 < len(found) - len(people) < 0.3 * len(found)
    real = [entry for entry in content["annotations"] if not entry["iscrowd"] and entry["area"] > 300]
    best = []
    for entry in real:
        boxes = [other for other in people if other["image_id"] == entry["image_id"]]
        overlap = masks.iou([o["bbox"] for o in boxes], [entry["bbox"]], [0])[:, 0] if boxes else np.zeros(1)
        best.append(overlap.max())
    assert np.mean(np.array(best) > 0.6) > 0.8
    assert not np.any(np.array(best) == 1)
    matched = []
    for entry in people:
        boxes = [other["bbox"] for other in real if other["image_id"] == entry["image_id"]]
        matched.append(bool(boxes) and masks.iou([entry["bbox"]], boxes, [0] * len(boxes)).max() > 0.5)
    assert 0.05 < 1 - np.mean(matched) < 0.5
    scores = np.array([entry["score"] for entry in people])
    assert scores[matched].mean() > scores[~np.array(matched)].mean() + 0.2


def test_some_people_are_missed_and_some_found_twice() -> None:
    entry = {"bbox": [100.0, 50.0, 60.0, 120.0], "iscrowd": 0}
    crowd = {"bbox": [100.0, 50.0, 60.0, 120.0], "iscrowd": 1}
    counts, boxes = Counter(), []
    for seed in range(400):
        found = detect([entry, crowd], 7, (240, 320), np.random.default_rng(seed))
        near = [d for d in found if masks.iou([d["bbox"]], [entry["bbox"]], [0])[0, 0] > 0.6 and d["category_id"] == 1]
        assert {d["image_id"] for d in found} <= {7}
        counts[len(near)] += 1
        boxes += [d["bbox"] for d in near]
    assert 0.02 < counts[0] / 400 < 0.12
    assert 0.04 < counts[2] / 400 < 0.2
    centres = np.array(boxes)[:, :2] + np.array(boxes)[:, 2:] / 2
    np.testing.assert_allclose(centres.mean(0), [130, 110], atol=1.0)
    np.testing.assert_allclose(np.exp(np.log(np.array(boxes)[:, 2:]).mean(0)), [60, 120], rtol=0.03)


def test_every_option_reaches_the_synthesis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(package, "synthesize", lambda *arguments: calls.append(arguments))
    command = ["--settings", '{"people": 2}', "--seed", "57", "--workers", "3", "--output", str(tmp_path)]
    program.main(program.parser().parse_args(command))
    assert calls == [(SyntheticConfig(people=2), 57, tmp_path, 3)]
