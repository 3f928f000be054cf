"""Result lists in the form that COCO's evaluation server takes: a zipped JSON file of a prescribed name."""

import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import atomic_path
from pipeline_lib.data.coco_json import PERSON
from pipeline_lib.errors import ConfigError, DataError

COUNTED = 20
"""People of an image that the server counts: those with the highest scores."""

DIGITS = 2
"""Decimals of a coordinate; a hundredth of a pixel changes no metric that is reported."""

VISIBLE = 1
"""What stands for a keypoint's v, which the server does not read."""

NAME = re.compile(r"person_keypoints_[A-Za-z0-9-]+_[A-Za-z0-9][A-Za-z0-9_.-]*_results\.zip")
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of the file in the archive, so that equal results make equal bytes."""


def submission(results: Sequence[Any], images: Iterable[int], keypoints: int) -> list[dict[str, Any]]:
    """COCO's results of `keypoints` keypoints a person, checked, rounded, and the best 20 people of each image only.

    Args:
        results: a COCO result list; its order is kept.
        images: ids of the images that may have results.
        keypoints: number of keypoints of a person.

    Raises:
        DataError: there are none, or one is not a person with finite numbers in an image of the list.
    """
    known = set(images)
    if not results:
        raise DataError("there are no results to submit; predict first")
    people = [_person(f"result {index}", result, known, keypoints) for index, result in enumerate(results)]
    by_image: dict[int, list[int]] = {}
    for index in sorted(range(len(people)), key=lambda index: -people[index]["score"]):  # stable: ties by index
        by_image.setdefault(people[index]["image_id"], []).append(index)
    kept = {index for indices in by_image.values() for index in indices[:COUNTED]}
    return [person for index, person in enumerate(people) if index in kept]


def write(path: Path, people: Sequence[Mapping[str, Any]]) -> None:
    """Write the archive `path`, atomically; equal people, equal bytes.

    Raises `ConfigError` unless it is named person_keypoints_<images>_<algorithm>_results.zip; the file in it is named
    alike. For the server, <images> is val2017 or test-dev2017.
    """
    if not NAME.fullmatch(path.name):
        raise ConfigError(
            f"{path}: the server expects a file person_keypoints_<images>_<algorithm>_results.zip; name it so"
        )
    entry = zipfile.ZipInfo(f"{path.stem}.json", EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, whatever this is, and readable by everybody there
    entry.external_attr = 0o644 << 16
    text = json.dumps(list(people), separators=(",", ":"), allow_nan=False)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(entry, text, compresslevel=9)


def _person(where: str, result: Any, images: set[int], keypoints: int) -> dict[str, Any]:
    if not isinstance(result, Mapping):
        raise DataError(f"{where}: {result!r} is no result; a list of COCO keypoint results is expected")
    if missing := sorted({"image_id", "category_id", "keypoints", "score"} - set(result)):
        raise DataError(f"{where}: {', '.join(missing)} missing; COCO keypoint results are expected")
    image, score, numbers = result["image_id"], result["score"], result["keypoints"]
    if not _is_integer(image) or image not in images:
        raise DataError(
            f"{where}: image {image!r} is not among the {len(images)} images; name the list of those that were predicted"
        )
    if result["category_id"] != PERSON:
        raise DataError(
            f"{where}: category {result['category_id']!r}; only persons ({PERSON}) have keypoints, leave it out"
        )
    if not isinstance(numbers, Sequence) or len(numbers) != 3 * keypoints:
        raise DataError(f"{where}: 3 numbers for each of {keypoints} keypoints are expected")
    if not all(map(_is_finite, [*numbers, score])):
        raise DataError(f"{where}: keypoints and score have to be finite numbers; was the network trained?")
    rounded = [round(float(number), DIGITS) + 0.0 for number in numbers]  # 0.0: no -0.0
    rounded[2::3] = [VISIBLE] * keypoints
    return {"image_id": image, "category_id": PERSON, "keypoints": rounded, "score": float(score)}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return (_is_integer(value) or isinstance(value, float)) and math.isfinite(value)
