"""What is trained: a network together with the normalisation of its input and the computation of its targets."""

from collections.abc import Sequence
from typing import Any

import keras

from pipeline_lib.nets.layers import Supervised
from pipeline_lib.nets.normalization import normalize
from pipeline_lib.train.loss import mean_over_persons, penalty, person_mse
from pipeline_lib.train.metric import PersonMean
from pipeline_lib.train.targets import heatmaps

HEAT_MAPS = (Supervised("heatmaps"),)
"""A network that has one output."""


class PoseModel(keras.Model):
    """Takes uint8 crops, keypoints as labels and weights; computes input and targets inside the compiled step.

    Training: `loss` has the L2 terms of the network's regularisers, `data_loss` is that of the heat maps alone.
    Validation: `evaluate` (and `fit`'s `val_loss`) give the mean loss of real persons, without L2 and whatever the batch
    size and its padding.

    Args:
        network: normalised float32 images (N, H, W, 3) to heat maps (N, H', W', K), or to a list of them.
        sigma: standard deviation of the targets in heat-map pixels.
        replicas: devices that share a batch; their gradients are summed.
        supervised: how each of the network's outputs is trained; the last one are its heat maps.
        accumulation: parts that a device's share of a batch is split into, one after the other; batch statistics are
            those of a part, the update is that of their mean gradient. More than one needs the TensorFlow backend.
    """

    def __init__(
        self,
        network: keras.Model,
        sigma: float,
        replicas: int = 1,
        supervised: Sequence[Supervised] = HEAT_MAPS,
        accumulation: int = 1,
    ) -> None:
        super().__init__(name="pose", dtype="float32")
        self.network = network
        self.sigma = sigma
        self.replicas = replicas
        self.supervised = tuple(supervised)
        self.accumulation = accumulation
        self.data_loss = PersonMean("data_loss")
        self.input_size = tuple(network.input_shape[1:3])
        self.output_size = tuple(network.outputs[-1].shape[1:3])
        self.built = True  # the network is: Keras need not trace the call once more to build it

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Heat maps float32 (N, H', W', K) of uint8 crops (N, H, W, 3), or a list of them."""
        return self.network(normalize(inputs), training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """This replica's share of the loss of keypoints `y` (N, K, 3), with L2 in training only."""
        outputs = y_pred if isinstance(y_pred, list | tuple) else [y_pred]
        persons = self._persons(y, outputs[-1])
        self.data_loss.update_state(persons, sample_weight)
        if not training:
            return mean_over_persons(persons, sample_weight) / self.replicas
        total = penalty(self)
        for output, how in zip(outputs, self.supervised, strict=True):
            plain = output is outputs[-1] and (how.sigma, how.hardest) == (1.0, None)
            losses = persons if plain else self._persons(y, output, how.sigma, how.hardest)
            total = total + how.weight * mean_over_persons(losses, sample_weight)
        return total / self.replicas

    def _persons(self, y: Any, output: Any, sigma: float = 1.0, hardest: int | None = None) -> Any:
        targets = heatmaps(y, self.input_size, self.output_size, sigma * self.sigma)
        return person_mse(targets, output, y[:, :, 2], hardest)

    def train_step(self, *arguments: Any) -> Any:
        """Keras' training step, or with `accumulation` one update from the gradients of all parts of the batch.

        The arguments are the backend's: TensorFlow's is the batch, of which every person counts (no padding).
        """
        return super().train_step(*arguments) if self.accumulation == 1 else self._accumulated_step(*arguments)

    def _accumulated_step(self, data: Any) -> Any:
        # Keras' own accumulation counts every part as a step: of the schedule, and of Adam's bias correction.
        import tensorflow as tf

        x, y, weight = keras.tree.map_structure(self._parts, keras.utils.unpack_x_y_sample_weight(data))
        variables = [variable.value for variable in self.trainable_weights]

        def add(part: Any, *sums: Any) -> Any:
            images = keras.tree.map_structure(lambda parts: parts[part], x)
            with tf.GradientTape() as tape:
                y_pred = self(images, training=True)
                loss = self.compute_loss(images, y[part], y_pred, weight[part], training=True)
            self._loss_tracker.update_state(loss * self.replicas, sample_weight=tf.shape(y)[1])
            gradients = tape.gradient(loss, variables)
            return (
                part + 1,
                *(total + tf.convert_to_tensor(each) for total, each in zip(sums, gradients, strict=True)),
            )

        start = (tf.constant(0), *(tf.zeros_like(variable) for variable in variables))
        _, *sums = tf.while_loop(lambda part, *_: part < self.accumulation, add, start)
        mean = [total / self.accumulation for total in sums]
        self.optimizer.apply_gradients(zip(mean, self.trainable_weights, strict=True))
        return self.compute_metrics(x, y, None, weight)

    def _parts(self, tensor: Any) -> Any:
        import tensorflow as tf

        return tf.reshape(tensor, (self.accumulation, -1, *tensor.shape[1:]))

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """As Keras', but the loss is the mean over all real persons: Keras' own weights batches by their padded length."""
        return {"loss": super().evaluate(*args, **{**options, "return_dict": True})["data_loss"]}
