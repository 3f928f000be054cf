"""The mean-pose predictor: every person stands as the average training person does, within the given box.

What a network adds to the box is what it scores above this.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.config import KeypointSchema
from pipeline_lib.data import coco
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import DataError
from pipeline_lib.evaluate.results import result

Pose = npt.NDArray[np.float64]

CENTRE = 0.5  # of the box: where a keypoint is put that no training person has


def mean_pose(people: Iterable[coco.Person]) -> Pose:
    """Mean position (K, 2) of each keypoint over the people with v > 0, in units of their boxes: (0, 0) is the top left.

    Boxes without an area do not count. Raises `DataError` when nobody is left.
    """
    keypoints, boxes = [], []
    for person in people:
        if min(person.box[2:]) > 0:
            keypoints.append(np.reshape(person.keypoints, (-1, 3)))
            boxes.append(person.box)
    if not boxes:
        raise DataError("mean pose: the training annotations have no labelled person; check the data set's paths")
    corner, size = np.split(np.array(boxes)[:, None], 2, axis=-1)
    poses = np.array(keypoints)
    labelled = poses[..., 2:] > 0
    count = labelled.sum(axis=0)
    total = np.where(labelled, (poses[..., :2] - corner) / size, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), CENTRE)


def place(pose: Pose, box: coco.Box) -> Pose:
    """Keypoints (K, 3) of `pose` in a box in image pixels, each with the score 1."""
    return np.column_stack([pose * box[2:] + box[:2], np.ones(len(pose))])


def predict(
    train_annotations: Path,
    annotations: Path,
    schema: KeypointSchema,
    train_verdict: Verdict | None = None,
    verdict: Verdict | None = None,
) -> list[dict[str, Any]]:
    """The COCO result list of the mean training pose in every ground-truth box of `annotations`.

    The verdicts are what the validation said of both (see `coco.ground_truth`).
    """
    pose = mean_pose(coco.ground_truth(train_annotations, schema, training=True, verdict=train_verdict).people)
    return [
        result(person.image.image_id, place(pose, person.box), person.score, threshold=0.0)
        for person in coco.ground_truth(annotations, schema, training=False, verdict=verdict).people
    ]
