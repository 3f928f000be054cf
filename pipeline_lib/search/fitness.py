"""Fitness of a network (paper, Eq. 3)."""


def fitness(val_loss: float, parameters: float, target: float, gamma: float) -> float:
    """J = loss * (T / n)^Gamma of n = `parameters` and T = `target`; lower is better.

    A negative `gamma` favours small networks.
    """
    return float(val_loss * (target / parameters) ** gamma)
