"""Crops of persons and their random changes, in NumPy and OpenCV.

Pixel centres have integer coordinates. The centre of a person's box falls on (width / 2, height / 2) of the crop, without
a half-pixel term; mirrored crops are exact mirror images, x -> width - 1 - x (as in the published program).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.config import Augmentation, KeypointSchema

MEAN_COLOUR = (124, 116, 104)
"""What surrounds an image: ImageNet's mean in RGB, so that padding is 0 after normalisation."""

MARGIN = 1
"""Pixels around the points of a crop that count as seen: coordinates are rounded."""

BOX_MARGIN = 1.25
HALF_BODY_MARGIN = 1.5
HALF_BODY_FEWEST = 3
"""A half-body crop needs this many labelled joints in its half."""

Half = Literal["upper", "lower"]
_AUGMENTATION_STREAM = 1


class Draw(NamedTuple):
    """The random changes of one crop; the defaults change nothing.

    Attributes:
        flip: mirrored left to right.
        scale: of the region that is seen; above 1 the person becomes smaller.
        rotation: degrees by which the picture turns clockwise.
        half: which half of the body the crop is of, if the person has enough labelled joints.
    """

    flip: bool = False
    scale: float = 1.0
    rotation: float = 0.0
    half: Half | None = None


UNCHANGED = Draw()


def generator(*address: int) -> np.random.Generator:
    """The random stream of an address of non-negative integers; equal addresses have equal streams."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(address)))


def sample(augmentation: Augmentation, seed: int, epoch: int, index: int) -> Draw:
    """Draw the changes of record `index` in `epoch`: they depend on (seed, epoch, index) and nothing else.

    Scale is normal around 1, rotation normal around 0, both clipped (paper, section V-B, with the published program's details).
    """
    rng = generator(seed, _AUGMENTATION_STREAM, epoch, index)
    # All numbers are drawn, whatever is switched on: one setting does not change the draws of another.
    flip, rotates, halves, upper = rng.random(4)
    scale, rotation = rng.standard_normal(2)
    return Draw(
        flip=bool(flip < augmentation.flip),
        scale=1 + _clipped(float(scale) * augmentation.scale_std, augmentation.scale_limit),
        rotation=_clipped(float(rotation) * augmentation.rotation_std, augmentation.rotation_limit)
        if rotates < augmentation.rotation_probability
        else 0.0,
        half=("upper" if upper < 0.5 else "lower") if halves < augmentation.half_body_probability else None,
    )


def _clipped(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))  # NumPy's clip takes as long as the draw


def crop_affine(
    box: ArrayLike, height: int, width: int, scale: float = 1.0, rotation: float = 0.0, flip: bool = False
) -> NDArray[np.float64]:
    """The 2x3 matrix that maps image pixels (x, y) to pixels of a crop of `height` x `width`.

    The region is the box [x, y, w, h], extended to the crop's aspect ratio, times 1.25 and `scale`, turned by `rotation`
    degrees (the picture turns clockwise), then mirrored if `flip`. A box without area is treated as one of one pixel.
    """
    return crop_affines(np.asarray(box, np.float64)[None], height, width, [Draw(flip, scale, rotation)])[0]


def crop_affines(boxes: NDArray[np.floating], height: int, width: int, draws: Sequence[Draw]) -> NDArray[np.float64]:
    """The matrices (N, 2, 3) of `crop_affine` of N boxes (N, 4)."""
    x, y, w, h = np.asarray(boxes, np.float64).T
    scale, rotation = np.array([[draw.scale, draw.rotation] for draw in draws]).T
    flip = np.array([draw.flip for draw in draws])
    zoom = height / (BOX_MARGIN * scale * np.maximum(np.maximum(h, w * height / width), 1))
    turn = np.radians(rotation)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    centre_x, centre_y = x + w / 2, y + h / 2
    mirror = np.where(flip, -1, 1)
    affines = np.empty((len(draws), 2, 3))
    affines[:, 0, 0], affines[:, 0, 1] = mirror * cos, -mirror * sin
    affines[:, 1, 0], affines[:, 1, 1] = sin, cos
    affines[:, 0, 2] = mirror * (width / 2 - (cos * centre_x - sin * centre_y)) + flip * (width - 1)
    affines[:, 1, 2] = height / 2 - (sin * centre_x + cos * centre_y)
    return affines


def apply(affine: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map points (..., 2) of x, y by a 2x3 matrix, or points (N, ..., 2) by N of them."""
    return np.asarray(points @ np.swapaxes(affine[..., :2], -1, -2) + affine[..., None, :, 2], np.float64)


def inverse(affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """The 2x3 matrix that maps back, or N of them."""
    turn = np.linalg.inv(np.asarray(affine[..., :2], np.float64))
    return np.concatenate([turn, -turn @ affine[..., 2:]], axis=-1)


def after(second: NDArray[np.floating], first: NDArray[np.floating]) -> NDArray[np.float64]:
    """The 2x3 matrix that maps by `first`, then by `second`; N of them for N of both."""
    turn = np.asarray(second[..., :2], np.float64)
    return np.concatenate([turn @ first[..., :2], turn @ first[..., 2:] + second[..., 2:]], axis=-1)


def half_body_box(keypoints: NDArray[np.float32], schema: KeypointSchema, half: Half) -> NDArray[np.float64] | None:
    """The box [x, y, w, h] around the labelled joints of one half of the body, 1.5 times their extent about their mean.

    The other half is taken when this one has fewer than 3 labelled joints, and None returned when both have.
    """
    is_upper = np.isin(schema.names, schema.upper_body)
    labelled = keypoints[:, 2] > 0
    for wanted in (half, "lower" if half == "upper" else "upper"):
        joints = keypoints[labelled & (is_upper == (wanted == "upper")), :2].astype(np.float64)
        if len(joints) >= HALF_BODY_FEWEST:
            size = HALF_BODY_MARGIN * np.ptp(joints, axis=0)
            return np.concatenate([joints.mean(axis=0) - size / 2, size])
    return None


def crop(
    image: NDArray[np.uint8],
    keypoints: NDArray[np.float32],
    box: ArrayLike,
    height: int,
    width: int,
    schema: KeypointSchema,
    draw: Draw = UNCHANGED,
    half_body_joints: int = 0,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]]:
    """Cut a person out.

    Args:
        image: uint8 (h, w, 3), RGB.
        keypoints: float32 (K, 3) of x, y in image pixels and v.
        box: [x, y, w, h] of the person.
        height, width: of the crop.
        schema: left and right partners, and the joints of the upper half.
        draw: its random changes.
        half_body_joints: half-body crops are only for persons with more labelled joints than that.

    Returns:
        The uint8 crop (height, width, 3), surrounded by the mean colour; the keypoints in its pixels, partners
        exchanged if it is mirrored, v = 0 for those outside; the 2x3 matrix from image to crop.
    """
    moved, affines = place(
        np.asarray(keypoints)[None], np.asarray(box, np.float64)[None], height, width, schema, [draw], half_body_joints
    )
    return warp(image, affines[0], height, width), moved[0], affines[0]


def place(
    keypoints: NDArray[np.float32],
    boxes: NDArray[np.floating],
    height: int,
    width: int,
    schema: KeypointSchema,
    draws: Sequence[Draw],
    half_body_joints: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The keypoints (N, K, 3) and the matrices (N, 2, 3) of N crops (see `crop`), which need no pixel.

    For many persons at once: one by one, it took a quarter of what a record costs of Python's time.
    """
    boxes = np.array(boxes, np.float64)
    for row, draw in enumerate(draws):
        if draw.half and np.count_nonzero(keypoints[row, :, 2] > 0) > half_body_joints:
            found = half_body_box(keypoints[row], schema, draw.half)
            boxes[row] = boxes[row] if found is None else found
    affines = crop_affines(boxes, height, width, draws)
    flip = np.array([draw.flip for draw in draws])
    moved = np.where(flip[:, None, None], keypoints[:, _partners(schema)], keypoints)
    moved[..., :2] = apply(affines, moved[..., :2])
    x, y = moved[..., 0], moved[..., 1]
    moved[..., 2] *= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return moved, affines


def warp(
    image: NDArray[np.uint8],
    affine: NDArray[np.float64],
    height: int,
    width: int,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The pixels (height, width, 3) that the 2x3 matrix brings from an RGB `image`, interpolated, surrounded by the mean colour.

    They are written into `out`, if it is given.
    """
    # Every call of OpenCV gives Python's lock away and waits for it: the inverse is not worth one.
    (a, b, x), (c, d, y) = affine.tolist()
    size = a * d - b * c
    right, down = (width - 1) / size, (height - 1) / size
    left, top = (b * y - d * x) / size, (c * x - a * y) / size
    columns = window(
        left + min(0, d * right) + min(0, -b * down), left + max(0, d * right) + max(0, -b * down), image.shape[1]
    )
    rows = window(
        top + min(0, -c * right) + min(0, a * down), top + max(0, -c * right) + max(0, a * down), image.shape[0]
    )
    first, above = columns.start, rows.start
    into = np.array([[a, b, x + a * first + b * above], [c, d, y + c * first + d * above]])
    # OpenCV warps four channels in less than half of the time of three.
    pixels = cv2.warpAffine(
        cv2.cvtColor(image[rows, columns], cv2.COLOR_RGB2RGBA),
        into,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=MEAN_COLOUR,
    )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB, dst=out), np.uint8)


def window(low: float, high: float, size: int) -> slice:
    """The pixels of 0 .. `size` - 1, at least one, that interpolation between `low` and `high` takes a share of."""
    first, last = math.floor(low) - MARGIN, math.ceil(high) + MARGIN
    return slice(min(max(first, 0), size - 1), max(min(last, size - 1), 0) + 1)


@lru_cache(maxsize=8)
def _partners(schema: KeypointSchema) -> NDArray[np.intp]:
    return np.asarray(schema.flip_permutation(), np.intp)
