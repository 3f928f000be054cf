"""The masked mean squared error of heat maps and the L2 terms of kernels (paper, Eq. 2, with the published program's details)."""

from collections import defaultdict
from typing import Any

import keras
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


def penalty(network: keras.Layer) -> Any:
    """The sum of the regularisers of a network's trainable weights, a float32 scalar.

    With TensorFlow, sums of squares of equal factors are added before they are multiplied: for every kernel, a dozen
    operations less to trace than Keras' own, with the gradient.
    """
    if keras.backend.backend() != "tensorflow":
        return sum(network.losses)
    import tensorflow as tf

    total: Any = 0.0
    squares = defaultdict(list)
    for weight in network.trainable_weights:
        if type(weight.regularizer) is keras.regularizers.L2:  # what is derived from it may compute something else
            squares[float(weight.regularizer.l2)].append(tf.nn.l2_loss(weight))
        elif weight.regularizer is not None:
            total += weight.regularizer(weight)
    for factor, halves in squares.items():
        total += 2 * factor * tf.add_n(halves)
    return total


def keypoint_mse(y_true: Any, y_pred: Any, visible: Any, sample_weight: Any = None) -> Any:
    """The mean over persons, H', W' and K of the squared errors of visible keypoints: a float32 scalar.

    Args:
        y_true, y_pred: maps (N, H', W', K).
        visible: (N, K), > 0 is visible; others have no error but stay in the denominator.
        sample_weight: (N,); persons of weight 0 (padding) leave the denominator. None: all count.
    """
    return mean_over_persons(person_mse(y_true, y_pred, visible), sample_weight)
