"""Records with synthesised input poses: what a refiner is trained on."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.config import KeypointSchema
from pipeline_lib.data import augment, coco, pose_errors, records
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import ArtifactError

if TYPE_CHECKING:
    import tensorflow as tf

_ERROR_STREAM = 2
_ADDRESSES = 2**64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class People:
    """The annotated people of a split.

    Attributes:
        rows: {annotation id: row of the arrays}.
        labelled: float (M, K, 3) of x, y in image pixels and v, 0, 0, 0 where a keypoint is not labelled.
        known: the same with an estimate, and v = 1, where there is one of a keypoint that is not labelled.
        areas: float (M,), in image pixels.
        neighbours: of each person the rows of those in the image whose boxes overlap with its own.
    """

    rows: Mapping[int, int]
    labelled: Floats
    known: Floats
    areas: Floats
    neighbours: Sequence[NDArray[np.intp]]


def read_people(
    annotations: Path,
    schema: KeypointSchema,
    estimates: Iterable[Mapping[str, Any]] = (),
    verdict: Verdict | None = None,
) -> People:
    """The people of a COCO keypoint file who have labelled keypoints, as `verdict` leaves them (see `coco.ground_truth`).

    `estimates` is a COCO result list of the same images; a person's keypoints that are not labelled come from the
    estimate of the image whose extent overlaps most with its box, if any does. Raises `DataError`.
    """
    people = coco.ground_truth(annotations, schema, training=True, verdict=verdict).people
    labelled = np.array([person.keypoints for person in people], np.float64).reshape(-1, len(schema.names), 3)
    labelled *= labelled[..., 2:] > 0
    boxes = np.array([person.box for person in people], np.float64).reshape(-1, 4)
    members: dict[int, list[int]] = {}
    for row, person in enumerate(people):
        members.setdefault(person.image.image_id, []).append(row)
    estimated: dict[int, list[Floats]] = {}
    for estimate in estimates:
        pose = np.asarray(estimate["keypoints"], np.float64).reshape(-1, 3)
        if pose.shape != labelled.shape[1:]:
            raise ArtifactError(
                f"estimates of image {estimate['image_id']} have {len(pose)} keypoints, {annotations} has "
                f"{labelled.shape[1]}; predict with a network that was trained on this data set"
            )
        estimated.setdefault(estimate["image_id"], []).append(pose)
    known = labelled.copy()
    neighbours: list[NDArray[np.intp]] = [np.zeros(0, np.intp)] * len(people)
    for image_id, rows in members.items():
        own = np.array(rows, np.intp)
        overlaps = iou(boxes[own], boxes[own])
        np.fill_diagonal(overlaps, 0)
        for row, overlap in zip(rows, overlaps, strict=True):
            neighbours[row] = own[overlap >= pose_errors.NEIGHBOUR_IOU]
        if image_id in estimated:
            _fill(known[own], estimated[image_id], boxes[own], known, own)
    return People(
        rows={person.annotation_id: row for row, person in enumerate(people)},
        labelled=labelled,
        known=known,
        areas=np.array([person.area for person in people], np.float64),
        neighbours=neighbours,
    )


def _fill(poses: Floats, estimates: Sequence[Floats], boxes: Floats, known: Floats, rows: NDArray[np.intp]) -> None:
    """Write the estimates of an image into the rows of `known` where its people have no label."""
    extents = np.array([extent(pose[:, :2]) for pose in estimates])
    overlaps = iou(boxes, extents)
    for row, pose, overlap in zip(rows, poses, overlaps, strict=True):
        best = int(overlap.argmax())
        if overlap[best] > 0:
            missing = pose[:, 2] == 0
            known[row, missing] = np.column_stack([estimates[best][missing, :2], np.ones(missing.sum())])


def extent(points: ArrayLike) -> Floats:
    """The box [x, y, w, h] around points (K, 2)."""
    points = np.asarray(points, np.float64)
    low = points.min(axis=0)
    return np.concatenate([low, points.max(axis=0) - low])


def iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union (A, B) of boxes (A, 4) and (B, 4) of x, y, w, h; 0 where both have no area."""
    first, second = first[:, None], second[None]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(first[..., 2:], axis=-1) + np.prod(second[..., 2:], axis=-1) - common
    return common / np.where(union > 0, union, 1)


def synthesised(
    people: People, schema: KeypointSchema, annotation_id: int, inverse: ArrayLike, seed: int, epoch: int
) -> NDArray[np.float32] | None:
    """An input pose (K, 3) of x, y in crop pixels and v for the crop of a person; None of one who is not among `people`.

    `inverse` is the 2x3 matrix from crop to image. The errors depend on (seed, epoch, annotation id) and the crop alone.
    """
    row = people.rows.get(annotation_id)
    if row is None:
        return None
    affine = augment.inverse(np.asarray(inverse, np.float64))
    scale = float(np.linalg.det(affine[:, :2]))

    def moved(poses: Floats) -> Floats:
        places = np.concatenate([augment.apply(affine, poses[..., :2]), poses[..., 2:]], axis=-1)
        return places[..., list(schema.flip_permutation()), :] if scale < 0 else places

    pose = pose_errors.synthesise(
        moved(people.known[row]),
        moved(people.labelled[people.neighbours[row]]),
        people.areas[row] * abs(scale),
        schema,
        augment.generator(seed, _ERROR_STREAM, epoch, annotation_id % _ADDRESSES),
        labelled=int((people.labelled[row, :, 2] > 0).sum()),
    )
    return pose.astype(np.float32)


def dataset(
    manifest: str | os.PathLike[str] | records.Manifest,
    *,
    people: People,
    seed: int = 0,
    epochs: int = 1,
    initial_epoch: int = 0,
    initial_batch: int = 0,
    threads: int = 1,
    **options: Any,
) -> "tf.data.Dataset":
    """`data.records.dataset` with an input pose beside each crop: ((images, poses), keypoints, weight).

    Poses are float32 (B, K, 3) of x, y in crop pixels and v, all 0 for persons without labelled keypoints and padding.
    Other arguments and errors are those of `records.dataset`; a labelled person who is not among `people` is an error, too.
    """
    import tensorflow as tf

    if not isinstance(manifest, records.Manifest):
        manifest = records.read_manifest(manifest)
    schema, where = manifest.keypoints, manifest.path
    begun: dict[str, Any] = {"epochs": epochs, "initial_epoch": initial_epoch, "initial_batch": initial_batch}
    data = records.dataset(manifest, seed=seed, threads=threads, metadata=True, **begun, **options)
    steps = max(1, (int(data.cardinality()) + initial_batch) // max(1, epochs - initial_epoch))

    def poses(
        number: np.int64, ids: NDArray[np.int64], inverses: NDArray[np.float32], keypoints: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], bytes]:
        epoch = initial_epoch + (int(number) + initial_batch) // steps
        found = np.zeros(keypoints.shape, np.float32)
        for place, (identity, inverse) in enumerate(zip(ids, inverses, strict=True)):
            pose = synthesised(people, schema, int(identity), inverse, seed, epoch)
            if pose is not None:
                found[place] = pose
            elif (keypoints[place, :, 2] > 0).any():
                problem = (
                    f"{where}: its person {identity} is not in the annotations; name those that the records were made "
                    "from, or run the conversion again"
                )
                return found, f"{ArtifactError.__name__}: {problem}".encode()
        return found, b""

    def with_poses(number: "tf.Tensor", batch: Mapping[str, "tf.Tensor"]) -> Any:
        found, problem = tf.numpy_function(
            poses,
            [number, batch["annotation_id"], batch["inverse"], batch["keypoints"]],
            [tf.float32, tf.string],
            stateful=False,
        )
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, ""), [problem])]):
            found = tf.ensure_shape(tf.identity(found), batch["keypoints"].shape)
        return (batch["image"], found), batch["keypoints"], batch["weight"]

    return data.enumerate().map(with_poses, num_parallel_calls=threads, deterministic=True).prefetch(2)
