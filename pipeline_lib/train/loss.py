"""The masked mean squared error of heat maps (paper, Eq. 2, with the published program's details). L2 is added by the model."""

from typing import Any

from keras import ops


def person_mse(y_true: Any, y_pred: Any, visible: Any, hardest: int | None = None) -> Any:
    """The loss of each person, float32 (N,): the mean over H', W', K of squared errors, 0 where not visible.

    Keypoints that are not visible stay in the denominator. Maps are (N, H', W', K); `visible` is (N, K), > 0 is visible.
    With `hardest`, the mean is over that many keypoints of the person, those with the largest errors (online hard
    keypoint mining, CPN), or over all where there are not more.
    """
    error = ops.cast(y_pred, "float32") - ops.cast(y_true, "float32")
    mask = ops.cast(ops.cast(visible, "float32") > 0, "float32")[:, None, None, :]
    if hardest is None or hardest >= y_pred.shape[-1]:
        return ops.mean(ops.square(error) * mask, axis=(1, 2, 3))
    keypoints = ops.mean(ops.square(error) * mask, axis=(1, 2))
    return ops.mean(ops.top_k(keypoints, hardest)[0], axis=-1)


def mean_over_persons(losses: Any, sample_weight: Any = None) -> Any:
    """The mean of float32 (N,) over persons, who count with their weight; 0 when all weights are 0."""
    if sample_weight is None:
        return ops.mean(losses)
    weight = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
    total = ops.sum(weight)
    return ops.sum(losses * weight) / ops.where(total > 0, total, 1.0)


def keypoint_mse(y_true: Any, y_pred: Any, visible: Any, sample_weight: Any = None) -> Any:
    """The mean over persons, H', W' and K of the squared errors of visible keypoints: a float32 scalar.

    Args:
        y_true, y_pred: maps (N, H', W', K).
        visible: (N, K), > 0 is visible; others have no error but stay in the denominator.
        sample_weight: (N,); persons of weight 0 (padding) leave the denominator. None: all count.
    """
    return mean_over_persons(person_mse(y_true, y_pred, visible), sample_weight)
