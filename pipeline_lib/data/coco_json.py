"""COCO files as JSON: how they are read, and what their values are."""

import json
import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline_lib.artifacts import UTF_8
from pipeline_lib.errors import DataError
from pipeline_lib.remote import Place

PERSON = 1  # COCO's category id

LARGEST = 1e9
"""Pixels: no coordinate, side or area of an image is larger."""

A_PATH_BELOW = "a path below the folder of images"

_IDS = 2**63

Box = tuple[float, float, float, float]


def parse(path: Place) -> Any:
    """The content of a JSON file of the data set; raises `DataError`."""
    try:
        return json.loads(path.read_text(encoding=UTF_8))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: no such file; correct the path in the data set's configuration") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not JSON in UTF-8 ({error}); save it in UTF-8, or download or unpack it again"
        ) from None
    except (ValueError, RecursionError) as error:  # RecursionError: brackets by the thousand
        raise DataError(f"{path}: not JSON ({error}); download or unpack it again") from None


def read(path: Place) -> dict[str, Any]:
    """The content of a COCO file; raises `DataError` when it is none."""
    content = parse(path)
    if not isinstance(content, dict) or "images" not in content:
        raise DataError(
            f"{path}: not a COCO file: an object with `images` and `annotations` is expected; correct its path, or get it again"
        )
    return content


def entries(content: Mapping[str, Any], key: str, path: Place) -> list[Any]:
    """The list `key` of a COCO file; raises `DataError`."""
    found = content.get(key)
    if not isinstance(found, list):
        raise DataError(f"{path}: not a COCO keypoint file: `{key}` must be a list; give person_keypoints_*.json")
    return found


def results(path: Place) -> list[Any]:
    """The entries of a detection file; raises `DataError`."""
    content = parse(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: a JSON list of detections is expected, not an object; give a COCO results file")
    return content


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and not `true`; numbers beyond `LARGEST` are none here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def integer(entry: Any, key: str) -> int | None:
    """The integer `key` of an entry, such as an id; None for anything else."""
    value: Any = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_as_float(value)):
        return None
    return int(value) if value == int(value) and -_IDS <= value < _IDS else None


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def integer_of(entry: Any, key: str, where: str) -> int:
    """The integer `key` of an entry; raises `DataError` naming `where` it is."""
    found = integer(entry, key)
    if found is None:
        raise DataError(f"{where}: {not_an_integer(entry, key)}")
    return found


def not_an_integer(entry: Any, key: str) -> str:
    """What is wrong with the value `key` of an entry that is to be an integer."""
    given = entry.get(key) if isinstance(entry, dict) else None
    return f"{key} is {shown(given)}; an integer is expected, as in COCO files"


def is_below(name: str) -> bool:
    """Whether a file_name is a path below the folder of images: neither absolute, nor one that leads out of it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def image_path(folder: Place, entry: Mapping[str, Any], where: str) -> Place:
    """The file of an entry of `images`; raises `DataError` for one that is not below their `folder`."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not name or not is_below(name):
        raise DataError(f"{where}: file_name is {shown(name)}; {A_PATH_BELOW} is expected")
    return folder / name


def box(entry: Mapping[str, Any]) -> Box | None:
    """The bbox of an entry; None for what is none."""
    values = entry.get("bbox")
    if not isinstance(values, list) or len(values) != 4 or not all(map(is_number, values)) or min(values[2:]) < 0:
        return None
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height


def within(box: Box, height: int, width: int) -> Box | None:
    """The part of `box` (x, y, w, h) within an image, from pixel centre to pixel centre; None when nothing is left.

    A box one pixel wide comes out with width 0, and one that begins outside keeps its length, as in the released program.
    """
    x, y, w, h = box
    if min(x + w, y + h) < 0:
        return None
    left, top = max(0.0, x), max(0.0, y)
    right = min(width - 1.0, left + max(0.0, w - 1))
    bottom = min(height - 1.0, top + max(0.0, h - 1))
    return (left, top, right - left, bottom - top) if right >= left and bottom >= top else None


def shown(value: Any, length: int = 60) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
