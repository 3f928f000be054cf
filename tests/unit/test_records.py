"""Reading of records: order, contents, padding, and what is said about damaged files."""

import io
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from pipeline_lib.config import COCO_KEYPOINTS, Augmentation
from pipeline_lib.data import augment, records
from pipeline_lib.errors import ArtifactError, DataError, EvoPoseError

COUNTS = (4, 3, 2)
PERSONS = sum(COUNTS)
SIZE = {"height": 24, "width": 16}


def picture(person: int) -> np.ndarray:
    """Smooth, so that JPEG changes little; the third person's is grey."""
    rng = np.random.default_rng(person)
    coarse = rng.integers(0, 256, (4, 5) if person == 2 else (4, 5, 3), np.uint8)
    return cv2.resize(coarse, (40, 30), interpolation=cv2.INTER_CUBIC)


def box(person: int) -> list[float]:
    return [5.0 + person, 4.0, 12.0, 20.0]


def keypoints(person: int) -> np.ndarray:
    rng = np.random.default_rng(100 + person)
    return np.column_stack([rng.uniform(0, 40, 17), rng.uniform(0, 30, 17), rng.integers(0, 3, 17)]).astype(np.float32)


def example(person: int, image: bytes) -> bytes:
    integers = {"image_id": [person + 1000], "annotation_id": [person + 2000], "height": [30], "width": [40]}
    floats = {"box": box(person), "keypoints": keypoints(person).ravel(), "score": [person / 10]}
    feature = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=value)) for name, value in integers.items()}
    feature |= {name: tf.train.Feature(float_list=tf.train.FloatList(value=value)) for name, value in floats.items()}
    feature["image"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(folder: Path, changes: dict[str, Any] | None = None, images: dict[int, bytes] | None = None) -> Path:
    """Three shards of nine persons with TensorFlow's own writer, and a manifest with `changes`."""
    shards, person = [], 0
    for number, count in enumerate(COUNTS):
        path = folder / f"{number:05d}-of-00003.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(count):
                pixels = picture(person)
                encoded = cv2.imencode(".jpg", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()
                writer.write(example(person, (images or {}).get(person, encoded)))
                person += 1
        shards.append({"file": path.name, "examples": count, "bytes": path.stat().st_size, "sha256": ""})
    content = {
        "schema_version": 1,
        "split": "val",
        "boxes": "ground_truth",
        "records": "images",
        "keypoints": COCO_KEYPOINTS.model_dump(mode="json"),
        "examples": PERSONS,
        "shards": shards,
    }
    (folder / "manifest.json").write_text(json.dumps(content | (changes or {})))
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("records"))


def read(path: Path, **options: Any) -> list[dict[str, np.ndarray]]:
    options = {"batch": 1, "metadata": True} | SIZE | options
    with records.readable_errors():
        return list(records.dataset(path, **options).as_numpy_iterator())


def ids(batches: list[dict[str, np.ndarray]]) -> list[int]:
    return [int(number) - 1000 for batch in batches for number in batch["image_id"]]


def test_a_record_arrives_whole(manifest: Path) -> None:
    batches = read(manifest)
    assert ids(batches) == list(range(PERSONS))
    for person, batch in enumerate(batches):
        assert batch["annotation_id"] == [person + 2000]
        assert batch["score"][0] == pytest.approx(person / 10)
        np.testing.assert_array_equal(batch["box"], [box(person)])
        pixels = picture(person)
        pixels = np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels
        crop, moved, affine = augment.crop(pixels, keypoints(person), box(person), 24, 16, COCO_KEYPOINTS)
        np.testing.assert_array_equal(batch["keypoints"], [moved])
        assert np.abs(batch["image"][0].astype(int) - crop).mean() < 6, "RGB, but for JPEG's losses"
        there = augment.apply(affine, np.array([[7.0, 9.0]]))
        np.testing.assert_allclose(augment.apply(batch["inverse"][0].astype(float), there), [[7, 9]], atol=1e-4)


def test_an_orientation_in_the_file_is_not_applied(tmp_path: Path) -> None:
    """Annotations are of the pixels as they are stored; 6 asks a viewer for a quarter turn."""
    turned, stream = PIL.Image.Exif(), io.BytesIO()
    turned[0x0112] = 6
    PIL.Image.fromarray(picture(3)).save(stream, "jpeg", quality=95, exif=turned)
    batch = read(write(tmp_path, images={3: stream.getvalue()}))[3]
    crop = augment.crop(picture(3), keypoints(3), box(3), 24, 16, COCO_KEYPOINTS)[0]
    assert np.abs(batch["image"][0].astype(int) - crop).mean() < 6


def test_a_slow_record_keeps_its_place(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2500, 2500, 3), np.uint8)
    path = write(tmp_path, images={0: cv2.imencode(".png", noise)[1].tobytes()})
    assert ids(read(path, threads=3)) == list(range(PERSONS))
    data = records.dataset(path, batch=1, threads=3, **SIZE)
    assert data.options().deterministic
    assert data.options().threading.private_threadpool_size == 3
    assert cv2.getNumThreads() == 1, "records are read side by side, not their pixels"


def test_padding_fills_the_last_batch(manifest: Path) -> None:
    last = read(manifest, batch=4)[-1]
    np.testing.assert_array_equal(last["weight"], [1, 0, 0, 0])
    assert (last["image"][1:] == (124, 116, 104)).all()
    assert not last["keypoints"][1:].any()
    whole = read(manifest, batch=4, drop_remainder=True)
    assert ids(whole) == list(range(8))
    assert records.dataset(manifest, batch=4, epochs=5, initial_epoch=2, **SIZE).cardinality().numpy() == 9


def test_every_epoch_is_padded_for_itself(manifest: Path) -> None:
    weights = [list(batch["weight"]) for batch in read(manifest, batch=5, epochs=2, shuffle=True)]
    assert weights == [[1] * 5, [1, 1, 1, 1, 0]] * 2


@pytest.mark.parametrize(("batch", "part"), [(5, 2), (5, 4), (4, 2), (7, 3), (9, 64)])
def test_parts_of_a_batch_make_the_same_batches(
    manifest: Path, batch: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"batch": batch, "epochs": 2, "shuffle": True, "augmentation": Augmentation(), "seed": 8}
    for drop_remainder in (False, True):
        whole = read(manifest, drop_remainder=drop_remainder, **options)
        monkeypatch.setattr(records, "_PART", part)
        parts = read(manifest, drop_remainder=drop_remainder, threads=2, **options)
        monkeypatch.undo()
        for one, other in zip(whole, parts, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert len(one[name]) == batch
                np.testing.assert_array_equal(one[name], other[name])
        pairs = zip(whole, records.dataset(manifest, drop_remainder=drop_remainder, **SIZE, **options), strict=True)
        for one, training in pairs:
            for name, value in zip(("image", "keypoints", "weight"), training, strict=True):
                np.testing.assert_array_equal(one[name], value)


def test_augmentation_is_that_of_epoch_and_record(manifest: Path) -> None:
    augmentation = Augmentation(half_body_probability=0.5, half_body_joints=11)
    options: dict[str, Any] = {"augmentation": augmentation, "seed": 5, "shuffle": True, "epochs": 3}
    batches = read(manifest, **options)
    for epoch in range(3):
        part = batches[epoch * PERSONS : (epoch + 1) * PERSONS]
        for person, batch in zip(ids(part), part, strict=True):
            draw = augment.sample(augmentation, 5, epoch, person)
            pixels = np.zeros((30, 40, 3), np.uint8)
            moved = augment.crop(pixels, keypoints(person), box(person), 24, 16, COCO_KEYPOINTS, draw, 11)[1]
            np.testing.assert_array_equal(batch["keypoints"], [moved])
    labelled = [np.count_nonzero(keypoints(person)[:, 2]) for person in range(PERSONS)]
    assert min(labelled) <= 11 < max(labelled), "some have enough joints for half bodies, some have not"
    tail = read(manifest, initial_epoch=1, threads=2, **options)
    for one, other in zip(batches[PERSONS:], tail, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_an_epoch_can_begin_at_any_batch(manifest: Path, drop_remainder: bool) -> None:
    options: dict[str, Any] = {"augmentation": Augmentation(), "seed": 5, "shuffle": True, "epochs": 3, "batch": 4}
    options["drop_remainder"] = drop_remainder
    an_epoch = 2 if drop_remainder else 3
    whole = read(manifest, **options)
    for done in range(an_epoch + 1):
        rest = read(manifest, initial_epoch=1, initial_batch=done, **options)
        assert len(rest) == 2 * an_epoch - done
        for one, other in zip(whole[an_epoch + done :], rest, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
    begun = records.dataset(manifest, initial_batch=1, **options, **SIZE)
    assert begun.cardinality().numpy() == 3 * an_epoch - 1


def test_each_epoch_has_its_own_order_by_seed(manifest: Path) -> None:
    parts = records.read_manifest(manifest).shards
    found = {}
    for seed in (1, 2):
        order = ids(read(manifest, seed=seed, shuffle=True, epochs=2))
        found |= {(seed, 0): order[:PERSONS], (seed, 1): order[PERSONS:]}
    for (seed, epoch), order in found.items():
        assert sorted(order) == list(range(PERSONS))
        assert order == list(records.order(parts, seed, epoch))
    assert len(set(map(tuple, found.values()))) == 4


def shards(*counts: int) -> tuple[records.Shard, ...]:
    return tuple(records.Shard(Path(str(number)), count) for number, count in enumerate(counts))


def test_small_sets_are_shuffled_fully() -> None:
    first = [int(records.order(shards(5, 5), seed, 0)[0]) for seed in range(300)]
    assert min(first.count(position) for position in range(10)) > 10
    assert (records.order(shards(30, 20), 1, 0) != records.order(shards(30, 20), 1, 1)).any()
    assert (records.order(shards(30, 20), 1, 0) != records.order(shards(30, 20), 2, 0)).any()
    np.testing.assert_array_equal(records.order(shards(30, 20), 1, 4), records.order(shards(30, 20), 1, 4))


def test_an_order_is_that_of_the_stream_of_its_address() -> None:
    """Not that of the changes of a record (seed, 1, epoch, record), and the same with every later version."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((7, 0, 3))))
    ranges = [np.arange(0, 5), np.arange(5, 9), np.arange(9, 16)]
    positions = rng.permutation(np.concatenate([ranges[place] for place in rng.permutation(3)]))
    np.testing.assert_array_equal(records.order(shards(5, 4, 7), 7, 3), positions)


def test_eight_thousand_records_are_mixed() -> None:
    positions = records.order(shards(*[1024] * 8), 1, 0)
    assert set(positions[:100] // 1024) == set(range(8))


def test_large_sets_are_shuffled_in_groups_of_shards() -> None:
    positions = records.order(shards(*[10] * 12), 3, 0, window=30)
    assert sorted(positions) == list(range(120))
    groups = [set(part // 10) for part in positions.reshape(4, 30)]
    assert [len(group) for group in groups] == [3] * 4, "each group reads three shards"
    assert groups != [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {9, 10, 11}], "which ones is random"
    assert len(set(positions[:10] // 10)) > 1, "and records are mixed within"
    assert sorted(records.order(shards(50, 8, 8), 3, 0, window=10)) == list(range(66))


@pytest.mark.parametrize("content", [b"", b"nonsense", example(0, b"x")[:-1], example(0, b"x")[4:]])
def test_a_record_of_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path)
    with tf.io.TFRecordWriter(str(tmp_path / "00001-of-00003.tfrecord")) as writer:
        for person in (4, 5):
            writer.write(example(person, cv2.imencode(".png", picture(person))[1].tobytes()))
        writer.write(content)
    with pytest.raises(ArtifactError, match=r"00001-of-00003\.tfrecord, record 2: not a record of this workflow"):
        read(damage(path, lambda shards: None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"examples": 10}, "10 examples, but its shards have 9"),
        ({"schema_version": 2}, "schema_version is 2, written by a newer version"),
        ({"records": "boxes"}, "not a manifest of records: records: "),
        ({"records": "crops"}, "not a manifest"),
        ({"shards": [{"file": "x"}]}, "not a manifest"),
        ({"shards": [], "examples": 0}, "no records"),
        ({"keypoints": {"names": []}}, "keypoints"),
        ({"shards": [{"file": "7-of-9.tfrecord", "examples": 9, "bytes": 1}]}, r"7-of-9\.tfrecord is missing"),
        ({"shards": [{"file": "../7-of-9.tfrecord", "examples": 9, "bytes": 1}]}, "the name of a shard beside"),
        ({"boxes": "none"}, "not a manifest of records: boxes: "),
        ({"shards": [{"file": "00000-of-00003.tfrecord", "examples": 9, "bytes": 1}]}, "1 according to"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        records.read_manifest(write(tmp_path, changes))


def test_a_missing_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        records.dataset(tmp_path / "manifest.json", batch=1, **SIZE)


def damage(manifest: Path, change: Any) -> Path:
    """The manifest after `change` of the list of its shards, whose sizes are corrected."""
    content = json.loads(manifest.read_text())
    change(content["shards"])
    for shard in content["shards"]:
        shard["bytes"] = (manifest.parent / shard["file"]).stat().st_size
    content["examples"] = sum(shard["examples"] for shard in content["shards"])
    manifest.write_text(json.dumps(content))
    return manifest


def fewer(found: list[dict[str, Any]]) -> None:
    found[1]["examples"] = 2


def cut(manifest: Path) -> None:
    path = manifest.parent / "00001-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[:-20])


def test_damage_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArtifactError, match=r"00001-of-00003\.tfrecord: 3 records, 2 according to manifest\.json"):
        read(damage(write(tmp_path), fewer))
    path = write(tmp_path)
    cut(path)
    with pytest.raises(ArtifactError, match=r"00001-of-00003\.tfrecord, record 2: damaged from there on"):
        read(damage(path, lambda shards: None))
    with pytest.raises(
        DataError, match=r"00001-of-00003\.tfrecord, record 1 \(image 1005\): the image cannot be decoded"
    ):
        read(write(tmp_path, images={5: b"not a picture"}))
    with pytest.raises(DataError, match=r"record 0 \(image 1000\)"):
        read(write(tmp_path, images={0: b""}))
    assert "Traceback" not in capfd.readouterr().err  # TensorFlow prints that of an exception in a map


def test_the_message_of_a_damaged_record_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s [ä] "b"'
    folder.mkdir()
    with pytest.raises(DataError) as caught:
        read(write(folder, images={5: b"not a picture"}))
    assert str(caught.value) == (
        f"{folder}/00001-of-00003.tfrecord, record 1 (image 1005): the image cannot be decoded; replace it and "
        "run the conversion again: `snakemake data -R convert`, with your --profile and --configfile"
    )


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), records.readable_errors():
        raise tf.errors.InvalidArgumentError(None, None, "something else")
    assert issubclass(DataError, EvoPoseError)


def test_a_shard_that_is_gone_is_named_and_no_file_is_closed_twice(tmp_path: Path) -> None:
    reader = records.Reader(records.read_manifest(write(tmp_path)))
    features = reader.features([0, 4])
    next(features)
    (tmp_path / "00001-of-00003.tfrecord").unlink()
    with pytest.raises(ArtifactError, match=r"00001-of-00003\.tfrecord, record .*: not a record of this workflow"):
        next(features)


def test_no_more_than_one_shard_is_open_in_a_thread(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each is opened once for a batch, whatever the order of its records."""
    reader = records.Reader(records.read_manifest(manifest))
    shards = {str(shard.path) for shard in reader.manifest.shards}

    def held() -> list[str]:
        return [name for name in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if name in shards]

    positions = [0, 8, 4, 1]
    features = reader.features(positions)
    for position in positions:
        assert next(features)["image_id"] == [position + 1000]
        assert len(held()) == 1
    features.close()
    assert not held()
    assert len(list(reader.features(positions))) == 4 and not held()
    opens: list[int] = []
    shard_opened = records.ReadAhead.open
    monkeypatch.setattr(records.ReadAhead, "open", lambda self, place: opens.append(place) or shard_opened(self, place))
    data = records.dataset(manifest, batch=PERSONS, shuffle=True, seed=1, metadata=True, **SIZE)
    (batch,) = data.as_numpy_iterator()
    assert sorted(batch["image_id"]) == list(range(1000, 1000 + PERSONS)) != batch["image_id"].tolist()
    assert sorted(opens) == [0, 0, 1, 1, 2, 2], "once for the index, once for the records"
    assert not held()
