"""A result list with better keypoints: each person is cropped by its pose and seen by a refiner (PoseFix)."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.config import EvaluationConfig, KeypointSchema
from pipeline_lib.data import augment
from pipeline_lib.data.images import read
from pipeline_lib.data.refinement import extent
from pipeline_lib.errors import ArtifactError
from pipeline_lib.evaluate.flip import mirror
from pipeline_lib.evaluate.predict import PROGRESS_SECONDS, to_image
from pipeline_lib.remote import Place

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

EXTENT = 1.2
"""Of a pose's box, before it gets the shape of the input and its margin."""

DEGENERATE = 20.0
"""Pixels of a side of the box of a pose without extent along it."""

IMAGES_AHEAD = 4
"""Images for each thread whose people are cropped ahead."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Item = TypeVar("Item")
Refiner = Callable[[Pixels, NDArray[np.float32]], NDArray[np.floating]]


class Crop(NamedTuple):
    """A person to be refined: place in the result list, pixels (H, W, 3), pose (K, 3) in them, matrix to the image (2, 3)."""

    place: int
    image: Pixels
    pose: NDArray[np.float32]
    inverse: Floats


def pose_box(pose: Floats) -> Floats:
    """The box [x, y, w, h] of a pose (K, 3): 1.2 times the extent of the keypoints with a score above 0, about its centre.

    Where there are none, of all keypoints. A side without extent is 20 pixels long.
    """
    valid = pose[:, 2] > 0
    box = extent(pose[valid if valid.any() else slice(None), :2])
    centre, size = box[:2] + box[2:] / 2, EXTENT * box[2:]
    size = np.where(size > 0, size, DEGENERATE)
    return np.concatenate([centre - size / 2, size])


def on_crops(network: "keras.Model", sigma: float) -> Refiner:
    """`network` as a compiled function of uint8 crops (N, H, W, 3) and poses (N, K, 3): keypoints (N, K, 2) in crop pixels."""
    import keras

    from pipeline_lib.nets.maps import refiner_input, soft_argmax

    height, width = network.input_shape[1:3]
    crops = keras.Input((height, width, 3), dtype="uint8", name="crops")
    poses = keras.Input((network.output_shape[-1], 3), dtype="float32", name="poses")
    points = soft_argmax(network(refiner_input(crops, poses, sigma)), (height, width))
    model = keras.Model([crops, poses], points)
    model.compile(jit_compile=False)  # on a CPU, XLA is slower; a TPU compiles anyway
    return lambda image, pose: model.predict_on_batch([image, pose])


def refine(
    refiner: Refiner,
    results: Sequence[Mapping[str, Any]],
    images: Mapping[int, Place],
    *,
    size: tuple[int, int],
    schema: KeypointSchema,
    settings: EvaluationConfig,
    upright: Collection[int] = (),
) -> list[dict[str, Any]]:
    """The result list with refined coordinates; all else, scores included, stays.

    Args:
        refiner: crops and poses to keypoints, as of `on_crops`.
        results: a COCO result list.
        images: {image id: its file}.
        size: (height, width) of the refiner's input.
        schema: the keypoints of the results.
        settings: batch, threads, and whether coordinates are averaged with those of the mirrored crop.
        upright: the images that are turned as their EXIF orientation says.

    Raises:
        ArtifactError: a result with other keypoints, or of an image that is not among `images`.
        DataError: an image that cannot be read.
    """
    refined = [dict(result) for result in results]
    started = reported = time.monotonic()
    done = 0
    crops = _crops(results, images, upright, size, schema, settings.cpu_threads)
    for batch in _parts(crops, settings.batch):
        # Every batch has the same size, or else the last one would be compiled anew.
        padded = [*batch, *[batch[-1]] * (settings.batch - len(batch))]
        image, pose = np.stack([crop.image for crop in padded]), np.stack([crop.pose for crop in padded])
        points = _points(refiner, image, pose, schema, settings)
        found = to_image(points, np.stack([crop.inverse for crop in padded]))
        for crop, person in zip(batch, found, strict=False):
            keypoints = np.reshape(np.asarray(refined[crop.place]["keypoints"], np.float64), (-1, 3))
            refined[crop.place]["keypoints"] = np.column_stack([person, keypoints[:, 2]]).reshape(-1).tolist()
        done += len(batch)
        now = time.monotonic()
        if now - reported >= PROGRESS_SECONDS:
            reported = now
            rate = done / (now - started)
            log.info("refined %d of %d people, %.0f s left", done, len(results), (len(results) - done) / rate)
    log.info("refined %d people in %.1f s", done, time.monotonic() - started)
    return refined


def _points(
    refiner: Refiner,
    image: Pixels,
    pose: NDArray[np.float32],
    schema: KeypointSchema,
    settings: EvaluationConfig,
) -> Floats:
    """Keypoints (N, K, 2) in crop pixels."""
    points = np.asarray(refiner(image, pose), np.float64)
    if settings.flip_test == "off":
        return points
    # Coordinates need no alignment: training has seen plain mirror images with coordinates mirrored alike.
    order, last = list(schema.flip_permutation()), image.shape[2] - 1
    other = pose[:, order].copy()
    other[..., 0] = np.where(other[..., 2] > 0, last - other[..., 0], 0)
    back = np.array(refiner(mirror(image, 1, augment.MEAN_COLOUR), other), np.float64)[:, order]
    back[..., 0] = last - back[..., 0]
    return (points + back) / 2


def _crops(
    results: Sequence[Mapping[str, Any]],
    images: Mapping[int, Place],
    upright: Collection[int],
    size: tuple[int, int],
    schema: KeypointSchema,
    threads: int,
) -> Iterator[Crop]:
    """The people of the results, image by image; each image is read once."""
    people: dict[int, list[tuple[int, Floats]]] = {}
    for place, result in enumerate(results):
        keypoints = np.asarray(result["keypoints"], np.float64)
        if keypoints.size != 3 * len(schema.names):
            raise ArtifactError(
                f"result {place}: {keypoints.size} keypoint numbers, 3 for each of {len(schema.names)} keypoints are "
                "expected; refine with the keypoints of the network's data set"
            )
        people.setdefault(result["image_id"], []).append((place, keypoints.reshape(-1, 3)))
    if unknown := [image_id for image_id in people if image_id not in images]:
        raise ArtifactError(
            f"result {people[unknown[0]][0][0]}: image {unknown[0]} is not among the {len(images)} annotated images; "
            "refine with the annotations of the split that was predicted"
        )

    def load(item: tuple[int, list[tuple[int, Floats]]]) -> list[Crop]:
        image_id, poses = item
        pixels = read(images[image_id], image_id in upright)
        return [_crop(place, pixels, pose, size, schema) for place, pose in poses]

    with ThreadPoolExecutor(threads) as pool:
        for part in _parts(people.items(), IMAGES_AHEAD * threads):
            yield from chain.from_iterable(pool.map(load, part))


def _parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one of what is left."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _crop(place: int, pixels: Pixels, pose: Floats, size: tuple[int, int], schema: KeypointSchema) -> Crop:
    image, moved, affine = augment.crop(pixels, pose.astype(np.float32), pose_box(pose), *size, schema)
    moved[:, 2] = pose[:, 2] > 0
    moved[moved[:, 2] == 0] = 0
    return Crop(place, image, moved, augment.inverse(affine))
