"""TFRecord shards and their manifest as a `tf.data.Dataset` of person crops.

Records are read by position: the order of an epoch is a permutation that NumPy draws from (seed, epoch), so that it does
not depend on where training began, and costs no shuffle buffer of images. TensorFlow calls Python for a part of a batch, not for
each record; OpenCV decodes and warps without Python's lock, so that the parts run side by side.
"""

import math
import os
import re
import struct
import threading
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline_lib import remote
from pipeline_lib.artifacts import read_document
from pipeline_lib.config import Augmentation, KeypointSchema, Reach
from pipeline_lib.data import augment, crops
from pipeline_lib.data.cache import ReadAhead, Shard
from pipeline_lib.data.images import decode
from pipeline_lib.data.tfrecord import decode_example, masked_crc
from pipeline_lib.errors import CONVERT_AGAIN, ArtifactError, ConfigError, DataError, EvoPoseError, StorageError
from pipeline_lib.explain import NOT_ENDED, SHARD, explain
from pipeline_lib.remote import Place, Remote

if TYPE_CHECKING:
    import tensorflow as tf

SHUFFLE_WINDOW = 8192
"""Records are permuted within groups of whole shards, in a random order, of about this many records: reads stay local."""

PADDING = -1
"""Position of a record that fills the last batch up; its weight is 0."""

_PART = 64
"""Records that one call of Python makes at most: larger batches are put together from parts, which copies their pixels."""

_TOGETHER = 16
"""Records that are in memory at once, and whose keypoints are computed together."""

_ORDER_STREAM = 0
_HEADER, _FOOTER = 12, 4  # bytes around a TFRecord: length and its checksum, checksum of the data


class _ShardEntry(BaseModel):
    """A shard in manifest.json."""

    model_config = ConfigDict(strict=True)

    file: str = Field(pattern=SHARD)
    examples: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str | None = None


class _Content(BaseModel):
    """What of manifest.json is read; the rest is for the record."""

    records: Literal["images", "crops"]
    boxes: Literal["ground_truth", "detections"]
    keypoints: KeypointSchema
    examples: int = Field(strict=True)
    shards: tuple[_ShardEntry, ...]
    form: crops.Form | None = Field(None, alias="crops")
    folder: str | None = Field(None, pattern=NOT_ENDED)

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.records == "crops") != (self.form is not None):
            raise ValueError(
                f"records: {self.records}, {'without' if self.form is None else 'with'} a description of crops"
            )
        return self


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says: the shards, whose boxes they hold, the keypoints' names; `form`: None of whole images."""

    path: Place
    keypoints: KeypointSchema
    boxes: str
    shards: tuple[Shard, ...]
    form: crops.Form | None = None

    @property
    def examples(self) -> int:
        """Records of all shards."""
        return sum(shard.examples for shard in self.shards)


def read_manifest(path: str | os.PathLike[str] | Remote) -> Manifest:
    """Read manifest.json and compare it with its shards, which lie beside it or where it says.

    Shards of a bucket are compared when they are fetched.

    Raises:
        ArtifactError: it or a shard is missing, was cut short, or the numbers contradict each other.
    """
    path = remote.place(str(path))
    again = CONVERT_AGAIN
    try:
        content = _Content.model_validate(_document(path, again))
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a manifest of records: {explain(error)}; {again}") from None
    folder = path.parent if content.folder is None else remote.place(content.folder)
    shards = tuple(
        Shard(folder / shard.file, shard.examples, shard.bytes, shard.sha256 or "") for shard in content.shards
    )
    manifest = Manifest(path, content.keypoints, content.boxes, shards, content.form)
    if manifest.examples != content.examples:
        raise ArtifactError(f"{path}: {content.examples} examples, but its shards have {manifest.examples}; {again}")
    if not shards:
        raise ArtifactError(f"{path}: no records; check the annotations and {again}")
    for shard in shards:
        if isinstance(shard.path, Path):  # those of a bucket are looked at when they are fetched
            if not shard.path.is_file():
                raise ArtifactError(f"{path}: its shard {shard.path.name} is missing; {again}")
            if (found := shard.path.stat().st_size) != shard.bytes:
                raise ArtifactError(f"{shard.path}: {found} bytes, {shard.bytes} according to {path.name}; {again}")
        if shard.examples > shard.bytes // (_HEADER + _FOOTER):
            raise ArtifactError(
                f"{path}: its shard {shard.path.name} is too short for {shard.examples} records; {again}"
            )
    return manifest


def _document(path: Place, remedy: str) -> dict[str, Any]:
    if isinstance(path, Path):
        return read_document(path, remedy)
    with remote.local_copy(str(path)) as copy:
        try:
            return read_document(copy, remedy)
        except ArtifactError as error:
            raise ArtifactError(str(error).replace(str(copy), str(path))) from None


def check_reach(manifest: Manifest, height: int, width: int, augmentation: Augmentation | None = None) -> None:
    """Raise `ConfigError` when the records do not hold what crops of this size with these changes can show."""
    if manifest.form is None:
        return
    made = manifest.form.reach
    if augmentation is not None and augmentation.half_body_probability > 0:
        raise ConfigError(
            f"{manifest.path}: crop records hold no half bodies (augmentation.half_body_probability: "
            f"{augmentation.half_body_probability:g}); use records of whole images (conversion.records: images)"
        )
    wanted = augmentation.reach(height, width) if augmentation else Reach(height=height, width=width)
    if not made.holds(wanted):
        raise ConfigError(
            f"{manifest.path}: made for {_described(made)}; {_described(wanted)} reach further or differ: convert for "
            "them, or use records of whole images (conversion.records: images)"
        )


def _described(reach: Reach) -> str:
    return f"crops of {reach.height}x{reach.width} with scales up to {reach.scale:g} and rotations up to {reach.rotation:g}"


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
        self._first: list[int] = np.cumsum([0, *(shard.examples for shard in manifest.shards)]).tolist()
        self._offsets = lru_cache(maxsize=None)(self._index)
        self._lock = threading.Lock()
        self._shards = ReadAhead(manifest.shards)

    def together(self, records: int) -> None:
        """Say that groups of shards are read in turns that have `records` records together; raises `ConfigError`."""
        counts = sorted(shard.examples for shard in self.manifest.shards)
        self._shards.together(1 + int(np.searchsorted(np.cumsum(counts), records, side="right")))

    def follow(self, positions: NDArray[np.int64]) -> None:
        """Say in which order records are read next: shards of a bucket are fetched in it."""
        places = np.searchsorted(self._first, positions, side="right") - 1
        _, first = np.unique(places, return_index=True)
        self._shards.follow(places[np.sort(first)].tolist())

    def features(self, positions: Iterable[int]) -> Generator[dict[str, Any], None, None]:
        """The features of records, one after the other, as `tfrecord.decode_example` gives them.

        One shard is open at a time, until a record of another one is asked for or the generator is closed: a process may have
        no more than some thousand files open, and has many threads.
        Raises `ArtifactError` when a shard has not as many records as the manifest says or is damaged.
        """
        place = descriptor = -1
        try:
            for position in positions:
                try:
                    if (wanted := self._place(position)) != place:
                        _close(descriptor)
                        place, descriptor = wanted, -1  # opening it may fail
                        descriptor = self._shards.open(place)
                    yield decode_example(self._data(position, place, descriptor))
                except (OSError, ValueError, LookupError) as error:
                    raise ArtifactError(
                        f"{self.where(position)}: not a record of this workflow ({error}); {CONVERT_AGAIN}"
                    ) from None
        finally:
            _close(descriptor)

    def _data(self, position: int, place: int, descriptor: int) -> bytes:
        with self._lock:
            offset, length, checksum = self._offsets(place)[position - self._first[place]].tolist()
        data = os.pread(descriptor, length, offset)
        if int.from_bytes(masked_crc(data), "little") != checksum:
            raise ValueError("its checksum is another one")
        return data

    def where(self, position: int) -> str:
        """The file and number of a record, for messages."""
        place = self._place(position)
        return f"{self.manifest.shards[place].path}, record {position - self._first[place]}"

    def _place(self, position: int) -> int:
        return bisect_right(self._first, position) - 1

    def _index(self, place: int) -> NDArray[np.int64]:
        """(offset, length, checksum) of the data of every record of a shard: 24 bytes each, since they are kept."""
        shard = self.manifest.shards[place]
        found = []
        with os.fdopen(self._shards.open(place), "rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            end, header = 0, stream.read(_HEADER)
            while end < size:
                whole = len(header) == _HEADER and masked_crc(header[:8]) == header[8:]
                length = struct.unpack("<Q", header[:8])[0] if whole else size
                start, end = end + _HEADER, end + _HEADER + length + _FOOTER
                stream.seek(end - _FOOTER)
                following = stream.read(_FOOTER + _HEADER)
                found.append((start, length, int.from_bytes(following[:_FOOTER], "little")))
                header = following[_FOOTER:]
        if end != size:
            raise ArtifactError(f"{shard.path}, record {len(found) - 1}: damaged from there on; {CONVERT_AGAIN}")
        if len(found) != shard.examples:
            raise ArtifactError(
                f"{shard.path}: {len(found)} records, {shard.examples} according to {self.manifest.path.name}; "
                f"{CONVERT_AGAIN}"
            )
        return np.array(found, np.int64)


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


class _Record(NamedTuple):
    """A person as stored; `part`: None of whole images."""

    position: int
    image_id: int
    annotation_id: int
    score: float
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    encoded: NDArray[np.uint8]
    part: crops.Part | None


@dataclass(frozen=True)
class _Loader:
    """Turns positions into crops and everything that belongs to them."""

    reader: Reader
    height: int
    width: int
    augmentation: Augmentation | None
    seed: int
    metadata: bool

    def fields(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """Type and shape of what belongs to one person, by name and in the order of what a call gives."""
        of_training = {
            "image": (np.uint8, (self.height, self.width, 3)),
            "keypoints": (np.float32, (len(self.reader.manifest.keypoints.names), 3)),
            "weight": (np.float32, ()),
        }
        if not self.metadata:
            return of_training
        return {
            **of_training,
            "image_id": (np.int64, ()),
            "annotation_id": (np.int64, ()),
            "score": (np.float32, ()),
            "inverse": (np.float32, (2, 3)),
            "box": (np.float32, (4,)),
        }

    def __call__(self, epoch: np.int64, positions: NDArray[np.int64]) -> tuple[Any, ...]:
        """The fields of all positions, and what went wrong.

        An exception would have TensorFlow print its traceback, once for each thread that meets a damaged record.
        """
        make = {"image": np.empty}  # all of it is written, unless something is wrong
        made = {
            name: make.get(name, np.zeros)((len(positions), *shape), dtype)
            for name, (dtype, shape) in self.fields().items()
        }
        problem = b""
        try:
            order = np.argsort(positions)  # shard by shard
            people = positions[order]
            with closing(self.reader.features(people[people != PADDING].tolist())) as features:
                for first in range(0, len(order), _TOGETHER):
                    self._load(made, order[first : first + _TOGETHER], int(epoch), positions, features)
        except EvoPoseError as error:
            problem = f"{type(error).__name__}: {error}".encode()
        return *made.values(), problem

    def _load(
        self,
        made: Mapping[str, NDArray[Any]],
        rows: NDArray[np.intp],
        epoch: int,
        positions: NDArray[np.int64],
        features: Iterator[dict[str, Any]],
    ) -> None:
        """Write the fields of some rows, those of their `positions`; `features`: of the people among them, in their order."""
        padding = rows[positions[rows] == PADDING]
        made["image"][padding] = augment.MEAN_COLOUR
        if self.metadata:
            made["inverse"][padding] = np.eye(2, 3)
        people = rows[positions[rows] != PADDING]
        if not len(people):
            return
        found = [self._record(position, next(features)) for position in positions[people].tolist()]
        draws, half_body_joints = [augment.UNCHANGED] * len(found), 0
        if self.augmentation is not None:
            draws = [augment.sample(self.augmentation, self.seed, epoch, record.position) for record in found]
            half_body_joints = self.augmentation.half_body_joints
        boxes, keypoints = (np.stack([getattr(record, column) for record in found]) for column in ("box", "keypoints"))
        schema = self.reader.manifest.keypoints
        made["keypoints"][people], affines = augment.place(
            keypoints, boxes, self.height, self.width, schema, draws, half_body_joints
        )
        made["weight"][people] = 1
        for row, record, affine in zip(people.tolist(), found, affines, strict=True):
            self._pixels(record, affine, made["image"][row])
        if self.metadata:
            for name in ("image_id", "annotation_id", "score", "box"):
                made[name][people] = [getattr(record, name) for record in found]
            made["inverse"][people] = augment.inverse(affines)

    def _record(self, position: int, feature: Mapping[str, Any]) -> _Record:
        try:
            image_id, annotation_id, score = (feature[name][0] for name in ("image_id", "annotation_id", "score"))
            box, encoded = feature["box"].reshape(4), feature["image"]
            if not isinstance(encoded, np.ndarray) or encoded.dtype != np.uint8:
                raise ValueError("its image is no bytes")
            keypoints = feature["keypoints"].reshape(len(self.reader.manifest.keypoints.names), 3)
            part = None if self.reader.manifest.form is None else crops.stored(feature)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            where = self.reader.where(position)
            raise ArtifactError(f"{where}: not a record of this workflow ({error!r}); {CONVERT_AGAIN}") from None
        if not all(map(math.isfinite, box.tolist())):
            raise ArtifactError(f"{self.reader.where(position)}: its box is {box.tolist()}; {CONVERT_AGAIN}")
        return _Record(position, image_id, annotation_id, score, box, keypoints, encoded, part)

    def _pixels(self, record: _Record, affine: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
        """Write a crop into `out`; raises `DataError` for what cannot be decoded."""
        form = self.reader.manifest.form
        try:
            if form is not None and record.part is not None:
                pixels = crops.decoded(record.encoded, form, record.part)
                crops.crop(pixels, record.part, form.reach, affine, out)
                return
            image = decode(record.encoded)
            if image is None:
                raise ValueError("the image cannot be decoded")
            augment.warp(image, affine, self.height, self.width, out)
        except ValueError as error:
            replaced = "" if form else "replace it and "
            where = f"{self.reader.where(record.position)} (image {record.image_id})"
            raise DataError(f"{where}: {error}; {replaced}{CONVERT_AGAIN}") from None


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
        ConfigError: crop records that were made for another size or a narrower augmentation.
    """
    import tensorflow as tf

    if not isinstance(manifest, Manifest):
        manifest = read_manifest(manifest)
    check_reach(manifest, height, width, augmentation)
    cv2.setNumThreads(1)  # crops are small; parallel are the parts of batches
    reader = Reader(manifest)
    reader.together(SHUFFLE_WINDOW if shuffle else 0)
    load = _Loader(reader, height, width, augmentation, seed, metadata)
    fields = load.fields()
    count = manifest.examples // batch if drop_remainder else -(-manifest.examples // batch)
    parts = -(-batch // _PART)
    part = -(-batch // parts)

    def positions(epoch: np.int64) -> NDArray[np.int64]:
        """(batches, parts, records of a part); behind a batch there may be padding that no element holds."""
        every = order(manifest.shards, seed, int(epoch)) if shuffle else np.arange(manifest.examples, dtype=np.int64)
        reader.follow(every[initial_batch * batch if epoch == initial_epoch else 0 :])
        listed = np.full(count * batch, PADDING)
        listed[: len(every)] = every[: len(listed)]
        batches = np.full((count, parts * part), PADDING)
        batches[:, :batch] = listed.reshape(count, batch)
        return batches[initial_batch if epoch == initial_epoch else 0 :].reshape(-1, part)

    def one_epoch(epoch: "tf.Tensor") -> "tf.data.Dataset":
        # stateful=False: otherwise deterministic ops would run such maps one at a time
        listed = tf.numpy_function(positions, [epoch], tf.int64, stateful=False)
        numbered = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(listed, (None, part)))
        return numbered.map(lambda some: (epoch, some))

    def one_part(epoch: "tf.Tensor", some: "tf.Tensor") -> Any:
        types = [*(dtype for dtype, _ in fields.values()), tf.string]
        *values, problem = tf.numpy_function(load, [epoch, some], types, stateful=False)
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, ""), [problem])]):
            values = [tf.identity(value) for value in values]
        return tuple(
            tf.ensure_shape(value, (part, *shape)) for value, (_, shape) in zip(values, fields.values(), strict=True)
        )

    def joined(*values: "tf.Tensor") -> tuple["tf.Tensor", ...]:
        return tuple(tf.reshape(value, (parts * part, *value.shape[2:]))[:batch] for value in values)

    def named(*values: "tf.Tensor") -> dict[str, "tf.Tensor"]:
        return dict(zip(fields, values, strict=True))

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    batches = tf.data.Dataset.range(initial_epoch, epochs).flat_map(one_epoch).map(one_part, num_parallel_calls=threads)
    if parts > 1:
        batches = batches.batch(parts, drop_remainder=True).map(joined)
    if metadata:
        batches = batches.map(named)
    return (
        batches.prefetch(2)
        .apply(tf.data.experimental.assert_cardinality(count * max(0, epochs - initial_epoch) - initial_batch))
        .with_options(options)
    )


@contextmanager
def readable_errors() -> Iterator[None]:
    """Raise what the reader found wrong inside a `tf.data` pipeline as the `EvoPoseError` that it was."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        known: dict[str, type[EvoPoseError]] = {
            kind.__name__: kind for kind in (ArtifactError, ConfigError, DataError, StorageError)
        }
        # The text of a failed tf.debugging.Assert, in which quotation marks are escaped.
        found = re.search(rf"\[({'|'.join(known)}): (.*)\]", str(error))
        if found is None:
            raise
        raise known[found[1]](re.sub(r"\\(.)", r"\1", found[2])) from None
