"""COCO keypoint result lists."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.data.coco_json import PERSON


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
