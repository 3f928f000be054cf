"""Crop records: the part of an image that the crops of a training can reach, resized once.

Scale 1 of a record is the crop itself, pixel for pixel: an unturned crop of scale 1 is a part of the record, and so is its
mirror image. Turned and scaled crops are warped out of it.

The part is exact for a `Reach`. A crop of scale s, turned by r, shows the points c + s R(r) d around the centre c of the box,
d being the offsets of its pixels in crop pixels of scale 1. They form a rectangle that holds 0, so that a smaller scale
reaches nothing that the largest one does not, and only the rectangle's corners count: a corner of radius p whose direction is the
angle a away from an axis reaches p cos(max(0, a - largest rotation)) along it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.config import Reach
from pipeline_lib.data import augment
from pipeline_lib.data.images import decode

Encoding = Literal["jpeg", "raw"]

MARGIN = 1
"""Pixels around what scaled or turned crops reach: interpolation takes a share of the neighbours."""


@dataclass(frozen=True)
class Form:
    """What crop records are made for, and how their pixels are stored; `quality`: of JPEGs."""

    reach: Reach
    encoding: Encoding
    quality: int | None

    def content(self) -> dict[str, Any]:
        """As it is written into the manifest."""
        return {"reach": self.reach.model_dump(), "encoding": self.encoding, "quality": self.quality}


def form(content: Mapping[str, Any]) -> Form:
    """What `Form.content` gave; raises `KeyError` or `ValueError` for something else."""
    if content["encoding"] not in get_args(Encoding):
        raise ValueError(f"encoding {content['encoding']}")
    return Form(Reach.model_validate(content["reach"]), content["encoding"], content["quality"])


@dataclass(frozen=True)
class Region:
    """The size of a record, and where in it the crop of scale 1 begins, all in pixels."""

    height: int
    width: int
    top: int
    left: int


@lru_cache(maxsize=32)
def region(reach: Reach) -> Region:
    """The part of an image that crops within `reach` can show, in pixels of a crop of scale 1."""
    rows, columns = (-(reach.height / 2), reach.height / 2 - 1), (-(reach.width / 2), reach.width / 2 - 1)
    if reach.scale == 1 and reach.rotation == 0:
        return Region(reach.height, reach.width, 0, 0)
    turn = math.radians(reach.rotation)

    def extent(axis: float) -> float:
        """How far the corners come along the direction `axis`, an angle in radians."""
        away = (abs(math.remainder(math.atan2(y, x) - axis, 2 * math.pi)) for y in rows for x in columns)
        lengths = (math.hypot(x, y) for y in rows for x in columns)
        return reach.scale * max(p * math.cos(max(0.0, a - turn)) for p, a in zip(lengths, away, strict=True))

    right, down, left, up = (extent(quarter * math.pi / 2) for quarter in range(4))
    before = [math.ceil(far - side / 2) + MARGIN for far, side in ((up, reach.height), (left, reach.width))]
    last = [math.ceil(far + side / 2) + MARGIN for far, side in ((down, reach.height), (right, reach.width))]
    return Region(before[0] + last[0] + 1, before[1] + last[1] + 1, *before)


def cut(image: NDArray[np.uint8], box: ArrayLike, reach: Reach) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The record of the person in `box` of an RGB `image`, surrounded by the mean colour; and the 2x3 matrix from image to record."""
    part = region(reach)
    affine = augment.crop_affine(box, reach.height, reach.width)
    affine[:, 2] += part.left, part.top
    return augment.warp(image, affine, part.height, part.width), affine


def crop(record: NDArray[np.uint8], reach: Reach, draw: augment.Draw) -> NDArray[np.uint8]:
    """The crop with the changes `draw` (within `reach`) out of a record's RGB pixels."""
    part, height, width = region(reach), reach.height, reach.width
    if draw.scale == 1 and draw.rotation == 0:
        plain = record[part.top : part.top + height, part.left : part.left + width]
        return np.asarray(cv2.flip(plain, 1), np.uint8) if draw.flip else plain
    # In the record, the person's box is one whose crop of scale 1 changes no pixel's size.
    size = np.array([width, height]) / augment.BOX_MARGIN
    box = [*(part.left + width / 2, part.top + height / 2) - size / 2, *size]
    affine = augment.crop_affine(box, height, width, draw.scale, draw.rotation, draw.flip)
    # OpenCV warps four channels in less than half of the time of three.
    padded = augment.warp(cv2.cvtColor(record, cv2.COLOR_RGB2RGBA), affine, height, width)
    return np.asarray(cv2.cvtColor(padded, cv2.COLOR_RGBA2RGB), np.uint8)


def encode(pixels: NDArray[np.uint8], form: Form) -> bytes:
    """RGB pixels as the bytes of a record: a JPEG, or row by row as they are."""
    if form.encoding == "raw" or form.quality is None:
        return pixels.tobytes()
    # Full colour resolution: its loss at a crop's size would be greater than all others together.
    how = [cv2.IMWRITE_JPEG_QUALITY, form.quality]
    how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), how)
    return bytes(encoded.tobytes())


def decoded(content: NDArray[np.uint8], form: Form) -> NDArray[np.uint8]:
    """The RGB pixels of a record's bytes; raises `ValueError` that says what is wrong with them."""
    part = region(form.reach)
    shape = part.height, part.width, 3
    if form.encoding == "raw":
        if content.size != math.prod(shape):
            raise ValueError(f"the crop has {content.size} bytes, {math.prod(shape)} are expected")
        return content.reshape(shape)
    pixels = decode(content)
    if pixels is None:
        raise ValueError("the crop cannot be decoded")
    if pixels.shape != shape:
        raise ValueError(f"the crop has {pixels.shape[0]}x{pixels.shape[1]} pixels, {shape[0]}x{shape[1]} are expected")
    return pixels
