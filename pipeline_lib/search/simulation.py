"""Simulated trainings of a search, and how busy they kept the devices. NumPy only; nothing here is a result."""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from pipeline_lib.artifacts import read_csv
from pipeline_lib.config import Simulation
from pipeline_lib.errors import ArtifactError
from pipeline_lib.search.genotype import Nesting, encode

GIGA = 1e9
TABLE = ("genotype", "seconds", "loss")

TIMELINE = "timeline.csv"
"""Beside the weights: a row for each attempt. Undeclared, since Snakemake removes the outputs of a job that failed."""

COLUMNS = ("attempt", "begun", "saved", "ended", "killed", "needed")

# A made-up surface on which larger networks are better, with diminishing returns and a share of luck.
_FLOOR, _SLOPE, _POWER, _LUCK = 15.0, 1.2, 0.3, 0.5

_LOSS_STREAM, _KILL_STREAM = 0, 1


@dataclass(frozen=True)
class Outcome:
    """How long a training takes in seconds, and the smallest validation loss that it reaches."""

    seconds: float
    loss: float


def outcome(
    genotype: Nesting,
    multiply_adds: int,
    simulation: Simulation,
    seed: int,
    known: Mapping[str, Outcome] | None = None,
) -> Outcome:
    """What the training of a genotype comes to: as `known` has it by its text, else from its multiply-adds and `seed`."""
    text = encode(genotype)
    if known and text in known:
        return known[text]
    luck = _generator(seed, text, _LOSS_STREAM).normal()
    giga = max(multiply_adds, 1) / GIGA
    return Outcome(simulation.seconds * giga, max(0.0, _FLOOR + _SLOPE * giga**-_POWER + _LUCK * luck))


def killed_at(genotype: Nesting, simulation: Simulation, seed: int, attempt: int) -> float | None:
    """The share of its time after which an attempt (counted from 1) is killed, or None; drawn from these arguments alone."""
    rng = _generator(seed, encode(genotype), _KILL_STREAM, attempt)
    return float(rng.random()) if rng.random() < simulation.killed else None


def read_table(path: str | PathLike[str]) -> dict[str, Outcome]:
    """{genotype: outcome} of a CSV file with the columns `TABLE`; raises `ArtifactError` naming the line of another content."""
    found = {}
    for line, row in enumerate(read_csv(path), start=2):
        try:
            seconds, loss = float(row["seconds"]), float(row["loss"])
            if not (0 < seconds < math.inf and math.isfinite(loss)):
                raise ValueError("seconds above 0 and a finite loss are expected")
            found[row["genotype"]] = Outcome(seconds, loss)
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"{path}, line {line}: {', '.join(TABLE)} are expected ({error})") from None
    return found


def _generator(seed: int, genotype: str, *address: int) -> np.random.Generator:
    return np.random.default_rng([seed, *genotype.encode(), *address])


@dataclass(frozen=True)
class Attempt:
    """One process that trained: generation, member, its times in seconds since the epoch of the clock.

    `saved` is the last time at which something was saved (`begun` before that), `killed` how it ended; `needed` is how long
    the whole training takes.
    """

    generation: int
    member: str
    begun: float
    saved: float
    ended: float
    killed: bool
    needed: float

    @property
    def lost(self) -> float:
        """Seconds whose work is done again by the next attempt."""
        return self.ended - self.saved if self.killed else 0.0


def attempts(search: str | PathLike[str]) -> list[Attempt]:
    """All attempts in the folder of a search; raises `ArtifactError` naming a file that is no timeline."""
    found = []
    for path in sorted(Path(search).glob(f"gen_*/*/{TIMELINE}")):
        for row in read_csv(path):
            try:
                begun, saved, ended, needed = (float(row[name]) for name in ("begun", "saved", "ended", "needed"))
                generation, killed = int(path.parts[-3].removeprefix("gen_")), bool(int(row["killed"]))
            except (KeyError, ValueError) as error:
                raise ArtifactError(f"{path}: not the timeline of a simulated training ({error!r})") from None
            found.append(Attempt(generation, path.parts[-2], begun, saved, ended, killed, needed))
    return found


@dataclass(frozen=True)
class Utilisation:
    """How busy the devices were. Times in seconds; those of devices are sums over all of them.

    Attributes:
        devices: how many there were.
        trainings, attempts: that came to their end, and processes that it took.
        makespan: from the first attempt's beginning to the last one's end.
        busy: device time of all attempts.
        useful: device time that the trainings need.
        lost: device time whose work was done again.
        ideal: makespan if nothing but trainings took time: generation by generation, the next training begins on the
            first device that is free.
    """

    devices: int
    trainings: int
    attempts: int
    makespan: float
    busy: float
    useful: float
    lost: float
    ideal: float

    @property
    def share(self) -> float:
        """Of the devices' time that was useful."""
        return self.useful / (self.devices * self.makespan)

    @property
    def ideal_share(self) -> float:
        """The same if nothing but trainings took time: what the barrier between generations leaves."""
        return self.useful / (self.devices * self.ideal)

    @property
    def overhead(self) -> float:
        """Share of the makespan that is neither training nor the barrier: orchestration, start of processes, lost work."""
        return 1 - self.ideal / self.makespan


def utilisation(attempts: Sequence[Attempt], devices: int) -> Utilisation:
    """Of a search whose attempts these are; raises `ArtifactError` when there are none, or none came to its end."""
    needed: dict[int, dict[str, float]] = {}
    for attempt in sorted(attempts, key=lambda one: one.begun):
        if not attempt.killed:
            needed.setdefault(attempt.generation, {})[attempt.member] = attempt.needed
    if not needed:
        raise ArtifactError("no simulated training came to its end; run the search with search.simulation first")
    return Utilisation(
        devices=devices,
        trainings=sum(map(len, needed.values())),
        attempts=len(attempts),
        makespan=max(one.ended for one in attempts) - min(one.begun for one in attempts),
        busy=sum(one.ended - one.begun for one in attempts),
        useful=sum(sum(members.values()) for members in needed.values()),
        lost=sum(one.lost for one in attempts),
        ideal=sum(makespan(members.values(), devices) for members in needed.values()),
    )


def makespan(durations: Iterable[float], devices: int) -> float:
    """When the last of `durations` ends, if each begins in its turn on the first of `devices` that is free."""
    free = [0.0] * devices
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)
