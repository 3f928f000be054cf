"""A search as its files lie, without having been run: documents as the programs write them, empty weights."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline_lib import artifacts
from pipeline_lib.search import population
from pipeline_lib.search.genotype import key
from pipeline_lib.search.population import Child, Children, Individual, Parents, Score

Loss = Callable[[int, int], float]


def falling(generation: int, child: int) -> float:
    """A loss that falls by 5 % from generation to generation, and differs from child to child."""
    return 100 * 0.95**generation + child


@mock.patch("os.fsync", new=lambda stream: None)  # hundreds of files that nobody would miss
def make(
    search: Path, settings: dict[str, Any], loss: Loss = falling, parameters: Callable[[int], int] | None = None
) -> None:
    """All generations of `settings` (generations, children, parents, gamma, target_parameters, ancestor) below `search`.

    `parameters` of the child of a number: the more, the higher it is, unless told otherwise.
    """
    parameters = parameters or (lambda child: 1000 * (1 + child))
    genotype, target, gamma = key(settings["ancestor"]), settings["target_parameters"], settings["gamma"]
    before: list[Individual] = []
    for generation in range(settings["generations"] + 1):
        folder = search / f"gen_{generation:03d}"
        number = settings["children"] if generation else 1
        children = Children(
            generation=generation,
            children=tuple(Child(index=index, genotype=genotype, seed=0) for index in range(number)),
        )
        scores = [
            Score(
                genotype=genotype, loss=loss(generation, child), epoch=1, parameters=parameters(child), multiply_adds=9,
                status="ok",
            )
            for child in range(number)
        ]  # fmt: skip
        ranked = population.rank(children, scores, before, target, gamma)
        before = ranked[: settings["parents"] if generation else 1]
        population.write(folder / "children.json", children)
        artifacts.write_csv(folder / "genotypes.csv", [], population.GENOTYPE_COLUMNS)
        for child, score in enumerate(scores):
            place = folder / f"child_{child:02d}"
            population.write(place / "score.json", score)
            for name in ("initial.safetensors", "inheritance.json", "weights.safetensors", "history.csv"):
                (place / name).touch()
        rows = population.population_rows(ranked, len(before))
        artifacts.write_csv(folder / "population.csv", rows, population.POPULATION_COLUMNS)
        population.write(folder / "parents.json", Parents(generation=generation, parents=tuple(before)))
        (folder / "parents").mkdir()
        for parent in before:
            (folder / f"parents/{parent.rank}.safetensors").touch()


def scramble(folder: Path, seed: int = 1) -> None:
    """Times in no order, as after a download."""
    numbers = random.Random(seed)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            stamp = 1.6e9 + 1e8 * numbers.random()
            os.utime(path, (stamp, stamp))


def lose_weights(search: Path, before: int) -> None:
    """Delete all weights of the generations before one, but for those of the parents that it is bred from."""
    for path in search.rglob("*.safetensors"):
        generation = int(path.relative_to(search).parts[0].removeprefix("gen_"))
        if generation < before and not (generation == before - 1 and path.parent.name == "parents"):
            path.unlink()
