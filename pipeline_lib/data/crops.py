"""Crop records: the part of an image that the crops of a training can reach, at the image's own resolution.

Crops are warped out of it as they are out of whole images, so that both have the same pixels. A person who is much larger
than the crop (`Form.resolution`) is reduced first, and interpolated twice, since most of the pixels are not needed. Where crops are neither
scaled nor turned, the record is the crop itself.

The part is exact for a `Reach`. A crop of scale s, turned by r, shows the points c + s R(r) d around the centre c of the box,
d being the offsets of its pixels in crop pixels of scale 1. They form a rectangle that holds 0, so that a smaller scale
reaches nothing that the largest one does not, and only the rectangle's corners count: a corner of radius p whose direction is the
angle a away from an axis reaches p cos(max(0, a - largest rotation)) along it.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from pipeline_lib.config import ConversionSettings, Reach
from pipeline_lib.data import augment
from pipeline_lib.data.images import decode

QUALITY_FINAL, QUALITY_PART = 96, 92
"""Of JPEGs: their loss stays below 2 of 255 levels in the mean for pictures of nothing but grain, in crops and in what is warped."""


class Form(BaseModel):
    """What crop records are made for, and how their pixels are stored, as it is written into the manifest.

    Attributes:
        reach: the crops that they can show.
        encoding: of the pixels.
        quality: of JPEGs.
        resolution: pixels to one of a crop of scale 1, at most, along each axis.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    reach: Reach
    encoding: Literal["jpeg", "raw"]
    quality: int | None
    resolution: float


def wanted(conversion: ConversionSettings, reach: Reach) -> Form:
    """The form of crop records for `reach` that a configuration asks for."""
    quality = conversion.jpeg_quality or (QUALITY_FINAL if reach.is_final else QUALITY_PART)
    return Form(
        reach=reach,
        encoding=conversion.crop_encoding,
        quality=quality if conversion.crop_encoding == "jpeg" else None,
        resolution=1.0 if reach.is_final else conversion.crop_resolution,
    )


@lru_cache(maxsize=32)
def extent(reach: Reach) -> tuple[float, float, float, float]:
    """How far crops within `reach` show to the left, above, to the right and below of the box's centre, in crop pixels of scale 1."""
    rows, columns = (-(reach.height / 2), reach.height / 2 - 1), (-(reach.width / 2), reach.width / 2 - 1)
    turn = math.radians(reach.rotation)

    def along(axis: float) -> float:
        """How far the corners come along the direction `axis`, an angle in radians."""
        away = (abs(math.remainder(math.atan2(y, x) - axis, 2 * math.pi)) for y in rows for x in columns)
        lengths = (math.hypot(x, y) for y in rows for x in columns)
        return reach.scale * max(p * math.cos(max(0.0, a - turn)) for p, a in zip(lengths, away, strict=True))

    right, below, left, above = (along(quarter * math.pi / 2) for quarter in range(4))
    return left, above, right, below


@dataclass(frozen=True)
class Part:
    """The size of a record in pixels, and the 2x3 matrix `back` from its pixels to the image's."""

    height: int
    width: int
    back: NDArray[np.float64]

    def features(self) -> dict[str, NDArray[Any]]:
        """As it is written beside the pixels."""
        return {"affine": self.back, "size": np.array([self.height, self.width], np.int64)}


def stored(features: Mapping[str, Any]) -> Part:
    """What `Part.features` gave; raises `LookupError`, `ValueError`, `TypeError` or `AttributeError` for something else."""
    height, width = map(operator.index, features["size"])
    back = features["affine"].reshape(2, 3).astype(np.float64)
    a, b, _, c, d, _ = numbers = back.ravel().tolist()
    if min(height, width) < 1 or a * d == b * c or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a part of {height}x{width} pixels whose matrix is {numbers}")
    return Part(height, width, back)


def part(box: ArrayLike, height: int, width: int, form: Form) -> Part:
    """What is stored of the person in `box` of an image of `height` x `width`."""
    reach = form.reach
    affine = augment.crop_affine(box, reach.height, reach.width)
    if reach.is_final:
        return Part(reach.height, reach.width, augment.inverse(affine))
    zoom = float(affine[0, 0])
    scale = min(1.0, form.resolution * zoom)
    x, y = (np.array([reach.width, reach.height]) / 2 - affine[:, 2]) * scale / zoom
    left, above, right, below = (far * scale / zoom for far in extent(reach))
    columns = augment.window(x - left, x + right, math.ceil(scale * (width - 1)) + 1)
    rows = augment.window(y - above, y + below, math.ceil(scale * (height - 1)) + 1)
    back = np.array([[1, 0, columns.start], [0, 1, rows.start]]) / scale
    return Part(rows.stop - rows.start, columns.stop - columns.start, back)


def cut(image: NDArray[np.uint8], box: ArrayLike, form: Form) -> tuple[NDArray[np.uint8], Part]:
    """The record of the person in `box` of an RGB `image`."""
    height, width, _ = image.shape
    made = part(box, height, width, form)
    return augment.warp(image, augment.inverse(made.back), made.height, made.width), made


def crop(
    record: NDArray[np.uint8],
    part: Part,
    reach: Reach,
    affine: NDArray[np.float64],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The crop to which `affine`, within `reach`, leads from the image, out of a record's RGB pixels, as `augment.warp` gives it."""
    if not reach.is_final:
        return augment.warp(record, augment.after(affine, part.back), reach.height, reach.width, out)
    if affine[0, 0] < 0:
        return np.asarray(cv2.flip(record, 1, dst=out), np.uint8)
    if out is None:
        return record
    out[:] = record
    return out


def encode(pixels: NDArray[np.uint8], form: Form) -> bytes:
    """RGB pixels as the bytes of a record: a JPEG, or row by row as they are."""
    if form.encoding == "raw" or form.quality is None:
        return pixels.tobytes()
    # Most images have half of the colour's resolution. At that of a final crop, this loss would be greater than all others together.
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if form.reach.is_final else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    how = [cv2.IMWRITE_JPEG_QUALITY, form.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), how)
    return bytes(encoded.tobytes())


def decoded(content: NDArray[np.uint8], form: Form, part: Part) -> NDArray[np.uint8]:
    """The RGB pixels of a record's bytes; raises `ValueError` that says what is wrong with them."""
    shape = (form.reach.height, form.reach.width, 3) if form.reach.is_final else (part.height, part.width, 3)
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
