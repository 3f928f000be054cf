"""Prediction over real records: an oracle that reads coloured dots must give back where they are in the image."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline_lib import devices, nets
from pipeline_lib.artifacts import read_json, write_json
from pipeline_lib.config import EvaluationConfig, KeypointSchema, SearchSpace
from pipeline_lib.data import images, records
from pipeline_lib.data.augment import MEAN_COLOUR
from pipeline_lib.data.coco import Image, Person
from pipeline_lib.data.shards import DONE, plan, write_shard
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.evaluate import predict as prediction
from pipeline_lib.evaluate.predict import on_crops, predict, to_image
from pipeline_lib.nets import files
from pipeline_lib.nets.normalization import normalize
from pipeline_lib.nets.registry import architecture
from pipeline_lib.nets.spec import initial_weights
from pipeline_lib.nets.weights import get_weights
from scripts import predict as program

ROOT = Path(__file__).parents[2]
SCHEMA = KeypointSchema(
    names=("nose", "left_hand", "right_hand", "foot"), flip_pairs=(("left_hand", "right_hand"),), sigmas=(0.1,) * 4
)
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.float64)
HEIGHT, WIDTH, STRIDE = 96, 64, 4
NOSE, LEFT, RIGHT, FOOT = range(4)

# Nose left of foot, so that the oracle can tell a mirrored crop. Boxes: wide, tall, and leaving the image.
POSES = [
    ((60.0, 50.0, 90.0, 40.0), [(70, 60), (90, 80), (110, 62), (140, 84)]),
    ((20.0, 20.0, 50.0, 170.0), [(30, 40), (40, 100), (55, 150), (64, 180)]),
    ((180.0, 110.0, 60.0, 90.0), [(185, 120), (193, 160), (210, 140), (225, 190)]),
]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of three people, each alone in an image with a coloured dot at every keypoint."""
    folder = tmp_path_factory.mktemp("records")
    people = []
    for number, (box, points) in enumerate(POSES):
        picture = np.full((220, 240, 3), MEAN_COLOUR, np.uint8)
        for point, colour in zip(points, COLOURS, strict=True):
            cv2.circle(picture, point, 4, colour.tolist(), -1)
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), picture[..., ::-1])
        keypoints = tuple(float(value) for x, y in points for value in (x, y, 2))
        people.append(Person(Image(10 + number, name, 220, 240), number, box, keypoints, score=1 - number / 4))
    digests = {one.image.image_id: images.digest((folder / one.image.file_name).read_bytes()) for one in people}
    (name,) = plan(people, 8, folder, Verdict(file="", sha256="", entries={}, digests=digests))
    write_shard(name, str(folder), str(folder), str(folder))
    content = {
        "schema_version": 1,
        "split": "val",
        "boxes": "ground_truth",
        "records": "images",
        "keypoints": SCHEMA.model_dump(mode="json"),
        "examples": len(people),
        "shards": [read_json(folder / f"{name}{DONE}")],
    }
    write_json(folder / "manifest.json", content)
    return folder / "manifest.json"


class Oracle:
    """Draws a Gaussian of peak 204 around each dot; in a mirror it takes the left hand for the right one."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.seen.append(np.array(crops))
        maps = np.zeros((len(crops), HEIGHT // STRIDE, WIDTH // STRIDE, 4))
        row, column = np.mgrid[: HEIGHT // STRIDE, : WIDTH // STRIDE] * STRIDE
        for person, crop in enumerate(crops):
            if (crop == MEAN_COLOUR).all():  # fills the batch up
                continue
            centres = []
            for colour in COLOURS:
                weight = np.clip(1 - np.abs(crop - colour).sum(-1) / 150, 0, 1)
                y, x = np.indices(weight.shape)
                centres.append(((weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()))
            if centres[NOSE][0] > centres[FOOT][0]:
                centres[LEFT], centres[RIGHT] = centres[RIGHT], centres[LEFT]
            for keypoint, (x, y) in enumerate(centres):
                maps[person, ..., keypoint] = 204 * np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 8.0**2))
        return maps


def run(manifest: Path, oracle: Any, **settings: Any) -> list[dict[str, Any]]:
    batches = records.dataset(manifest, height=HEIGHT, width=WIDTH, batch=2, metadata=True).as_numpy_iterator()
    return predict(oracle, batches, schema=SCHEMA, settings=EvaluationConfig(batch=2, **settings), examples=3)


@pytest.mark.parametrize("flip_test", ["aligned", "off"])
def test_predictions_are_where_the_dots_are(manifest: Path, flip_test: str) -> None:
    oracle = Oracle()
    results = run(manifest, oracle, flip_test=flip_test)
    assert [result["image_id"] for result in results] == [10, 11, 12]
    for result, (box, points) in zip(results, POSES, strict=True):
        # a quarter of a heat-map pixel, and some hundredths for the dot's rendering, in image pixels
        zoom = 1.25 * max(box[3], box[2] * HEIGHT / WIDTH) / HEIGHT
        found = np.reshape(result["keypoints"], (4, 3))
        assert np.abs(found[:, :2] - points).max() < (STRIDE / 4 + 0.2) * zoom
        score = 1 - (result["image_id"] - 10) / 4
        assert result["score"] == pytest.approx(0.8 * score, abs=0.03)
    assert len(oracle.seen) == (4 if flip_test == "aligned" else 2)


def test_crops_of_the_flip_test(manifest: Path) -> None:
    aligned, released = Oracle(), Oracle()
    exact = run(manifest, aligned, flip_test="aligned")
    moved = run(manifest, released, flip_test="released")
    plain, mirrored = aligned.seen[:2]
    np.testing.assert_array_equal(mirrored[:, :, : WIDTH - 3], plain[:, :, WIDTH - 4 :: -1])
    assert (mirrored[:, :, WIDTH - 3 :] == MEAN_COLOUR).all()
    np.testing.assert_array_equal(released.seen[1], plain[:, :, ::-1])
    # the mirrored half of the average is one input pixel to the right: lower peaks
    assert all(a["score"] > b["score"] for a, b in zip(exact, moved, strict=True))


def test_released_flip_test_moves_the_maps_by_one_pixel(manifest: Path) -> None:
    turns = iter([10, WIDTH // STRIDE - 1 - 9] * 2)  # the plain crops' peak, and one pixel left of it in the mirror

    def network(crops: np.ndarray) -> np.ndarray:
        maps = np.zeros((len(crops), HEIGHT // STRIDE, WIDTH // STRIDE, 4))
        maps[:, 5, next(turns)] = 102
        return maps

    results = run(manifest, network, flip_test="released")
    assert [result["score"] for result in results] == pytest.approx([0.4, 0.4 * 0.75, 0.4 * 0.5])


def test_the_threshold_is_the_configured_one(manifest: Path) -> None:
    assert {result["score"] for result in run(manifest, Oracle(), score_threshold=0.9)} == {0.0}


def test_points_are_mapped_by_each_crops_own_matrix() -> None:
    matrices = np.array([[[2, 0, 5], [0, 3, 7]], [[0, -1, 1], [1, 0, 2]]], np.float32)
    points = np.array([[[1, 1], [2, 4]], [[3, 5], [0, 0]]])
    np.testing.assert_allclose(to_image(points, matrices), [[[7, 10], [9, 19]], [[-4, 5], [1, 2]]])


def test_normalisation() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    normalised = np.asarray(normalize(images))
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, expected, atol=1e-6)
    assert np.abs(np.asarray(normalize(np.array(MEAN_COLOUR, np.uint8)))).max() < 0.01


def test_program(manifest: Path, tmp_path: Path) -> None:
    space = SearchSpace(stem=8, head=8, expansion=1)
    genotype = [[1, 3, 1, 1], *[[1, 3, 1, 2]] * 3, *[[1, 3, 1, 1]] * 3]
    design = architecture(genotype, HEIGHT, WIDTH, 4, space=space)
    model = nets.build_architecture(design, seed=5)

    files.save(tmp_path / "weights.safetensors", design, get_weights(model))
    command = [sys.executable, "scripts/predict.py", "--weights", tmp_path / "weights.safetensors"]
    command += ["--manifest", manifest, "--results", tmp_path / "results.json", "--device", "cpu"]
    command += ["--settings", json.dumps({"batch": 2, "score_threshold": -10}), "--flip", "off"]
    ran = subprocess.run(
        list(map(str, command)), cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    found = read_json(tmp_path / "results.json")
    expected = run(manifest, on_crops(model), flip_test="off", score_threshold=-10)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["keypoints"], other["keypoints"], rtol=1e-4, atol=1e-4)
        assert one["score"] == pytest.approx(other["score"], rel=1e-3)


def test_every_option_reaches_the_prediction(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Any] = {}
    strategy, dataset = devices.strategy, records.dataset

    def on(device: str) -> Any:
        calls["device"] = device
        return strategy("cpu")

    def batches(*arguments: Any, **options: Any) -> Any:
        calls["dataset"] = options
        return dataset(*arguments, **options)

    def predicted(network: Any, found: Any, **options: Any) -> list[dict[str, Any]]:
        calls["predict"] = options
        calls["crop"] = next(found)["image"].shape
        return []

    monkeypatch.setattr(devices, "configure", lambda threads, deterministic: calls.update(threads=threads))
    monkeypatch.setattr(devices, "check", lambda device: calls.setdefault("checked", device))
    monkeypatch.setattr(devices, "lease", lambda device, number, title: calls.update(leased=(device, number)))
    monkeypatch.setattr(devices, "strategy", on)
    monkeypatch.setattr(records, "dataset", batches)
    monkeypatch.setattr(prediction, "predict", predicted)
    design = architecture(
        [[1, 3, 1, 1], *[[1, 3, 1, 2]] * 3, *[[1, 3, 1, 1]] * 3], HEIGHT, WIDTH, 4,
        space=SearchSpace(stem=8, head=8, expansion=1),
    )  # fmt: skip
    files.save(tmp_path / "weights.safetensors", design, initial_weights(design, 5))
    other = SCHEMA.model_copy(update={"flip_pairs": ()})
    settings = EvaluationConfig(batch=2, score_threshold=0.5, cpu_threads=3)
    command = ["--weights", tmp_path / "weights.safetensors", "--manifest", manifest, "--device", "gpu"]
    command += ["--results", tmp_path / "results.json", "--settings", settings.model_dump_json()]

    def run_program(*more: Any) -> None:
        program.main(program.parser().parse_args(list(map(str, (*command, *more)))))

    options = ["--flip", "released", "--keypoints", other.model_dump_json(), "--height", 128, "--width", 96]
    run_program(*options, "--accelerators", 2)
    assert calls["checked"] == "gpu"
    assert calls["leased"] == ("gpu", 2)
    assert (calls["device"], calls["threads"], calls["crop"]) == ("gpu", 3, (2, 128, 96, 3))
    assert (calls["dataset"]["batch"], calls["dataset"]["threads"]) == (2, 3)
    changed = settings.model_copy(update={"flip_test": "released"})
    assert calls["predict"] == {"schema": other, "settings": changed, "examples": len(POSES)}
    run_program()
    assert calls["crop"] == (2, HEIGHT, WIDTH, 3)
    assert calls["predict"] == {"schema": SCHEMA, "settings": settings, "examples": len(POSES)}


def test_compiled_network_takes_uint8_crops() -> None:
    model = nets.build([[1, 3, 1, 1]] * 7, 8, 8, 2, space=SearchSpace(stem=8, head=8, expansion=1))
    crops = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    maps = on_crops(model)(crops)
    assert isinstance(maps, np.ndarray)
    normalised = ((crops / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)
    np.testing.assert_allclose(maps, model(normalised, training=False), rtol=1e-3, atol=1e-4)
