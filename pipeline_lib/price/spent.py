"""What the trainings of a run took, from what they left behind."""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.plots.tables import read_cost
from pipeline_lib.price.estimate import HOUR
from pipeline_lib.price.work import FINAL, REFINER, SEARCH

HISTORY = "history.csv"

_GENERATION = re.compile(r"gen_(\d+)")


@dataclass(frozen=True)
class Spent:
    """Trainings that are alike: how many there were, and the device-hours that they took."""

    part: str
    name: str
    number: int
    device_hours: float


def spent(results: Path, benchmarks: Path) -> list[Spent]:
    """Of all trainings in the folder of an experiment.

    A training took what its history says of its epochs, or what Snakemake measured of its last process where that is
    more (that of one which was not interrupted has the start in it). Raises `ArtifactError` for a damaged file.
    """
    found: dict[tuple[str, str], Spent] = {}
    for part, name, folder in _folders(results):
        cost = read_cost(folder / HISTORY)
        seconds = max(cost.seconds or 0.0, _benchmark(benchmarks / folder.relative_to(results)))
        before = found.get((part, name), Spent(part, name, 0, 0.0))
        hours = before.device_hours + seconds * cost.devices / HOUR
        found[part, name] = Spent(part, name, before.number + 1, hours)
    return list(found.values())


def _folders(results: Path) -> Iterator[tuple[str, str, Path]]:
    """(part, name, folder) of every training that has begun, in the order of the run."""
    for path in sorted(results.glob(f"search/gen_*/*/{HISTORY}"), key=lambda one: (len(one.parts[-3]), one)):
        generation = _GENERATION.fullmatch(path.parts[-3])
        if generation:
            yield SEARCH, f"generation {int(generation[1])}", path.parent
    for path in sorted(results.glob(f"models/*/{HISTORY}")):
        yield FINAL, path.parent.name, path.parent
    for path in sorted(results.glob(f"refiner/{HISTORY}")):
        yield REFINER, path.parent.name, path.parent


def _benchmark(folder: Path) -> float:
    """Seconds of the last process, 0 where Snakemake measured none."""
    try:
        with (folder / "train.tsv").open(encoding="utf-8", newline="") as stream:
            seconds = float(next(csv.DictReader(stream, delimiter="\t"))["s"])
    except (OSError, ValueError, KeyError, StopIteration):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
