"""Image files: decoded in one way by conversion, training and everything that draws, and looked at before all of them.

So what passes the look cannot stop the others. The pixels are 8-bit RGB as they are stored: an EXIF orientation is not
applied, unless the data set's annotations are of the picture as it is shown.
"""

import io
import struct
from dataclasses import dataclass

import cv2
import google_crc32c
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from pipeline_lib.errors import DataError
from pipeline_lib.remote import Place

Pixels = NDArray[np.uint8]

_SMALLEST = 8
"""JPEG can be decoded at an eighth of its size, which reads all of its data at little cost."""

_JPEG = ("JPEG", "MPO")  # MPO: several JPEGs in a file, the first of which counts
_ORIENTATION = 0x0112
_UPRIGHT = 1
_TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations in which height and width change places."""


@dataclass(frozen=True)
class Look:
    """What an image file is.

    Attributes:
        kind: `empty_image`, `unreadable_image` or `truncated_image`; None of one that can be decoded.
        problem: what is wrong with it, in words.
        height, width: of the pixels as they are stored.
        orientation: EXIF's, 1 to 8; 1: they are shown as they are stored.
        traits: what it is among `cmyk_image`, `sixteen_bit_image`, `progressive_image`, `exif_rotated_image`.
        digest: CRC-32C of its bytes.
    """

    kind: str | None = None
    problem: str = ""
    height: int = 0
    width: int = 0
    orientation: int = _UPRIGHT
    traits: tuple[str, ...] = ()
    digest: int = 0

    def size(self, upright: bool) -> tuple[int, int]:
        """(height, width) of the pixels, as stored or as shown."""
        turned = upright and self.orientation in _TRANSPOSED
        return (self.width, self.height) if turned else (self.height, self.width)


def decode(encoded: Pixels) -> Pixels | None:
    """RGB pixels (H, W, 3) as they are stored: grey-scale, CMYK and 16-bit images become RGB of 8 bits, too.

    None when it cannot be decoded. Whether a file that was cut short can be depends on OpenCV's version: see `look`.
    """
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def look(content: bytes) -> Look:
    """What the bytes of an image file are; all of its pixels are decoded."""
    if not content:
        return Look("empty_image", "a file of zero bytes")
    try:
        image = PIL.Image.open(io.BytesIO(content))
    except PIL.UnidentifiedImageError:
        return Look("unreadable_image", "its bytes are no image")
    except (OSError, ValueError, SyntaxError, struct.error, PIL.Image.DecompressionBombError) as error:
        kind = "truncated_image" if "truncated" in str(error).lower() else "unreadable_image"  # cut in its header
        return Look(kind, str(error) or type(error).__name__)
    with image:
        height, width = image.height, image.width
        orientation = _orientation(image)
        traits = {
            "cmyk_image": image.mode == "CMYK",
            "sixteen_bit_image": _is_deep(image),
            "progressive_image": image.format in _JPEG and "progressive" in image.info,
            "exif_rotated_image": orientation != _UPRIGHT,
        }
        problem = _problem(image, content)
    if problem:
        return Look("truncated_image", problem)
    found = tuple(trait for trait, is_so in traits.items() if is_so)
    return Look(None, "", height, width, orientation, found, digest(content))


def _problem(image: PIL.Image.Image, content: bytes) -> str:
    """Why not all of an image can be decoded; nothing of one that can be."""
    size = image.height, image.width
    try:
        # OpenCV 4 fills the rest of a cut JPEG with grey, and only prints that. Other formats have no such reading.
        if image.format in _JPEG:
            image.draft(None, (max(1, image.width // _SMALLEST), max(1, image.height // _SMALLEST)))
            image.load()
    except (OSError, ValueError, SyntaxError, struct.error, PIL.Image.DecompressionBombError) as error:
        return str(error) or type(error).__name__
    pixels = decode(np.frombuffer(content, np.uint8))
    if pixels is None:
        return "its pixels cannot be decoded"
    if pixels.shape[:2] != size:
        return f"decoded to {pixels.shape[0]}x{pixels.shape[1]} pixels, its header says {size[0]}x{size[1]}"
    return ""


def _is_deep(image: PIL.Image.Image) -> bool:
    """Whether an image has more than 8 bits a channel; Pillow opens those of colour as if they had 8."""
    tiles = [tile[3] for tile in getattr(image, "tile", ())]  # how a part is decoded: RGB;16B, or that and numbers
    modes = [part for tile in tiles for part in (tile if isinstance(tile, tuple) else (tile,)) if isinstance(part, str)]
    return image.mode in ("I", "F") or any(";16" in mode for mode in (image.mode, *modes))


def _orientation(image: PIL.Image.Image) -> int:
    """EXIF's orientation. That of a TIFF is none of its EXIF's: it is applied by whatever opens it."""
    if "exif" not in image.info:
        return _UPRIGHT
    try:
        found = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except (OSError, ValueError, SyntaxError, struct.error, KeyError, TypeError):  # damaged EXIF says nothing
        return _UPRIGHT
    return found if found in range(1, 9) else _UPRIGHT


def digest(content: bytes) -> int:
    """CRC-32C of the bytes of a file: by it an image is known that was looked at before."""
    return int(google_crc32c.value(content))


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Stored pixels (H, W, 3) as an EXIF orientation has them shown."""
    if orientation in _TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def plain(content: bytes, upright: bool) -> bytes:
    """An image file as a PNG of the 8-bit RGB pixels that it is read as; `upright`: as its EXIF orientation has it shown.

    Raises `ValueError` when it cannot be decoded.
    """
    done, encoded = cv2.imencode(".png", cv2.cvtColor(_pixels(content, upright), cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError("its pixels cannot be encoded")
    return bytes(encoded.tobytes())


def read(path: Place, upright: bool = False) -> Pixels:
    """The RGB pixels (H, W, 3) of an image file, as it is stored or `upright`; raises `DataError`."""
    try:
        return _pixels(path.read_bytes(), upright)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(
            f"{path}: not readable as an image ({said}); put the images of the data set there, or download it again"
        ) from None


def _pixels(content: bytes, upright: bool) -> Pixels:
    pixels = decode(np.frombuffer(content, np.uint8)) if content else None
    if pixels is None:
        raise ValueError("its pixels cannot be decoded")
    if not upright:
        return pixels
    with PIL.Image.open(io.BytesIO(content)) as image:
        return turned(pixels, _orientation(image))
