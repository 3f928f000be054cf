"""TFRecord shards and their manifest as a `tf.data.Dataset` of person crops.

Records are read by position: the order of an epoch is a permutation that NumPy draws from (seed, epoch), so that it does
not depend on where training began, and costs no shuffle buffer of images.
"""

import os
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline_lib.artifacts import read_json
from pipeline_lib.config import Augmentation, KeypointSchema
from pipeline_lib.data import augment
from pipeline_lib.data.images import decode
from pipeline_lib.errors import CONVERT_AGAIN, ArtifactError, DataError, EvoPoseError
from pipeline_lib.explain import explain

if TYPE_CHECKING:
    import tensorflow as tf

SCHEMA_VERSION = 1
SHUFFLE_WINDOW = 8192
"""Records are permuted within groups of whole shards, in a random order, of about this many records: reads stay local."""

PADDING = -1
"""Position of a record that fills the last batch up; its weight is 0."""

_ORDER_STREAM = 0
_HEADER, _FOOTER = 12, 4  # bytes around a TFRecord: length and its checksum, checksum of the data


@dataclass(frozen=True)
class Shard:
    """One TFRecord file and the number of its records."""

    path: Path
    examples: int


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says: the shards, whose boxes they hold, and the keypoints' names."""

    path: Path
    keypoints: KeypointSchema
    boxes: str
    shards: tuple[Shard, ...]

    @property
    def examples(self) -> int:
        """Records of all shards."""
        return sum(shard.examples for shard in self.shards)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read manifest.json and compare it with the shards beside it.

    Raises:
        ArtifactError: it or a shard is missing, was cut short, or the numbers contradict each other.
    """
    path = Path(path)
    content = read_json(path)
    again = CONVERT_AGAIN
    try:
        if content["schema_version"] != SCHEMA_VERSION or content["records"] != "images":
            raise ArtifactError(f"{path}: schema version {SCHEMA_VERSION} with records of images is expected; {again}")
        keypoints = KeypointSchema.model_validate(content["keypoints"])
        shards = tuple(Shard(path.parent / shard["file"], int(shard["examples"])) for shard in content["shards"])
        sizes = [int(shard["bytes"]) for shard in content["shards"]]
        manifest = Manifest(path, keypoints, content["boxes"], shards)
        examples = content["examples"]
    except ValidationError as error:
        raise ArtifactError(f"{path}: keypoints: {explain(error)}; {again}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: not a manifest of records ({error!r}); {again}") from None
    if manifest.examples != examples:
        raise ArtifactError(f"{path}: {examples} examples, but its shards have {manifest.examples}; {again}")
    if examples == 0:
        raise ArtifactError(f"{path}: no records; check the annotations and {again}")
    for shard, size in zip(shards, sizes, strict=True):
        if not shard.path.is_file():
            raise ArtifactError(f"{path}: its shard {shard.path.name} is missing; {again}")
        if shard.path.stat().st_size != size:
            found = shard.path.stat().st_size
            raise ArtifactError(f"{shard.path}: {found} bytes, {size} according to {path.name}; {again}")
    return manifest


def order(shards: tuple[Shard, ...], seed: int, epoch: int, window: int = SHUFFLE_WINDOW) -> NDArray[np.int64]:
    """The positions of all records in the order of `epoch`: a permutation drawn from (seed, epoch) alone.

    Shards are put into a random order, and records permuted within groups of consecutive shards that have `window`
    records together (a full permutation when all have fewer).
    """
    rng = augment.generator(seed, _ORDER_STREAM, epoch)
    first = np.cumsum([0, *(shard.examples for shard in shards)])
    groups: list[list[NDArray[np.int64]]] = [[]]
    for place in rng.permutation(len(shards)):
        members = np.arange(first[place], first[place + 1], dtype=np.int64)
        if groups[-1] and sum(map(len, groups[-1])) + len(members) > window:
            groups.append([])
        groups[-1].append(members)
    return np.concatenate([rng.permutation(np.concatenate(group)) for group in groups if group])


class Reader:
    """Reads the records of a manifest by position (0 .. examples - 1, in the order of the shards)."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._first = np.cumsum([0, *(shard.examples for shard in manifest.shards)])
        self._offsets = lru_cache(maxsize=None)(self._index)
        self._lock = threading.Lock()

    def features(self, position: int) -> tuple[dict[str, Any], str]:
        """The features of a record, and where it is (for messages).

        Raises `ArtifactError` when the shard has not as many records as the manifest says or is damaged.
        """
        from tensorflow.train import Example

        place = int(np.searchsorted(self._first, position, side="right")) - 1
        shard = self.manifest.shards[place]
        number = position - int(self._first[place])
        where = f"{shard.path}, record {number}"
        with self._lock:
            offset, length = self._offsets(place)[number]
        with shard.path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
        try:
            feature = Example.FromString(data).features.feature
        except Exception as error:  # protobuf's own error class depends on its implementation
            raise ArtifactError(f"{where}: not a record of this workflow ({error}); {CONVERT_AGAIN}") from None
        return dict(feature), where

    def _index(self, place: int) -> list[tuple[int, int]]:
        """(offset, length) of the data of every record of a shard."""
        shard = self.manifest.shards[place]
        size = shard.path.stat().st_size
        found = []
        with shard.path.open("rb", buffering=0) as stream:
            end = 0
            while end < size:
                stream.seek(end)
                header = stream.read(_HEADER)
                length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else size
                found.append((end + _HEADER, length))
                end += _HEADER + length + _FOOTER
        if end != size:
            raise ArtifactError(f"{shard.path}: damaged after {len(found) - 1} records; {CONVERT_AGAIN}")
        if len(found) != shard.examples:
            raise ArtifactError(
                f"{shard.path}: {len(found)} records, {shard.examples} according to {self.manifest.path.name}; "
                f"{CONVERT_AGAIN}"
            )
        return found


@dataclass(frozen=True)
class _Loader:
    """Turns a position into a crop and everything that belongs to it."""

    reader: Reader
    height: int
    width: int
    augmentation: Augmentation | None
    seed: int

    def __call__(self, epoch: np.int64, position: np.int64) -> tuple[Any, ...]:
        """image, keypoints, weight, image_id, annotation_id, score, inverse, box (see `dataset`), and what went wrong.

        An exception would have TensorFlow print its traceback, once for each thread that meets a damaged record.
        """
        try:
            return (*self._load(epoch, position), b"")
        except EvoPoseError as error:
            return (*self._nobody(), f"{type(error).__name__}: {error}".encode())

    def _nobody(self) -> tuple[Any, ...]:
        return (
            np.full((self.height, self.width, 3), augment.MEAN_COLOUR, np.uint8),
            np.zeros((len(self.reader.manifest.keypoints.names), 3), np.float32),
            np.float32(0),
            np.int64(0),
            np.int64(0),
            np.float32(0),
            np.eye(2, 3, dtype=np.float32),
            np.zeros(4, np.float32),
        )

    def _load(self, epoch: np.int64, position: np.int64) -> tuple[Any, ...]:
        if position == PADDING:
            return self._nobody()
        schema = self.reader.manifest.keypoints
        feature, where = self.reader.features(int(position))
        try:
            image_id, annotation_id = (feature[name].int64_list.value[0] for name in ("image_id", "annotation_id"))
            score = feature["score"].float_list.value[0]
            box = np.array(feature["box"].float_list.value, np.float32).reshape(4)
            keypoints = np.array(feature["keypoints"].float_list.value, np.float32).reshape(len(schema.names), 3)
            encoded = np.frombuffer(feature["image"].bytes_list.value[0], np.uint8)
        except (KeyError, IndexError, ValueError) as error:
            raise ArtifactError(f"{where}: not a record of this workflow ({error!r}); {CONVERT_AGAIN}") from None
        draw = augment.UNCHANGED
        if self.augmentation is not None:
            draw = augment.sample(self.augmentation, self.seed, int(epoch), int(position))
        pixels, moved, affine = augment.crop(
            _pixels(encoded, f"{where} (image {image_id})"),
            keypoints,
            box,
            self.height,
            self.width,
            schema,
            draw,
            self.augmentation.half_body_joints if self.augmentation else 0,
        )
        back = augment.inverse(affine).astype(np.float32)
        return pixels, moved, np.float32(1), np.int64(image_id), np.int64(annotation_id), np.float32(score), back, box


def _pixels(encoded: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    image = decode(encoded)
    if image is None:
        raise DataError(f"{where}: the image cannot be decoded; replace it and {CONVERT_AGAIN}")
    return image


def dataset(
    manifest: str | os.PathLike[str] | Manifest,
    *,
    height: int,
    width: int,
    batch: int,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    epochs: int = 1,
    initial_epoch: int = 0,
    initial_batch: int = 0,
    shuffle: bool = False,
    drop_remainder: bool = False,
    metadata: bool = False,
    threads: int = 1,
) -> "tf.data.Dataset":
    """Batches of person crops of the epochs `initial_epoch` .. `epochs` - 1, one after the other.

    An element is (images uint8 (B, height, width, 3), keypoints float32 (B, K, 3) in crop pixels, weight float32 (B,)).
    With `metadata` it is a dict of image, keypoints, weight, image_id and annotation_id int64 (B,), score float32 (B,),
    inverse float32 (B, 2, 3) from crop to image pixels, and box float32 (B, 4). No batch holds two epochs.

    Args:
        manifest: path of manifest.json, or what `read_manifest` gave.
        height, width: of the crops.
        batch: crops in an element, B.
        augmentation: random changes, drawn from (seed, epoch, record); None: none.
        seed: of order and augmentation.
        epochs: number of the epoch after the last one.
        initial_epoch: first epoch, counted from 0; what follows is the same as in a dataset that starts at 0.
        initial_batch: first batch of the first epoch, counted from 0; likewise.
        shuffle: whether each epoch has a random order, drawn from (seed, epoch).
        drop_remainder: leave incomplete batches out; else they are filled up with mean-colour crops of weight 0.
        metadata: see above.
        threads: CPU threads that decode and crop; results do not depend on them.

    Raises:
        ArtifactError: the manifest or its shards are missing or damaged. What is found while reading comes out of the
            iterator as a TensorFlow error; `readable_errors` turns it back.
    """
    import tensorflow as tf

    if not isinstance(manifest, Manifest):
        manifest = read_manifest(manifest)
    cv2.setNumThreads(1)  # crops are small; parallel are the records
    load = _Loader(Reader(manifest), height, width, augmentation, seed)
    keypoints = len(manifest.keypoints.names)
    fields: dict[str, tuple[Any, tuple[int, ...]]] = {
        "image": (tf.uint8, (height, width, 3)),
        "keypoints": (tf.float32, (keypoints, 3)),
        "weight": (tf.float32, ()),
        "image_id": (tf.int64, ()),
        "annotation_id": (tf.int64, ()),
        "score": (tf.float32, ()),
        "inverse": (tf.float32, (2, 3)),
        "box": (tf.float32, (4,)),
    }
    count = manifest.examples // batch * batch if drop_remainder else -(-manifest.examples // batch) * batch

    def positions(epoch: np.int64) -> NDArray[np.int64]:
        every = order(manifest.shards, seed, int(epoch)) if shuffle else np.arange(manifest.examples, dtype=np.int64)
        listed = np.concatenate([every, np.full(max(0, count - len(every)), PADDING)])[:count]
        return listed[initial_batch * batch :] if epoch == initial_epoch else listed

    def one_epoch(epoch: "tf.Tensor") -> "tf.data.Dataset":
        # stateful=False: otherwise deterministic ops would run such maps one at a time
        listed = tf.numpy_function(positions, [epoch], tf.int64, stateful=False)
        numbered = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(listed, (None,)))
        return numbered.map(lambda position: (epoch, position))

    def one_record(epoch: "tf.Tensor", position: "tf.Tensor") -> Any:
        types = [*(dtype for dtype, _ in fields.values()), tf.string]
        *values, problem = tf.numpy_function(load, [epoch, position], types, stateful=False)
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, ""), [problem])]):
            values = [tf.identity(value) for value in values]
        named = {name: tf.ensure_shape(value, fields[name][1]) for name, value in zip(fields, values, strict=True)}
        return named if metadata else (named["image"], named["keypoints"], named["weight"])

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    return (
        tf.data.Dataset.range(initial_epoch, epochs)
        .flat_map(one_epoch)
        .map(one_record, num_parallel_calls=threads)
        .batch(batch, drop_remainder=True)
        .prefetch(2)
        .apply(tf.data.experimental.assert_cardinality(count // batch * max(0, epochs - initial_epoch) - initial_batch))
        .with_options(options)
    )


@contextmanager
def readable_errors() -> Iterator[None]:
    """Raise what the reader found wrong inside a `tf.data` pipeline as the `EvoPoseError` that it was."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        known: dict[str, type[EvoPoseError]] = {kind.__name__: kind for kind in (ArtifactError, DataError)}
        # The text of a failed tf.debugging.Assert, in which quotation marks are escaped.
        found = re.search(rf"\[({'|'.join(known)}): (.*)\]", str(error))
        if found is None:
            raise
        raise known[found[1]](re.sub(r"\\(.)", r"\1", found[2])) from None
