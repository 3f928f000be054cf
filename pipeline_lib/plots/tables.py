"""The tables that figures and summary read, typed, and tables for the terminal that are Markdown, too."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from pipeline_lib.artifacts import read_csv
from pipeline_lib.errors import ArtifactError


@dataclass(frozen=True)
class Individual:
    """A row of population.csv: a network in the pool of a generation. `generation` and `child` say where it was born."""

    rank: int
    generation: int
    child: int
    loss: float | None
    parameters: int
    multiply_adds: int
    fitness: float | None
    status: str
    survivor: bool
    genotype: str
    reason: str = ""

    @property
    def name(self) -> tuple[int, int]:
        """Identifies it in a search: (generation, child)."""
        return self.generation, self.child


@dataclass(frozen=True)
class Comparison:
    """A row of comparison.csv: validation losses of a child, of its twin from scratch, and of the control.

    Those of a training that failed are None.
    """

    child: int
    mutation: str
    inherited: float
    transferred_initial: float | None
    transferred_final: float | None
    scratch_initial: float | None
    scratch_final: float | None
    control_initial: float | None
    control_final: float | None


@dataclass(frozen=True)
class Epoch:
    """A row of history.csv; what was not measured is None. Epoch 0 is the network before its first step."""

    epoch: int
    data_loss: float | None
    val_loss: float | None
    learning_rate: float | None


@dataclass(frozen=True)
class Cost:
    """What a training took: seconds of all its epochs, None where one was not measured, and what computed it."""

    seconds: float | None
    device: str
    devices: int


class _Row(dict[str, str]):
    """A row that names its file and line where a column is missing."""

    def __init__(self, values: Mapping[str, str], where: str) -> None:
        super().__init__(values)
        self.where = where

    def __missing__(self, column: str) -> str:
        raise ArtifactError(f"{self.where}: there is no column {column}; make the file again with this version")


def read_populations(paths: Iterable[str | PathLike[str]]) -> dict[int, list[Individual]]:
    """The pool of every generation in ascending order, each best first, from population.csv files in any order.

    A pool belongs to the generation of its youngest members. Raises `ArtifactError` for an empty or a repeated pool.
    """
    pools: dict[int, list[Individual]] = {}
    for path in paths:
        pool = sorted((_individual(row) for row in _rows(path)), key=lambda one: one.rank)
        generation = max(one.generation for one in pool)
        if generation in pools:
            raise ArtifactError(f"{path}: there is a pool of generation {generation} already; name each file once")
        pools[generation] = pool
    return dict(sorted(pools.items()))


def everyone(pools: Mapping[int, Sequence[Individual]]) -> list[Individual]:
    """Every network of a search once, by birth; a survivor is one that survived a selection."""
    found: dict[tuple[int, int], Individual] = {}
    for pool in pools.values():
        for one in pool:
            found.setdefault(one.name, one)  # whoever does not survive the first selection is in no later pool
    return [found[name] for name in sorted(found)]


def read_comparison(path: str | PathLike[str]) -> list[Comparison]:
    """The rows of comparison.csv."""
    return [
        Comparison(
            child=_cell(row, "child", int),
            mutation=row["mutation"],
            inherited=_cell(row, "inherited", float),
            **{
                name: _optional(row, name)
                for name in Comparison.__annotations__
                if name not in ("child", "mutation", "inherited")
            },
        )
        for row in _rows(path)
    ]


def read_history(path: str | PathLike[str]) -> list[Epoch]:
    """The rows of history.csv in the order of the epochs."""
    rows = [
        Epoch(
            epoch=_cell(row, "epoch", int),
            data_loss=_optional(row, "data_loss"),
            val_loss=_optional(row, "val_loss"),
            learning_rate=_optional(row, "learning_rate"),
        )
        for row in _rows(path)
    ]
    return sorted(rows, key=lambda row: row.epoch)


def read_cost(path: str | PathLike[str]) -> Cost:
    """What the training of a history.csv took, its last row naming the device."""
    rows = _rows(path)
    # Epoch 0 is no training, and need not have been measured.
    seconds = [_optional(row, "seconds") for row in rows if _cell(row, "epoch", int) > 0]
    known = [value for value in seconds if value is not None]
    return Cost(
        seconds=sum(known) if seconds and len(known) == len(seconds) else None,
        device=rows[-1]["device"],
        devices=_cell(rows[-1], "devices", int),
    )


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table that reads well in a terminal and as Markdown; all but the first `left` columns are aligned right."""
    cells = [list(map(_escape, header)), *(list(map(_escape, row)) for row in rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ("-" * width if column < left else f"{'-' * (width - 1)}:" for column, width in enumerate(widths))
    return "\n".join([line(cells[0]), f"| {' | '.join(rule)} |", *(line(row) for row in cells[1:])])


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")


def _individual(row: _Row) -> Individual:
    return Individual(
        rank=_cell(row, "rank", int),
        generation=_cell(row, "generation", int),
        child=_cell(row, "child", int),
        loss=_optional(row, "loss"),
        parameters=_cell(row, "parameters", int),
        multiply_adds=_cell(row, "multiply_adds", int),
        fitness=_optional(row, "fitness"),
        status=row["status"],
        survivor=bool(_cell(row, "survivor", int)),
        genotype=row["genotype"],
        reason=row["reason"],
    )


def _rows(path: str | PathLike[str]) -> list[_Row]:
    rows = [_Row(row, f"{path}, line {number}") for number, row in enumerate(read_csv(path), start=2)]
    if not rows:
        raise ArtifactError(f"{path}: has no rows; delete it and run again")
    return rows


def _cell(row: _Row, column: str, kind: type[Any]) -> Any:
    text = row[column]
    try:
        return kind(text)
    except ValueError:
        raise ArtifactError(
            f"{row.where}, column {column}: {text!r} is not a number; delete the file and run again"
        ) from None


def _optional(row: _Row, column: str) -> float | None:
    """A measurement; None where the cell is empty or the value is not finite."""
    if row[column] == "":
        return None
    value = float(_cell(row, column, float))
    return value if math.isfinite(value) else None
