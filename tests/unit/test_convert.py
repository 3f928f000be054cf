"""Conversion to TFRecord shards: content as TensorFlow reads it, same bytes in every mode, nothing left over, no network."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, ConversionSettings, KeypointSchema, Reach, ValidationConfig
from pipeline_lib.data import convert as conversion
from pipeline_lib.data import images, shards
from pipeline_lib.data.convert import convert
from pipeline_lib.data.tfrecord import decode_example, encode_example
from pipeline_lib.data.validation import validate
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import ArtifactError, ConfigError, DataError

ROOT = Path(__file__).parents[2]
POINTS = KeypointSchema(names=("a", "b"), sigmas=(0.1, 0.1))
PEOPLE = 7


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 images with 7 valid people, one crowd and one broken box; a PNG among the JPEGs."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    names = ["a.jpg", "sub/b.png", "c.jpg"]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (30, 40, 3), np.uint8))
    people = [
        {
            "id": 10 + n,
            "image_id": 7 + n % 3,
            "bbox": [1.25 * n, 2, 11.1, 12.7],
            "area": 100.5,
            "iscrowd": int(n == 4),
            "num_keypoints": int(n != 4),
            "keypoints": [0.1 + n, 5, 2, 0, 0, 0] if n != 4 else [0] * 6,
        }
        for n in range(PEOPLE + 1)
    ]
    people.append({**people[0], "id": 99, "area": 0.0})
    images = [{"id": 7 + n, "file_name": name, "height": 30, "width": 40} for n, name in enumerate(names)]
    (folder / "annotations.json").write_text(json.dumps({"images": images, "annotations": people}))
    found = [{"image_id": 9, "category_id": c, "bbox": [-3.5, 1, 20, 30], "score": 0.625} for c in (1, 3)]
    (folder / "detections.json").write_text(json.dumps(found))
    return folder


def run(
    source: Path,
    output: Path,
    purpose: conversion.Purpose = "training",
    verdict: Verdict | None = None,
    **settings: Any,
) -> dict[str, Any]:
    return convert(
        output / "manifest.json",
        annotations=source / "annotations.json",
        detected=source / "detections.json",
        images=source,
        split="train",
        purpose=purpose,
        schema=POINTS,
        settings=ConversionSettings(**{"shard_size": 3, **settings}),
        verdict=verdict,
    )


def read(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a conversion, in order, as TensorFlow reads them (it checks the CRCs)."""
    import tensorflow as tf

    records = []
    for data in tf.data.TFRecordDataset([str(folder / shard["file"]) for shard in manifest["shards"]]):
        example = tf.train.Example.FromString(data.numpy())
        record = {}
        for name, feature in example.features.feature.items():
            kind = feature.WhichOneof("kind")
            record[name] = list(getattr(feature, kind).value)
        records.append(record)
    return records


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_records_hold_the_annotated_people(source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path)
    records = read(tmp_path, manifest)
    assert [record["annotation_id"] for record in records] == [[i] for i in (10, 13, 16, 11, 17, 12, 15)]
    for record in records:
        n = record["annotation_id"][0] - 10
        assert record["image_id"] == [7 + n % 3]
        assert record["image"] == [(source / ["a.jpg", "sub/b.png", "c.jpg"][n % 3]).read_bytes()]
        assert (record["height"], record["width"], record["score"]) == ([30], [40], [1.0])
        np.testing.assert_array_equal(record["box"], np.float32([1.25 * n, 2, 11.1 - 1, 12.7 - 1]))
        np.testing.assert_array_equal(record["keypoints"], np.float32([0.1 + n, 5, 2, 0, 0, 0]))


def test_records_hold_the_detected_people(source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path, "detections")
    (record,) = read(tmp_path, manifest)
    assert (record["image_id"], record["annotation_id"], record["score"]) == ([9], [0], [0.625])
    assert (record["box"], record["keypoints"]) == ([-3.5, 1, 20, 30], [0.0] * 6)
    assert (manifest["boxes"], manifest["dropped"]) == ("detections", {"other_category": 1})
    assert set(manifest["sources"]) == {"annotations", "detections"}


def test_manifest_says_what_was_written(source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert [(shard["file"], shard["examples"]) for shard in manifest["shards"]] == [
        ("00000-of-00003.tfrecord", 3),
        ("00001-of-00003.tfrecord", 3),
        ("00002-of-00003.tfrecord", 1),
    ]
    for shard in manifest["shards"]:
        data = (tmp_path / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (manifest["split"], manifest["boxes"], manifest["records"]) == ("train", "ground_truth", "images")
    assert (manifest["examples"], manifest["unlabelled"]) == (PEOPLE, 0)
    assert manifest["dropped"] == {"crowd": 1, "invalid_box": 1}
    assert KeypointSchema.model_validate(manifest["keypoints"]) == POINTS
    digest = hashlib.sha256((source / "annotations.json").read_bytes()).hexdigest()
    assert manifest["sources"] == {"annotations": {"file": "annotations.json", "sha256": digest}}


def test_validation_keeps_the_crowd(source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path, "ground_truth")
    assert (manifest["examples"], manifest["unlabelled"]) == (PEOPLE + 1, 1)
    assert manifest["dropped"] == {"invalid_box": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "multi_threading", "workers": 2},
        {"mode": "multi_processing", "workers": 2},
        {"runner": "BundleBasedDirectRunner"},
    ],
    ids=lambda settings: str(settings.get("mode", settings.get("runner"))),
)
def test_every_way_of_running_gives_the_same_bytes(source: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    run(source, tmp_path / "here")
    run(source, tmp_path / "there", **settings)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_a_shard_is_an_element_and_no_record_is(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import apache_beam as beam

    created: list[Any] = []
    original = beam.Create.__init__

    def record(self: Any, values: Any, *rest: Any, **more: Any) -> None:
        created.extend(values)
        original(self, values, *rest, **more)

    monkeypatch.setattr(beam.Create, "__init__", record)
    run(source, tmp_path)
    shards = [element for element in created if "of-00003" in str(element)]
    assert len(shards) == 3
    assert all(isinstance(part, str) for shard in shards for part in shard)


def test_the_default_is_1024_examples_a_shard() -> None:
    assert (ConversionSettings().shard_size, ConversionSettings().runner) == (1024, "FnApiRunner")


def test_nothing_of_an_earlier_conversion_is_left(source: Path, tmp_path: Path) -> None:
    for name in ("00003-of-00004.tfrecord", "00000-of-00003.tfrecord", ".00001-of-00009.tfrecord.77.tmp"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / ".plan-old").mkdir()
    (tmp_path / "mine.txt").write_text("stays")
    manifest = run(source, tmp_path)
    assert set(contents(tmp_path)) == {shard["file"] for shard in manifest["shards"]} | {"manifest.json", "mine.txt"}


NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
JPEG, PNG = (cv2.imencode(kind, NOISE)[1].tobytes() for kind in (".jpg", ".png"))


def copied(source: Path, folder: Path) -> Path:
    for name in ("annotations.json", "detections.json", "a.jpg", "sub/b.png", "c.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


def test_what_is_fatal_is_named_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    (copied(source, tmp_path) / "sub/b.png").write_bytes(PNG[: len(PNG) // 2])
    with pytest.raises(
        DataError, match=r"b\.png: image 8 of annotations\.json: its pixels cannot be decoded; get it again"
    ):
        run(tmp_path, tmp_path / "records")
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize("change", ["another image", "one bit", "gone"])
@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_images_that_changed_after_the_validation_are_named_and_leave_no_manifest(
    source: Path, tmp_path: Path, change: str, mode: str
) -> None:
    picture = copied(source, tmp_path) / "sub/b.png"
    verdict = validate(tmp_path / "annotations.json", POINTS, ValidationConfig(), images=tmp_path)
    content = bytearray(picture.read_bytes())
    content[-1] ^= 1
    picture.unlink()
    if change != "gone":
        picture.write_bytes(PNG if change == "another image" else bytes(content))
    (tmp_path / "records").mkdir()
    (tmp_path / "records/manifest.json").write_text("{}")
    said = "No such file" if change == "gone" else "it has changed since it was validated"
    with pytest.raises(DataError, match=rf"b\.png: cannot be used \({said}.*\); validate it again: .*-R validate"):
        run(tmp_path, tmp_path / "records", mode=mode, verdict=verdict)
    whole = {"00000-of-00003.tfrecord", "00002-of-00003.tfrecord"}
    assert set(contents(tmp_path / "records")) <= whole, "nothing is left of the shard with that image"


def test_a_verdict_of_annotations_alone_is_not_enough(source: Path, tmp_path: Path) -> None:
    verdict = validate(source / "annotations.json", POINTS, ValidationConfig())
    with pytest.raises(ArtifactError, match="validated without its images"):
        run(source, tmp_path, verdict=verdict)


def test_a_cut_jpeg_is_recognised_where_opencv_fills_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.look(JPEG).size(False) == images.look(PNG).size(False) == (30, 40)
    monkeypatch.setattr(images, "decode", lambda encoded: NOISE)  # as OpenCV 4 does
    found = images.look(JPEG[: len(JPEG) // 2])
    assert found.kind == "truncated_image" and "truncated" in found.problem


def test_an_image_is_read_once_for_all_of_its_people(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = []
    monkeypatch.setattr(shards, "digest", lambda content: known.append(content) or images.digest(content))
    assert run(source, tmp_path, mode="in_memory", shard_size=10)["examples"] > 3
    assert len(known) == 3


@pytest.mark.parametrize(
    ("purpose", "examples", "dropped"),
    [
        ("training", 5, {"of_dropped_image": 3, "invalid_box": 1}),  # a crowd is among the three
        ("ground_truth", 5, {"of_dropped_image": 3, "invalid_box": 1}),
        ("detections", 1, {"of_dropped_image": 1, "other_category": 1}),
    ],
)
def test_people_of_images_that_are_dropped_are_dropped(
    source: Path, tmp_path: Path, purpose: conversion.Purpose, examples: int, dropped: dict[str, int]
) -> None:
    (copied(source, tmp_path) / "sub/b.png").unlink()
    found = [{"image_id": i, "category_id": c, "bbox": [1, 1, 9, 9], "score": 1} for i, c in ((7, 1), (8, 1), (8, 3))]
    (tmp_path / "detections.json").write_text(json.dumps(found))
    policies = ValidationConfig(missing_image="drop")
    verdict = validate(tmp_path / "annotations.json", POINTS, policies, images=tmp_path)
    manifest = run(tmp_path, tmp_path / "records", purpose, verdict=verdict)
    assert (manifest["examples"], manifest["dropped"]) == (examples, dropped)
    counted = {
        file: {kind: one["number"] for kind, one in kinds.items()} for file, kinds in manifest["validation"].items()
    }
    assert counted == {"annotations": {"missing_image": 1, "of_dropped_image": 3}} | (
        {"detections": {"of_dropped_image": 1, "other_category": 1}} if purpose == "detections" else {}
    )


def test_wrong_requests_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NoSuchRunner is not a Beam runner"):
        run(source, tmp_path, runner="NoSuchRunner")
    arguments = {"images": source, "split": "val", "schema": POINTS, "settings": ConversionSettings()}
    annotations = source / "annotations.json"
    with pytest.raises(ConfigError, match="detection file"):
        convert(tmp_path / "manifest.json", annotations=annotations, purpose="detections", **arguments)
    with pytest.raises(DataError, match="no such folder"):
        convert(
            tmp_path / "manifest.json",
            annotations=annotations,
            purpose="training",
            **{**arguments, "images": source / "nowhere"},
        )
    empty = tmp_path / "empty.json"
    empty.write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="nobody is left"):
        convert(tmp_path / "manifest.json", annotations=empty, purpose="training", **arguments)


def test_conversion_uses_no_network(source: Path, tmp_path: Path) -> None:
    """Any lookup of a name and any connection that Python makes ends the process; the kernel's word where it can be had."""
    program = (
        "import sys\n"
        "def forbid(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto'):\n"
        "        if 'localhost' not in str(arguments) and '127.0.0.1' not in str(arguments):\n"
        "            raise SystemExit(f'network use: {event} {arguments}')\n"
        "sys.addaudithook(forbid)\n"
        "import runpy\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    offline = ["unshare", "-rn"]
    try:
        subprocess.run([*offline, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        offline = []
    command = [*offline, sys.executable, "-c", program, str(ROOT / "scripts/convert.py"), "--purpose=training"]
    command += [f"--annotations={source / 'annotations.json'}", f"--images={source}", "--split=train"]
    command += [f"--output={tmp_path / 'manifest.json'}", f"--keypoints={POINTS.model_dump_json()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "WARNING" not in done.stderr
    assert json.loads((tmp_path / "manifest.json").read_text())["examples"] == PEOPLE


def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("convert_script", ROOT / "scripts/convert.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_command_line_reaches_beam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(conversion, "convert", lambda manifest, **arguments: calls.append((manifest, arguments)))
    module = script()
    command = f"--annotations a.json --images i --purpose detections --detections d.json --output {tmp_path}/m.json"
    extra = ["--settings", '{"options": ["--a=1"], "mode": "multi_threading"}', "--runner", "X", "--workers", "3"]
    module.main(module.parser().parse_args([*command.split(), *extra, "--beam-option=--b=2", "--", "--c=3", "--d"]))
    schema = KeypointSchema(names=("a", "b"), sigmas=(0.1, 0.2), flip_pairs=(("a", "b"),))
    extra = ["--split", "val", "--mode", "multi_processing", "--keypoints", schema.model_dump_json()]
    module.main(module.parser().parse_args([*command.split(), *extra]))
    module.main(module.parser().parse_args([*command.split(), "--reach", '{"height": 8, "width": 6, "scale": 1.5}']))
    assert calls.pop()[1]["reach"] == Reach(height=8, width=6, scale=1.5)
    module.main(module.parser().parse_args([*command.split(), "--reach", "--split", "val"]))
    assert calls.pop()[1]["reach"] is None
    (manifest, first), (_, second) = calls
    settings = first["settings"]
    assert (settings.runner, settings.mode, settings.workers) == ("X", "multi_threading", 3)
    assert settings.options == ("--a=1", "--b=2", "--c=3", "--d")
    assert (manifest, first["split"]) == (tmp_path / "m.json", tmp_path.name)
    assert (first["annotations"], first["images"], first["detected"]) == (Path("a.json"), Path("i"), Path("d.json"))
    assert (first["purpose"], first["schema"]) == ("detections", COCO_KEYPOINTS)
    assert (second["split"], second["settings"].mode, second["schema"]) == ("val", "multi_processing", schema)


@pytest.mark.parametrize("options", [{}, {"mode": "multi_threading", "workers": 2}])
def test_options_reach_the_pipeline(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import DirectOptions, GoogleCloudOptions

    seen = []
    original = beam.Pipeline.__init__

    def record(self: Any, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)
        seen.append(self._options)

    monkeypatch.setattr(beam.Pipeline, "__init__", record)
    run(source, tmp_path, options=("--project=mine",), **options)
    direct = seen[0].view_as(DirectOptions)
    assert (direct.direct_running_mode, direct.direct_num_workers) == (
        options.get("mode", "in_memory"),
        options.get("workers", 1),
    )
    assert seen[0].view_as(GoogleCloudOptions).project == "mine"


def test_examples_are_what_tensorflow_would_write() -> None:
    import tensorflow as tf

    data = bytes(range(256)) * 3
    numbers = np.array([0, 1, -1, 127, 128, 2**62, -(2**63)], np.int64)
    floats = np.array([0.1, -3.5, 1e30], np.float64)
    example = tf.train.Example.FromString(encode_example({"b": data, "i": numbers, "f": floats}))
    expected = tf.train.Example(
        features=tf.train.Features(
            feature={
                "b": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
                "i": tf.train.Feature(int64_list=tf.train.Int64List(value=numbers)),
                "f": tf.train.Feature(float_list=tf.train.FloatList(value=floats)),
            }
        )
    )
    assert example == expected
    found = decode_example(example.SerializeToString())
    assert found.keys() == {"b", "i", "f"} and found["i"] == numbers.tolist()
    assert found["b"].tobytes() == data and found["b"].dtype == np.uint8
    np.testing.assert_array_equal(found["f"], floats.astype(np.float32))
    assert encode_example({"b": data, "f": floats}) == encode_example({"f": floats, "b": data})


def test_examples_that_are_something_else_are_refused() -> None:
    whole = encode_example({"b": b"123", "f": np.ones(3)})
    assert decode_example(encode_example({"b": b"", "i": np.zeros(0, np.int64)})) is not None
    damaged = [whole[:-1], whole[1:], b"\x0a", b"\x0a\xff", b"", whole.replace(b"\x0a\x03123", b"\x0a\x04123")]
    two = b"\x0a\x01a\x0a\x01b"  # a list of two texts, where one is expected
    damaged.append(encode_example({"b": b"12345"[: len(two) - 2]}).replace(b"\x0a\x041234", two))
    for content in damaged:
        with pytest.raises((ValueError, IndexError)):
            decode_example(content)
