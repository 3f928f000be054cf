"""Selection of the survivors of a generation (paper, section IV-C)."""

import math
from collections.abc import Sequence

from pipeline_lib.errors import ConfigError


def select(fitness: Sequence[float], mu: int) -> list[int]:
    """Indices of the `mu` lowest values, best first; ties by index, NaN and infinities last.

    Raises `ConfigError` unless 1 <= mu <= number of values.
    """
    if not 1 <= mu <= len(fitness):
        raise ConfigError(f"{mu} survivors of a pool of {len(fitness)}: 1 to {len(fitness)} are possible")
    values = [float(value) for value in fitness]
    last = [not math.isfinite(value) for value in values]
    ranked = sorted(range(len(values)), key=lambda index: (last[index], 0.0 if last[index] else values[index]))
    return ranked[:mu]  # the sort is stable: ties stay in the order of their indices
