"""What the benchmarks share: their settings, a row of the table, and rates that are measured in turns."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ROUNDS = 3


@dataclass(frozen=True)
class Settings:
    """Options of the command: seconds of a measurement, pictures, batch, CPU threads, evaluations of the dry run.

    `deterministic`: whether operations are to give the same bytes each time.
    """

    seconds: float
    images: int
    batch: int
    threads: int
    evaluations: int
    deterministic: bool


@dataclass(frozen=True)
class Row:
    """One measured value; `ratio` is to the group's first variant (rates: how many times as fast)."""

    benchmark: str
    variant: str
    value: float
    unit: str
    ratio: float | None = None


def rates(variants: Mapping[str, Callable[[float], float]], seconds: float) -> dict[str, float]:
    """The median rate of each variant over three rounds in which the variants take turns.

    A variant takes seconds and returns what it did in a second, having warmed up outside of them.
    """
    seen: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, variant in variants.items():
            seen[name].append(variant(seconds / ROUNDS))
    return {name: sorted(values)[ROUNDS // 2] for name, values in seen.items()}


def rate(step: Callable[[], int], seconds: float) -> float:
    """How much `step` (which returns what it did) does in a second."""
    done, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        done += step()
    return done / spent
