"""The mean loss of persons over an epoch, whatever the batches."""

from typing import Any

import keras
from keras import ops


class PersonMean(keras.metrics.Metric):
    """Sum of weighted values / sum of weights since the last reset.

    Both sums are added up over replicas, so that the result is that of one device, and padding of weight 0 changes
    nothing. 0 before the first update.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self.total = self.add_variable((), "zeros", aggregation="sum", name="total")
        self.weight = self.add_variable((), "zeros", aggregation="sum", name="weight")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add the values (N,) of persons with their weights (N,); without weights all count."""
        weight = ops.ones_like(values, dtype="float32") if sample_weight is None else ops.cast(sample_weight, "float32")
        self.total.assign_add(ops.sum(ops.cast(values, "float32") * weight))
        self.weight.assign_add(ops.sum(weight))

    def result(self) -> Any:
        return ops.divide_no_nan(self.total, self.weight)
