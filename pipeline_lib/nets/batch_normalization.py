"""Batch normalisation whose training pass is one operation."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("evopose")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over all but the last axis, with TensorFlow's fused training pass.

    Keras composes the pass of a dozen element-wise operations, each of which reads and writes the whole activation; on a
    CPU they cost more than the convolutions of a search network. Inference and other backends are Keras' own.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (N, H, W, C); in training by the batch, whose statistics the moving ones are moved towards."""
        if not (training and self.trainable) or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        # The operation's variance is that of a sample (n - 1), Keras' that of the batch (n): it moves theirs times n / (n - 1).
        known = inputs.shape[:-1].num_elements()  # half a dozen operations less to trace
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32") if known is None else known
        sample = count / (tf.maximum(count - 1, 1) if known is None else max(known - 1, 1))
        gamma, beta, mean, variance = (
            ops.cast(weight, "float32") for weight in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        )
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=mean,
            variance=variance * sample,
            epsilon=self.epsilon,
            exponential_avg_factor=1 - self.momentum,
            is_training=True,
        )
        self.moving_mean.assign(mean)
        self.moving_variance.assign(variance / sample)
        return outputs
