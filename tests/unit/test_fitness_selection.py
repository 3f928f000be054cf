import numpy as np
import pytest

from pipeline_lib.errors import ConfigError
from pipeline_lib.search.fitness import fitness
from pipeline_lib.search.selection import select


@pytest.mark.parametrize(
    ("loss", "parameters", "target", "gamma", "expected"),
    [
        (2.0, 2.5e6, 5e6, 1.0, 4.0),
        (2.0, 2.5e6, 5e6, -1.0, 1.0),
        (3.0, 5e6, 5e6, -0.07, 3.0),
        (3.0, 2531199, 5e6, 0.0, 3.0),
        (100.0, 1.25e6, 5e6, -0.5, 50.0),
    ],
)
def test_fitness_is_equation_3(loss, parameters, target, gamma, expected):
    value = fitness(loss, parameters, target, gamma)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-12)


def test_negative_gamma_favours_small_networks():
    assert fitness(1.0, 2e6, 5e6, -0.07) < fitness(1.0, 4e6, 5e6, -0.07)


def test_numpy_values_and_nan():
    assert type(fitness(np.float32(2), np.int64(4), 4, -0.07)) is float
    assert np.isnan(fitness(float("nan"), 4, 4, -0.07))


@pytest.mark.parametrize(("target", "gamma"), [(5e6, 1e308), (1e300, 2.0)])
def test_an_exponent_beyond_all_numbers_is_named(target, gamma):
    with pytest.raises(ConfigError, match=r"^search\.gamma: .*search\.target_parameters.* 4 parameters"):
        fitness(2.0, 4, target, gamma)


def test_select_the_lowest_best_first():
    assert select([3.0, 1.0, 2.0, 0.5], 3) == [3, 1, 2]
    assert select(np.array([3.0, 1.0, -2.0]), 1) == [2]


def test_ties_by_index():
    assert select([1.0, 0.0, 1.0, 0.0, 1.0], 4) == [1, 3, 0, 2]


def test_nan_and_infinities_last():
    nan, inf = float("nan"), float("inf")
    assert select([nan, 2.0, inf, 1.0, -inf], 2) == [3, 1]
    assert select([inf, nan, 2.0, nan, 1.0, inf], 6) == [4, 2, 0, 1, 3, 5]
    assert select([nan, inf], 1) == [0]
    assert select([inf, -inf, 1.0], 3) == [2, 0, 1]


@pytest.mark.parametrize("mu", [0, -1, 4])
def test_impossible_number_of_survivors(mu):
    with pytest.raises(ConfigError, match="pool of 3"):
        select([1.0, 2.0, 3.0], mu)
