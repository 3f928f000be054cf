"""Refinement: the network, what it sees, its loss, its data, and what it does to a result list; restated in NumPy."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib import config, plan
from pipeline_lib.artifacts import read_csv, read_json, write_json
from pipeline_lib.config import COCO_KEYPOINTS, Augmentation, EvaluationConfig, RefineConfig, RefinerTraining
from pipeline_lib.data import augment, pose_errors, records, refinement
from pipeline_lib.errors import ArtifactError, ConfigError, DataError, EvoPoseError
from pipeline_lib.evaluate import refine as refining
from pipeline_lib.nets import build, build_architecture, files, pretrained, registry
from pipeline_lib.nets.layers import count_network, initial_weights
from pipeline_lib.nets.maps import pose_maps, refiner_input, soft_argmax
from pipeline_lib.train import refiner, trainer
from pipeline_lib.train.schedule import stepped
from tests.unit.test_plan import ROOT, raw

SIZE = (64, 48)


# The network


@pytest.mark.parametrize("keypoints", [17, 5])
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_a_refiner_is_a_simple_baseline_that_sees_a_map_of_each_keypoint(depth: int, keypoints: int) -> None:
    own = count_network(registry.refiner(f"posefix_r{depth}", 384, 288, keypoints))
    plain = count_network(registry.architecture(f"simple_baseline_r{depth}", 384, 288, keypoints))
    added = 7 * 7 * keypoints * 64
    assert own["parameters"] - plain["parameters"] == own["trainable"] - plain["trainable"] == added
    assert own["multiply_adds"] - plain["multiply_adds"] == added * 192 * 144


def test_the_keras_network_has_what_is_described() -> None:
    network = registry.refiner("posefix_r50", 64, 96, 17)
    model = build_architecture(network, weights=initial_weights(network, 0))
    assert model.input_shape == (None, 64, 96, 20) and model.output_shape == (None, 16, 24, 17)
    assert model.count_params() == count_network(network)["parameters"]


def test_a_refiner_is_no_pose_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"posefix_r50 is no pose network.*refine.network"):
        build("posefix_r50", 64, 64, 17)
    model = {"network": "posefix_r152", "height": 384, "width": 288}
    with pytest.raises(ConfigError, match=r"^final.models.a: posefix_r152 is no pose network"):
        plan.load(raw(final={"models": {"a": model}}), ROOT)
    with pytest.raises(ConfigError, match=r"^refine: hrnet_w32 refines no poses; one of posefix_r50, posefix_r101,"):
        plan.load(raw(refine={"enabled": True, "network": "hrnet_w32"}), ROOT)
    with pytest.raises(ConfigError, match=r"^refine: input 380x288 is not divisible"):
        plan.load(raw(refine={"enabled": True, "height": 380}), ROOT)
    assert not set(registry.REFINERS) & set(registry.NAMES)
    for network, problem in (
        (registry.refiner("posefix_r50", 64, 64, 17), "weights of a refiner, which takes poses"),
        (registry.architecture("evopose2d_xs", 64, 64, 17), "weights of a refiner are expected"),
    ):
        path = tmp_path / "weights.safetensors"
        files.save(path, network, initial_weights(network, 0))
        wrong, right = (files.load, files.load_refiner) if "poses" in problem else (files.load_refiner, files.load)
        with pytest.raises(ArtifactError, match=problem):
            wrong(path)
        assert right(path)[0] == network


def test_a_refiner_inherits_from_its_own_kind(tmp_path: Path) -> None:
    network = registry.refiner("posefix_r50", 64, 64, 17)
    weights = initial_weights(network, 5)
    files.save(tmp_path / "own.safetensors", network, weights)
    inherited, report = pretrained.inherit_file(str(tmp_path / "own.safetensors"), network, 6)
    assert report["fraction"] == 1
    np.testing.assert_array_equal(inherited["conv1_conv/kernel"], weights["conv1_conv/kernel"])
    pretrained.check_form("resnet50.h5", network)


# What it sees, and what comes out


def test_the_pose_beside_the_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    poses = np.array([[[10.25, 20.5, 1], [-3, 63, 0.3], [5, 5, 0], [47.9, 0, 2]]], np.float32)
    seen = np.asarray(refiner_input(images, poses, 3.5))
    assert seen.shape == (1, *SIZE, 7) and seen.dtype == np.float32
    deviation = np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        seen[0, ..., :3], (images[0] / 255 - [0.485, 0.456, 0.406]) / deviation, rtol=1e-4, atol=1e-5
    )
    y, x = np.mgrid[:64, :48]
    for index, (left, top, v) in enumerate(poses[0]):
        gaussian = 255 * np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * 3.5**2)) * (v > 0)
        # A map is scaled as pixels are: by 255 and the mean of the three deviations.
        np.testing.assert_allclose(seen[0, ..., 3 + index], gaussian / 255 / deviation.mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(pose_maps(poses, SIZE, 3.5)), seen[..., 3:])


def restated(truth: np.ndarray, maps: np.ndarray, size: tuple[int, int]) -> list[float]:
    """The loss of each person, keypoint by keypoint."""
    people = []
    for person, heat in zip(truth, maps.astype(float), strict=True):
        total = 0.0
        height, width, keypoints = heat.shape
        for index in range(keypoints):
            x, y, v = person[index] * [width / size[1], height / size[0], 1]
            if v == 0:
                continue
            share = np.exp(heat[..., index]) / np.exp(heat[..., index]).sum()
            left, top = min(int(x), width - 1), min(int(y), height - 1)
            right, below = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = min(x, width - 1) - left, min(y, height - 1) - top
            entropy = -sum(
                part * math.log(share[row, column])
                for part, row, column in (
                    ((1 - a) * (1 - b), top, left),
                    (a * (1 - b), top, right),
                    ((1 - a) * b, below, left),
                    (a * b, below, right),
                )
            )
            found = (share.sum(axis=0) @ np.arange(width), share.sum(axis=1) @ np.arange(height))
            total += entropy + (abs(found[0] - x) + abs(found[1] - y)) / 2
        people.append(total / keypoints)
    return people


def test_the_loss_is_that_of_the_facts() -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(0, 2, (4, 16, 12, 5)).astype(np.float32)
    truth = np.concatenate([rng.uniform(0, [48, 64], (4, 5, 2)), rng.integers(0, 3, (4, 5, 1))], axis=-1)
    truth[0, 0] = 8, 12, 1  # on a pixel
    truth[0, 1] = 47.5, 63.9, 2  # beyond the last pixel's centre
    truth[3, :, 2] = 0
    losses = np.asarray(refiner.refiner_loss(truth, maps, SIZE))
    np.testing.assert_allclose(losses, restated(truth, maps, SIZE), rtol=1e-4)
    assert losses[3] == 0
    compiled = tf.function(lambda y, p: refiner.refiner_loss(y, p, SIZE), jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(truth), tf.constant(maps)), losses, rtol=1e-4)


def test_soft_argmax_is_in_input_pixels() -> None:
    maps = np.full((1, 16, 12, 2), -100, np.float32)
    maps[0, 3, 7, 0] = 100
    maps[0, 3, 7, 1] = maps[0, 4, 9, 1] = 100
    np.testing.assert_allclose(np.asarray(soft_argmax(maps, SIZE))[0], [[28, 12], [32, 14]], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(soft_argmax(maps, (32, 48)))[0, 0], [28, 6], rtol=1e-5)


def test_the_rate_falls_after_the_milestones() -> None:
    rate = stepped(5e-4, 128, 7, (2, 3), scale_rate=False)
    assert [float(rate(step)) for step in (0, 13, 14, 20, 21, 1000)] == pytest.approx(
        [5e-4, 5e-4, 5e-5, 5e-5, 5e-6, 5e-6]
    )
    assert float(stepped(5e-4, 128, 7, (2,))(0)) == pytest.approx(2e-3)
    assert float(stepped(5e-4, 128, 7, ())(99)) == pytest.approx(2e-3)


# The configuration


def test_the_published_values_are_the_defaults() -> None:
    settings = RefineConfig()
    train = settings.train
    assert (settings.enabled, settings.network, settings.height, settings.width) == (False, "posefix_r152", 384, 288)
    assert (train.epochs, train.milestones, train.base_rate, train.scale_rate) == (140, (90, 120), 5e-4, False)
    assert (train.keep, train.batch) == ("last", 128) and train.augmentation == Augmentation()
    heights = {128: 3.5, 256: 7, 320: 8, 384: 9, 512: 11}
    assert {height: RefineConfig(height=height).pose_sigma for height in heights} == heights
    assert RefineConfig(sigma=2.5).pose_sigma == 2.5


def test_a_refiner_takes_how_is_computed_from_train_and_nothing_else() -> None:
    train = {"batch": 6, "epochs": 3, "base_rate": 1.0, "precision": "bfloat16", "devices": 2, "cpu_threads": 3}
    loaded = config.load(raw(train=train, refine={"enabled": True, "train": {"cpu_threads": 4}}), ROOT)
    own = loaded.refine.train
    assert (own.batch, own.epochs, own.base_rate) == (128, 140, 5e-4)
    assert (own.precision, own.devices, own.cpu_threads) == ("bfloat16", 2, 4)
    # One that is not trained need not suit the devices.
    assert config.load(raw(train={"batch": 10, "devices": 5}), ROOT).refine == RefineConfig()
    for wrong, message in (
        ({"train": {"heatmap_sigma": 2.0}}, "refine.train: heatmap_sigma: the training of a refiner has none"),
        ({"train": {"warmup_epochs": 1}}, "refine.train: warmup_epochs: the training of a refiner has none"),
        ({"train": {"milestones": [3, 3]}}, r"refine.train: milestones \[3, 3\] must ascend"),
        ({"estimates": "nobody"}, "refine.estimates: nobody is none of final.models: evopose_m"),
    ):
        with pytest.raises(ConfigError, match=message):
            config.load(raw(refine={"enabled": True, **wrong}), ROOT)


def test_the_settings_of_a_rule_are_read_as_they_were_written() -> None:
    settings = RefineConfig(enabled=True, network="posefix_r50", train=RefinerTraining(epochs=2, devices=2))
    text = plan.settings(settings, "enabled", "estimates")
    assert json.loads(text) == {"network": "posefix_r50", "train": {"epochs": 2, "devices": 2}}
    assert RefineConfig.model_validate(json.loads(text)).train == settings.train


def test_what_the_workflow_asks() -> None:
    plain, loaded = (
        config.load(raw(refine={"enabled": enabled, "train": {"devices": 4}}), ROOT) for enabled in (False, True)
    )
    assert plan.with_refined(plain, ["a", "b"]) == ["a", "b"]
    assert plan.with_refined(loaded, ["a", "b"]) == ["a", "b", "a_refined", "b_refined"]
    assert plan.predicted_split("detections_refined") == plan.predicted_split("detections") == "val_detections"
    assert plan.predicted_split("train") == "train"
    assert plan.estimates(loaded) == "evopose_m"
    assert sum("_refined/" in path for path in plan.submissions(loaded)) == 2
    assert not any("_refined/" in path for path in plan.submissions(plain))
    with pytest.raises(EvoPoseError, match=r"refine.train.devices: 4 devices"):
        plan.check_device(loaded, "cpu")
    plan.check_device(plain, "cpu")


# Its data

PEOPLE = [  # box, keypoints far from 0; the first two overlap by a third, the third with nobody
    (1, 5, [10, 10, 40, 80]),
    (2, 5, [30, 10, 40, 80]),
    (3, 5, [110, 10, 30, 80]),
    (4, 6, [10, 10, 40, 80]),
]


def annotate(folder: Path) -> Path:
    """Four people with an area of half their box; the nose of person 1 and the ankle of 4 are not labelled."""
    rng = np.random.default_rng(3)
    annotations = []
    for identity, image_id, box in PEOPLE:
        x, y, w, h = box
        points = np.column_stack([rng.uniform(x, x + w, 17), rng.uniform(y, y + h, 17), np.full(17, 2)])
        if identity in (1, 4):
            points[0 if identity == 1 else 16] = 0
        annotations.append(
            {"id": identity, "image_id": image_id, "category_id": 1, "bbox": box, "area": w * h / 2, "iscrowd": 0}
            | {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}
        )
    unlabelled = {"id": 9, "image_id": 6, "category_id": 1, "bbox": [60, 10, 20, 20], "area": 9, "iscrowd": 0}
    annotations.append(unlabelled | {"keypoints": [0] * 51, "num_keypoints": 0})
    images = [{"id": image_id, "file_name": f"{image_id}.png", "height": 100, "width": 160} for image_id in (5, 6)]
    path = folder / "annotations.json"
    write_json(path, {"images": images, "annotations": annotations, "categories": []})
    pictures = np.random.default_rng(4)
    for image_id in (5, 6):
        cv2.imwrite(str(folder / f"{image_id}.png"), pictures.integers(0, 256, (100, 160, 3), np.uint8))
    return path


def estimate(image_id: int, box: list[float], shift: float) -> dict[str, Any]:
    """A result whose extent is `box`."""
    x, y, w, h = box
    points = np.column_stack([np.linspace(x, x + w, 17), np.linspace(y, y + h, 17), np.full(17, shift)])
    return {"image_id": image_id, "category_id": 1, "keypoints": points.ravel().tolist(), "score": shift}


def test_people_their_neighbours_and_what_stands_for_missing_labels(tmp_path: Path) -> None:
    path = annotate(tmp_path)
    truth = {one["id"]: np.reshape(one["keypoints"], (17, 3)) for one in read_json(path)["annotations"]}
    estimates = [estimate(5, [31, 10, 39, 80], 0.5), estimate(5, [12, 11, 36, 78], 0.5), estimate(7, [0, 0, 9, 9], 0.5)]
    people = refinement.read_people(path, COCO_KEYPOINTS, estimates)
    assert people.rows == {1: 0, 2: 1, 3: 2, 4: 3}
    np.testing.assert_array_equal(people.areas, [1600, 1600, 1200, 1600])
    assert [rows.tolist() for rows in people.neighbours] == [[1], [0], [], []]
    for identity, row in people.rows.items():
        np.testing.assert_array_equal(people.labelled[row], truth[identity])
    # Person 1 has the nose of the second estimate; person 4 is in an image without any.
    np.testing.assert_array_equal(people.known[0, 0], [12, 11, 1])
    np.testing.assert_array_equal(people.known[0, 1:], truth[1][1:])
    np.testing.assert_array_equal(people.known[1:], people.labelled[1:])
    # An estimate elsewhere in the image is nobody's.
    far = refinement.read_people(path, COCO_KEYPOINTS, [estimate(6, [100, 10, 20, 20], 0.5)])
    np.testing.assert_array_equal(far.known, far.labelled)
    with pytest.raises(ArtifactError, match="estimates of image 5 have 2 keypoints"):
        refinement.read_people(path, COCO_KEYPOINTS, [{"image_id": 5, "keypoints": [1] * 6}])


def test_boxes_of_a_tenth_in_common_are_neighbours() -> None:
    first, second = (
        np.array([[0, 0, 10, 10.0]]),
        np.array([[9, 0, 10, 10.0], [5, 0, 10, 10], [20, 0, 5, 5], [3, 3, 0, 0]]),
    )
    np.testing.assert_allclose(refinement.iou(first, second), [[10 / 190, 50 / 150, 0, 0]])
    assert pose_errors.NEIGHBOUR_IOU == 0.1
    np.testing.assert_array_equal(refinement.iou(second[3:], second[3:]), [[0]])


@pytest.mark.parametrize("flip", [False, True])
def test_errors_are_made_in_pixels_of_the_crop(tmp_path: Path, flip: bool) -> None:
    """The same draws as `synthesise` on keypoints, neighbours and area that were brought there by hand."""
    people = refinement.read_people(annotate(tmp_path), COCO_KEYPOINTS, [estimate(5, PEOPLE[0][2], 0.5)])
    affine = augment.crop_affine(PEOPLE[0][2], 64, 48, 1.2, 30, flip)
    inverse = augment.inverse(affine)
    found = refinement.synthesised(people, COCO_KEYPOINTS, 1, inverse, 7, 3)

    def moved(points: np.ndarray) -> np.ndarray:
        x = affine[0, 0] * points[:, 0] + affine[0, 1] * points[:, 1] + affine[0, 2]
        y = affine[1, 0] * points[:, 0] + affine[1, 1] * points[:, 1] + affine[1, 2]
        placed = np.column_stack([x, y, points[:, 2]])
        return placed[list(COCO_KEYPOINTS.flip_permutation())] if flip else placed

    zoom = 64 / (1.25 * 1.2 * 80)
    rng = augment.generator(7, 2, 3, 1)
    expected = pose_errors.synthesise(
        moved(people.known[0]), [moved(people.labelled[1])], 1600 * zoom**2, COCO_KEYPOINTS, rng, labelled=16
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert refinement.synthesised(people, COCO_KEYPOINTS, 9, inverse, 7, 3) is None
    others = [refinement.synthesised(people, COCO_KEYPOINTS, 1, inverse, *at) for at in ((7, 4), (8, 3))]
    assert all((other != found).any() for other in others)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(manifest, annotations) of the four people and the one without labels."""
    folder = tmp_path_factory.mktemp("stored")
    path = annotate(folder)
    command = [sys.executable, "scripts/convert.py", "--annotations", str(path), "--images", str(folder)]
    command += ["--purpose", "ground_truth", "--keypoints", COCO_KEYPOINTS.model_dump_json()]
    command += ["--output", str(folder / "records" / "manifest.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / "records" / "manifest.json", path


def test_the_data_are_the_records_with_poses(stored: tuple[Path, Path]) -> None:
    people = refinement.read_people(stored[1], COCO_KEYPOINTS)
    shared: dict[str, Any] = {"height": 64, "width": 48, "batch": 2, "seed": 5, "augmentation": Augmentation()}
    shared |= {"shuffle": True, "epochs": 3}
    plain = list(records.dataset(stored[0], metadata=True, **shared).as_numpy_iterator())
    data = list(refinement.dataset(stored[0], people=people, threads=2, **shared).as_numpy_iterator())
    assert len(data) == len(plain) == 9
    for number, (((image, poses), keypoints, weight), batch) in enumerate(zip(data, plain, strict=True)):
        for own, other in ((image, "image"), (keypoints, "keypoints"), (weight, "weight")):
            np.testing.assert_array_equal(own, batch[other])
        for pose, identity, inverse in zip(poses, batch["annotation_id"], batch["inverse"], strict=True):
            made = refinement.synthesised(people, COCO_KEYPOINTS, int(identity), inverse, 5, number // 3)
            np.testing.assert_array_equal(pose, np.zeros((17, 3)) if made is None else made)
    later = list(refinement.dataset(stored[0], people=people, initial_epoch=1, **shared).as_numpy_iterator())
    for own, other in zip(later, data[3:], strict=True):
        np.testing.assert_array_equal(own[0][1], other[0][1])


def test_people_who_are_not_annotated_are_an_error(stored: tuple[Path, Path], tmp_path: Path) -> None:
    content = read_json(stored[1])
    content["annotations"] = content["annotations"][1:]
    write_json(tmp_path / "other.json", content)
    people = refinement.read_people(tmp_path / "other.json", COCO_KEYPOINTS)
    data = refinement.dataset(stored[0], people=people, height=64, width=48, batch=2)
    with pytest.raises(ArtifactError, match="its person 1 is not in the annotations"), records.readable_errors():
        list(data)


# Training


def small(size: tuple[int, int] = (32, 32), channels: int = 20) -> keras.Model:
    """Looks at the pose alone: a step can only learn to shift and smooth it."""
    image = keras.Input((*size, channels))
    maps = keras.layers.Conv2D(17, 3, 4, padding="same", name="c")(image)
    return keras.Model(image, maps)


def test_a_refiner_of_other_keypoints_is_refused(tmp_path: Path) -> None:
    """It sees keypoints in its first layer, too."""
    network = registry.refiner("posefix_r50", 64, 64, 2)
    path = tmp_path / "weights.safetensors"
    files.save(path, network, initial_weights(network, 1), ("nose", "tail"))
    weights, report = pretrained.inherit_refiner(str(path), network, 2, ("nose", "tail"))
    assert report["fraction"] == 1
    np.testing.assert_array_equal(weights["final_conv/bias"], initial_weights(network, 1)["final_conv/bias"])
    with pytest.raises(
        ArtifactError, match=r"weights.safetensors: a refiner of other keypoints \(nose, tail\); use one of"
    ):
        pretrained.inherit_refiner(str(path), network, 2, ("tail", "nose"))


def test_the_trainer_trains_a_refiner(stored: tuple[Path, Path], tmp_path: Path) -> None:
    """First losses restated, the rate in steps, and accumulation as one batch."""
    manifest = records.read_manifest(stored[0])
    people = refinement.read_people(stored[1], COCO_KEYPOINTS)
    kept = []
    for accumulation in (1, 2):
        train = RefinerTraining(
            epochs=3, batch=4, milestones=(1, 2), base_rate=0.01, keep="last", accumulation=accumulation,
            evaluate_initial=True, augmentation=Augmentation(flip=0),
        )  # fmt: skip
        settings = RefineConfig(height=32, width=32, sigma=1.5, train=train)

        def data(*arguments: Any, **options: Any) -> Any:
            return refinement.dataset(*arguments, people=people, **options)

        keras.utils.set_random_seed(0)
        network = small()
        before = network.get_weights()
        history = tmp_path / f"{accumulation}.csv"
        strategy = tf.distribute.get_strategy()
        task = refiner.task(settings, data, data)
        kept.append(trainer.fit(network, manifest, manifest, train, 1, history, strategy, task=task))
        rows = read_csv(history)
        assert [float(row["learning_rate"]) for row in rows[1:]] == pytest.approx([0.01, 0.001, 0.0001])
        network.set_weights(before)
        ((image, pose), keypoints, weight) = next(iter(data(manifest, height=32, width=32, batch=5, seed=1)))
        losses = restated(np.array(keypoints), np.array(network(refiner_input(image, pose, 1.5))), (32, 32))
        assert float(rows[0]["val_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
        assert weight.numpy().sum() == 5
    for name, values in kept[0].items():
        np.testing.assert_allclose(kept[1][name], values, rtol=1e-3, atol=1e-5)


# Refinement of a result list


def test_the_box_of_a_pose() -> None:
    pose = np.array([[10, 20, 0.9], [30, 60, 0.2], [500, 500, 0.0]])
    np.testing.assert_allclose(refining.pose_box(pose), [8, 16, 24, 48])
    np.testing.assert_allclose(refining.pose_box(pose[:1]), [0, 10, 20, 20])
    np.testing.assert_allclose(refining.pose_box(np.array([[5, 20, 1], [5, 30, 1]])), [-5, 19, 20, 12])
    np.testing.assert_allclose(refining.pose_box(np.array([[10, 20, 0], [30, 60, 0.0]])), [8, 16, 24, 48])


class Mover:
    """A refiner that adds to every pose; `own` in the crop as it is, `mirrored` in crops that look mirrored."""

    def __init__(self, own: tuple[float, float], mirrored: tuple[float, float]) -> None:
        self.own, self.mirrored = own, mirrored
        self.images: list[np.ndarray] = []
        self.poses: list[np.ndarray] = []

    def __call__(self, image: np.ndarray, pose: np.ndarray) -> np.ndarray:
        self.images.append(image)
        self.poses.append(pose)
        return pose[..., :2] + (self.mirrored if len(self.poses) % 2 == 0 else self.own)


def results() -> list[dict[str, Any]]:
    """Two people of image 6 around one of image 5; a keypoint of the last is missing."""
    found = [estimate(6, [10, 10, 40, 80], 0.5), estimate(5, [30, 10, 40, 80], 0.7), estimate(6, [60, 20, 20, 20], 0.9)]
    found[2]["keypoints"][3:6] = [0, 0, 0]
    return found


def refined(refiner: Any, folder: Path, batch: int = 2, flip: str = "aligned") -> list[np.ndarray]:
    settings = EvaluationConfig(batch=batch, flip_test=flip, cpu_threads=2)
    images = {image_id: folder / f"{image_id}.png" for image_id in (5, 6)}
    given = results()
    found = refining.refine(refiner, given, images, size=SIZE, schema=COCO_KEYPOINTS, settings=settings)
    assert given == results(), "the list that is given stays"
    for own, other in zip(found, given, strict=True):
        assert {key: own[key] for key in own if key != "keypoints"} == {
            k: v for k, v in other.items() if k != "keypoints"
        }
        assert own["keypoints"][2::3] == other["keypoints"][2::3], "scores stay"
    return [np.reshape(one["keypoints"], (17, 3)) for one in found]


def test_coordinates_are_refined_in_the_crop_and_averaged_with_the_mirrored_one(stored: tuple[Path, Path]) -> None:
    mover = Mover((2, 1), (-4, 3))
    found = refined(mover, stored[1].parent)
    for given, own in zip(results(), found, strict=True):
        pose = np.reshape(given["keypoints"], (17, 3))
        valid = pose[:, 2] > 0
        extent = np.ptp(pose[valid, :2], axis=0)
        pixel = 1.25 * max(1.2 * extent[1], 1.2 * extent[0] * 64 / 48) / 64
        # Mirrored back, -4 is +4: (2 + 4) / 2 and (1 + 3) / 2 pixels of the crop.
        np.testing.assert_allclose(
            own[valid, :2] - pose[valid, :2], np.full((valid.sum(), 2), [3, 2]) * pixel, atol=1e-3
        )
    # People come image by image; the last batch is filled up.
    assert [len(image) for image in mover.images] == [2] * 4
    for own, mirrored in ((0, 1), (2, 3)):
        np.testing.assert_array_equal(mover.images[mirrored], mover.images[own][:, :, ::-1])
        back = mover.poses[mirrored][:, list(COCO_KEYPOINTS.flip_permutation())]
        valid = mover.poses[own][..., 2] > 0
        np.testing.assert_array_equal(back[..., 2] > 0, valid)
        np.testing.assert_allclose(back[valid][:, 0], 47 - mover.poses[own][valid][:, 0])
        np.testing.assert_allclose(back[valid][:, 1], mover.poses[own][valid][:, 1])
    # Image 6 comes first, with its second person, whose missing keypoint is not drawn.
    np.testing.assert_array_equal(mover.poses[0][1, 1], [0, 0, 0])
    assert (mover.poses[0][1, [0, 2], 2] == 1).all()


def test_crops_are_those_of_the_box(stored: tuple[Path, Path]) -> None:
    mover = Mover((0, 0), (0, 0))
    found = refined(mover, stored[1].parent, batch=3, flip="off")
    assert len(mover.images) == 1
    image = cv2.imread(str(stored[1].parent / "6.png"))[..., ::-1]
    pose = np.reshape(results()[0]["keypoints"], (17, 3))
    affine = augment.crop_affine([6, 2, 48, 96], *SIZE)
    expected = cv2.warpAffine(
        image, affine, (48, 64), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(124, 116, 104)
    )
    np.testing.assert_array_equal(mover.images[0][0], expected)
    np.testing.assert_allclose(mover.poses[0][0, :, :2], augment.apply(affine, pose[:, :2]), atol=1e-3)
    np.testing.assert_allclose(found[0][:, :2], pose[:, :2], atol=1e-3)


def test_what_cannot_be_refined_is_named(stored: tuple[Path, Path], tmp_path: Path) -> None:
    folder = stored[1].parent
    images = {5: folder / "5.png", 6: folder / "6.png"}
    shared: dict[str, Any] = {"size": SIZE, "schema": COCO_KEYPOINTS, "settings": EvaluationConfig(batch=2)}
    mover = Mover((0, 0), (0, 0))
    with pytest.raises(ArtifactError, match="result 1: image 5 is not among the 1 annotated images"):
        refining.refine(mover, results(), {6: images[6]}, **shared)
    with pytest.raises(ArtifactError, match="result 0: 6 keypoint numbers, 3 for each of 17"):
        refining.refine(mover, [{"image_id": 5, "keypoints": [1] * 6, "score": 1}], images, **shared)
    with pytest.raises(DataError, match=r"none.png: not readable"):
        refining.refine(mover, results(), {**images, 6: tmp_path / "none.png"}, **shared)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text.png: not readable as an image"):
        refining.refine(mover, results(), {**images, 6: tmp_path / "text.png"}, **shared)
    assert refining.refine(mover, [], images, **shared) == []


def test_a_network_on_crops_sees_the_pose_and_gives_input_pixels() -> None:
    network = small()
    found = refining.on_crops(network, 1.5)
    rng = np.random.default_rng(8)
    image = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    pose = np.concatenate([rng.uniform(0, 32, (2, 17, 2)), np.ones((2, 17, 1))], axis=-1).astype(np.float32)
    maps = network(refiner_input(image, pose, 1.5))
    np.testing.assert_allclose(found(image, pose), soft_argmax(maps, (32, 32)), rtol=1e-4)
