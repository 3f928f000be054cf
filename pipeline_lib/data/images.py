"""Image files, decoded in one way by conversion and training, so that what passes the one cannot stop the other."""

import io

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

_SMALLEST = 8
"""JPEG can be decoded at an eighth of its size, which reads all of its data at little cost."""


def decode(encoded: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """RGB pixels as they are stored: grey-scale images get three channels, an EXIF orientation is not applied.

    None when it cannot be decoded. Whether a file that was cut short can be depends on OpenCV's version: see `check`.
    """
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def check(content: bytes) -> tuple[int, int]:
    """(height, width) of an image file that is whole; raises `OSError` or `ValueError` that says what is wrong with it."""
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            size = image.height, image.width
            # OpenCV 4 fills the rest of a cut JPEG with grey, and only prints that. Other formats have no such reading.
            if image.format == "JPEG":
                image.draft(None, (max(1, image.width // _SMALLEST), max(1, image.height // _SMALLEST)))
                image.load()
    except (SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    pixels = decode(np.frombuffer(content, np.uint8))
    if pixels is None:
        raise ValueError("its pixels cannot be decoded")
    if pixels.shape[:2] != size:
        raise ValueError(f"decoded to {pixels.shape[0]}x{pixels.shape[1]} pixels, its header says {size[0]}x{size[1]}")
    return size
