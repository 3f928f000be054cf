"""COCO result lists: rescoring and layout."""

import json

import numpy as np
import pytest

from pipeline_lib.evaluate.results import person_score, result


def test_score_is_the_mean_above_the_threshold_times_the_box_score() -> None:
    assert person_score([0.9, 0.5, 0.2, 0.1], 0.5, 0.2) == pytest.approx((0.9 + 0.5) / 2 * 0.5)


def test_score_is_0_when_nothing_is_above_the_threshold() -> None:
    assert person_score([0.2, 0.1, -0.3], 0.9, 0.2) == 0.0


def test_result_has_the_coco_layout() -> None:
    keypoints = np.arange(51, dtype=np.float32).reshape(17, 3)
    person = result(np.int64(7), keypoints, np.float32(0.5), 0.2)
    assert person["image_id"] == 7
    assert person["category_id"] == 1
    assert person["keypoints"] == list(range(51))
    assert person["score"] == pytest.approx(np.mean(np.arange(2, 51, 3)) / 2)
    assert json.loads(json.dumps(person)) == person
