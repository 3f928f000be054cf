"""A shard of person records: the unit of work of a conversion, planned beforehand and written by any process.

A record (`tf.train.Example`) holds one person: image (the bytes of the image file, or of a crop), image_id, annotation_id (0: a
detection), box (x, y, w, h), keypoints (K x (x, y, v)), score (1: ground truth), height and width of the image; of a crop
also its size (height, width), and affine, the 2x3 matrix from its pixels to the image's.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib import buckets, remote
from pipeline_lib.artifacts import atomic_path, read_json, sha256, write_json
from pipeline_lib.data import crops
from pipeline_lib.data.coco import Person
from pipeline_lib.data.images import decode, digest, plain
from pipeline_lib.data.tfrecord import Feature, encode_example, write_record
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import VALIDATE_AGAIN, DataError, EvoPoseError
from pipeline_lib.remote import READERS, Place, Remote

PATTERN = "[0-9]*-of-[0-9]*.tfrecord"
DONE = ".done.json"


def plan(people: Sequence[Person], shard_size: int, folder: Place, verdict: Verdict) -> list[str]:
    """Write the plan of each shard of `shard_size` people (the last may have fewer) into `folder`; the shards' names.

    `verdict` says by which digest each image is known, and how it is read. Workers get a plan's path instead of its records, so that a runner's job description stays small.
    """
    parts = [people[start : start + shard_size] for start in range(0, len(people), shard_size)]
    names = [f"{number:05d}-of-{len(parts):05d}.tfrecord" for number in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        _write_json(
            folder / f"{name}.json",
            [
                {
                    "file_name": person.image.file_name,
                    "image_id": person.image.image_id,
                    "annotation_id": person.annotation_id,
                    "box": person.box,
                    "keypoints": person.keypoints,
                    "score": person.score,
                    "height": person.image.height,
                    "width": person.image.width,
                    "digest": verdict.digests[person.image.image_id],
                    "reading": verdict.rewritten.get(person.image.image_id),
                }
                for person in part
            ],
        )
    return names


def write_shard(name: str, plans: str, images: str, output: str, cropped: str = "") -> None:
    """Write the shard `name` into `output` and what came of it into `plans`; doing it twice changes nothing.

    `cropped` is the JSON text of a `crops.Form`; without one, records hold whole images.

    The outcome is a file, because not every Beam runner hands results back: {file, examples, bytes, sha256} or, for an
    image that cannot be used, {error}.
    """
    outcome: dict[str, Any]
    try:
        form = crops.Form.model_validate_json(cropped) if cropped else None
        outcome = _write(name, remote.place(plans), remote.place(images), remote.place(output), form)
    except EvoPoseError as error:
        outcome = {"error": str(error)}
    _write_json(remote.place(plans) / f"{name}{DONE}", outcome)


def read_outcome(path: Place) -> dict[str, Any]:
    """What came of a shard; raises `DataError` when that was an error, or nobody has written it."""
    if not path.is_file():
        raise DataError(
            f"{path.name.removesuffix(DONE)}: the runner ended without having written this shard; look at what its workers say, "
            "and run again"
        )
    outcome: dict[str, Any] = _read_json(path)
    if "error" in outcome:
        raise DataError(outcome["error"])
    return outcome


def _write(name: str, plans: Place, images: Place, output: Place, form: crops.Form | None) -> dict[str, Any]:
    rows = _read_json(plans / f"{name}.json")
    if isinstance(output, Path):
        return _write_file(output / name, rows, images, form)
    with tempfile.TemporaryDirectory(prefix="evopose-") as folder:
        outcome = _write_file(Path(folder) / name, rows, images, form)
        buckets.upload(Path(folder) / name, str(output / name))  # it is seen when it is complete
    return outcome


def _write_file(
    target: Path, rows: Sequence[Mapping[str, Any]], images: Place, form: crops.Form | None
) -> dict[str, Any]:
    path, content, pixels = None, b"", None
    contents = _contents(rows, images)
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        for row in rows:
            if row["file_name"] != path:  # the people of an image follow one another
                path, content = row["file_name"], next(contents)
                pixels = None if form is None else decode(np.frombuffer(content, np.uint8))
            features: dict[str, Feature] = {
                "image": content,
                **{key: np.array([row[key]], np.int64) for key in ("image_id", "annotation_id", "height", "width")},
                **{key: np.array(row[key], np.float32) for key in ("box", "keypoints", "score")},
            }
            if form is not None and pixels is not None:
                crop, part = crops.cut(pixels, np.asarray(features["box"]), form)
                features |= {"image": crops.encode(crop, form), **part.features()}
            write_record(stream, encode_example(features))
    return {"file": target.name, "examples": len(rows), "bytes": target.stat().st_size, "sha256": sha256(target)}


def _contents(rows: Sequence[Mapping[str, Any]], images: Place) -> Iterator[bytes]:
    """The bytes of the images of `rows`, each once in a run of rows; those of a bucket are read ahead."""
    firsts = [next(group) for _, group in groupby(rows, key=itemgetter("file_name"))]
    workers = READERS if isinstance(images, Remote) else 1
    return remote.ordered(
        lambda row: _read_image(images / row["file_name"], row["digest"], row["reading"]), firsts, workers
    )


def _read_json(path: Place) -> Any:
    return read_json(path) if isinstance(path, Path) else json.loads(path.read_text())


def _write_json(path: Place, value: Any) -> None:
    if isinstance(path, Path):
        write_json(path, value)
    else:
        path.write_text(json.dumps(value))


def _read_image(path: Place, known: int, reading: str | None) -> bytes:
    """The bytes of an image for its records: those of its file, or of a PNG where it is not read as it is.

    Every image was decoded by the validation; here it is known by its digest. Raises `DataError` when it is another one.
    """
    try:
        content = path.read_bytes()
        if digest(content) != known:
            raise ValueError("it has changed since it was validated")
        return content if reading is None else plain(content, upright=reading == "upright")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be used ({said}); {VALIDATE_AGAIN}") from None
