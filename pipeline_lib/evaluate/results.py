"""COCO keypoint result lists."""

from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.artifacts import read_json
from pipeline_lib.data.coco_json import PERSON, integer, is_number, shown
from pipeline_lib.errors import ArtifactError


def person_score(maxima: npt.ArrayLike, box_score: float, threshold: float) -> float:
    """Mean of the keypoints' maxima (/255) above `threshold`, times the box's score; 0 when none is above."""
    values = np.asarray(maxima, np.float64)
    counted = values[values > threshold]
    return float(counted.mean() * box_score) if counted.size else 0.0


def result(image_id: int, keypoints: npt.ArrayLike, box_score: float, threshold: float) -> dict[str, Any]:
    """One person of a COCO result list from keypoints (K, 3): x and y in image pixels, and score."""
    values = np.asarray(keypoints, np.float64)
    return {
        "image_id": int(image_id),
        "category_id": PERSON,
        "keypoints": values.reshape(-1).tolist(),
        "score": person_score(values[:, 2], box_score, threshold),
    }


def read(path: str | PathLike[str], *, scored: bool = False) -> list[dict[str, Any]]:
    """A COCO keypoint result list; raises `ArtifactError` naming the entry that is none of a person.

    All have an image and keypoints; those that are `scored` also a category and a score.
    """
    content, again = read_json(path), "predict again, or give a COCO result list"
    if not isinstance(content, list):
        raise ArtifactError(f"{path}: a JSON list of results is expected, not a {type(content).__name__}; {again}")
    for place, entry in enumerate(content):
        where = f"{path}, [{place}]"
        if not isinstance(entry, dict):
            raise ArtifactError(f"{where}: {shown(entry)} is no result; {again}")
        for name in ("image_id", "category_id") if scored else ("image_id",):
            if integer(entry, name) is None:
                raise ArtifactError(f"{where}: {name} is {shown(entry.get(name))}, an integer is expected; {again}")
        keypoints = entry.get("keypoints")
        if not isinstance(keypoints, list) or len(keypoints) % 3 or not all(map(is_number, keypoints)):
            raise ArtifactError(
                f"{where}: keypoints is {shown(keypoints)}, x, y and a score for each are expected; {again}"
            )
        if scored and not is_number(entry.get("score")):
            raise ArtifactError(f"{where}: score is {shown(entry.get('score'))}, a number is expected; {again}")
    return content
