"""What is trained: a network together with the normalisation of its input and the computation of its targets."""

from typing import Any

import keras

from pipeline_lib.nets.normalization import normalize
from pipeline_lib.train.loss import mean_over_persons, person_mse
from pipeline_lib.train.metric import PersonMean
from pipeline_lib.train.targets import heatmaps


class PoseModel(keras.Model):
    """Takes uint8 crops, keypoints as labels and weights; computes input and targets inside the compiled step.

    Training: `loss` has the L2 terms of the network's regularisers, `data_loss` is without. Validation: `evaluate` (and
    `fit`'s `val_loss`) give the mean loss of real persons, without L2 and whatever the batch size and its padding.

    Args:
        network: normalised float32 images (N, H, W, 3) to heat maps (N, H', W', K).
        sigma: standard deviation of the targets in heat-map pixels.
        replicas: devices that share a batch; their gradients are summed.
    """

    def __init__(self, network: keras.Model, sigma: float, replicas: int = 1) -> None:
        super().__init__(name="pose", dtype="float32")
        self.network = network
        self.sigma = sigma
        self.replicas = replicas
        self.data_loss = PersonMean("data_loss")
        self.input_size = tuple(network.input_shape[1:3])
        self.output_size = tuple(network.output_shape[1:3])
        self.built = True  # the network is: Keras need not trace the call once more to build it

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Heat maps float32 (N, H', W', K) of uint8 crops (N, H, W, 3)."""
        return self.network(normalize(inputs), training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """This replica's share of the loss of keypoints `y` (N, K, 3), with L2 in training only."""
        persons = person_mse(heatmaps(y, self.input_size, self.output_size, self.sigma), y_pred, y[:, :, 2])
        self.data_loss.update_state(persons, sample_weight)
        total = mean_over_persons(persons, sample_weight)
        if training:
            total = total + sum(self.losses)
        return total / self.replicas

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """As Keras', but the loss is the mean over all real persons: Keras' own weights batches by their padded length."""
        return {"loss": super().evaluate(*args, **{**options, "return_dict": True})["data_loss"]}
