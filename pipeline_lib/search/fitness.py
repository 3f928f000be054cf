"""Fitness of a network (paper, Eq. 3)."""

from pipeline_lib.errors import ConfigError


def fitness(val_loss: float, parameters: float, target: float, gamma: float) -> float:
    """J = loss * (T / n)^Gamma of n = `parameters` and T = `target`; lower is better.

    A negative `gamma` favours small networks. Raises `ConfigError` where (T / n)^Gamma is larger than all numbers.
    """
    try:
        return float(val_loss * (target / parameters) ** gamma)
    except OverflowError:
        raise ConfigError(
            f"search.gamma: (T / n)^Gamma is no number with Gamma {gamma:g}, T {target:g} (search.target_parameters) and a "
            f"network of {parameters:,} parameters; give smaller ones"
        ) from None
