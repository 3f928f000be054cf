"""The mean over persons: batches, padding, resets."""

import keras
import numpy as np
import pytest

from pipeline_lib.train.loss import mean_over_persons
from pipeline_lib.train.metric import PersonMean


def test_the_mean_is_over_persons_not_batches() -> None:
    metric = PersonMean("data_loss")
    assert float(metric.result()) == 0
    metric.update_state(np.array([1.0, 2.0, 6.0]), np.ones(3))
    metric.update_state(np.array([11.0, 99.0, 77.0]), np.array([1.0, 0.0, 0.0]))
    assert float(metric.result()) == pytest.approx(20 / 4)
    metric.reset_state()
    metric.update_state(np.array([3.0]), np.ones(1))
    assert float(metric.result()) == 3


def test_without_weights_everybody_counts() -> None:
    metric = PersonMean("data_loss")
    metric.update_state(np.array([1.0, 2.0, 6.0], np.float32))
    assert float(metric.result()) == pytest.approx(3)
    assert float(mean_over_persons(np.array([1.0, 2.0, 6.0], np.float32))) == pytest.approx(3)


def test_weights_of_one_column_are_weights_of_persons() -> None:
    losses = np.array([1.0, 5.0], np.float32)
    assert float(mean_over_persons(losses, np.array([[3.0], [1.0]]))) == pytest.approx(2)


def test_its_sums_are_added_up_over_replicas() -> None:
    assert {variable.aggregation for variable in PersonMean("data_loss").variables} == {"sum"}


def test_a_batch_of_padding_has_no_loss() -> None:
    assert float(mean_over_persons(keras.ops.ones(3), np.zeros(3))) == 0
    assert float(mean_over_persons(np.array([1.0, 5.0], np.float32), np.array([1.0, 0.0]))) == 1
