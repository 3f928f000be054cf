"""The documents of a generation: children, scores, population, parents; and how a pool is ranked.

Fitness is derived from loss and parameters wherever a pool is ranked, never taken from an earlier generation, so that
another Gamma or target can rank the same scores anew.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from pipeline_lib.artifacts import AGAIN, SCHEMA_VERSION, read_csv, read_document, write_json
from pipeline_lib.config import Genotype, NonNegative, Positive, SearchSpace, Section
from pipeline_lib.errors import ArtifactError, ConfigError, EvoPoseError
from pipeline_lib.explain import explain
from pipeline_lib.search.breed import Fallback, Offspring
from pipeline_lib.search.fitness import fitness
from pipeline_lib.search.genotype import COLUMNS, Key, Nesting, decode_text, encode, key, validate
from pipeline_lib.search.selection import select

Document = TypeVar("Document", bound=BaseModel)
Loss = Annotated[float, Field(strict=True, ge=0)]

POPULATION_COLUMNS = (
    *("rank", "generation", "child", "loss", "parameters", "multiply_adds", "fitness", "status", "survivor"),
    "genotype",
    "reason",
)
GENOTYPE_COLUMNS = ("generation", "child", "genotype")


class Origin(Section):
    """Where an individual was born."""

    generation: NonNegative
    child: NonNegative


class Child(Section):
    """A child before its training: what it is, whom it comes from, and the seed of what it does not inherit."""

    index: NonNegative
    genotype: Genotype
    seed: NonNegative
    parent_rank: NonNegative | None = None
    parent_origin: Origin | None = None
    mutations: tuple[dict[str, Any], ...] = ()
    fallback: Fallback | None = None

    @field_validator("mutations")
    @classmethod
    def _as_described(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        """See `mutation.describe`."""
        for change in value:
            numbers = [change.get(name) for name in ("module", "before", "after")]
            if change.get("kind") not in COLUMNS or not all(type(number) is int for number in numbers):
                raise ValueError(f"kind (one of {', '.join(COLUMNS)}), module, before and after are expected")
        return value


class Children(Section):
    """children.json: the children of a generation."""

    schema_version: Literal[1] = SCHEMA_VERSION
    generation: NonNegative
    children: tuple[Child, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if [child.index for child in self.children] != list(range(len(self.children))):
            raise ValueError("children: their indices are to be 0, 1, 2, ... in this order")
        return self

    def member(self, name: str) -> Child:
        """The child of a member's folder, such as child_03 or its twin scratch_03."""
        number = name.rpartition("_")[2]
        if not (number.isascii() and number.isdecimal()) or int(number) >= len(self.children):
            raise ArtifactError(
                f"{name}: generation {self.generation} has {len(self.children)} children; name one of them, the first is "
                "child_00"
            )
        return self.children[int(number)]


class _Measured(Section):
    """What a training came to."""

    genotype: Genotype
    loss: Loss | None = Field(description="Smallest validation loss; null when the training failed.")
    parameters: Positive
    multiply_adds: Positive
    status: Literal["ok", "failed"]
    reason: str = Field("", description="Why the training failed.")

    @model_validator(mode="after")
    def _of_a_training(self) -> Self:
        if self.status == "ok" and self.loss is None:
            raise ValueError("loss: a number is expected where the status is ok")
        return self


class Score(_Measured):
    """score.json: what training measured; J is not in it, since only selection knows Gamma and T."""

    schema_version: Literal[1] = SCHEMA_VERSION
    epoch: NonNegative | None


class Individual(_Measured):
    """A member of the pool, ranked."""

    rank: NonNegative
    fitness: Loss | None
    origin: Origin


class Champion(Individual):
    """champion.json: the best survivor of the last generation."""

    schema_version: Literal[1] = SCHEMA_VERSION


class Parents(Section):
    """parents.json: the survivors of a generation, best first; their weights lie in parents/<rank>.safetensors."""

    schema_version: Literal[1] = SCHEMA_VERSION
    generation: NonNegative
    parents: tuple[Individual, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ranked(self) -> Self:
        check_ranks(self.parents)
        if max(parent.origin.generation for parent in self.parents) > self.generation:
            raise ValueError(f"parents: one was born after generation {self.generation}")
        return self


def check_ranks(ranked: Sequence[Individual]) -> None:
    """Raise `ValueError` when individuals are not in their order, or one occurs twice."""
    if [one.rank for one in ranked] != list(range(len(ranked))):
        raise ValueError("the ranks are to be 0, 1, 2, ... in this order")
    if len({(one.origin.generation, one.origin.child) for one in ranked}) < len(ranked):
        raise ValueError("one of them occurs twice, by its generation and child")
    values = [np.inf if one.fitness is None else one.fitness for one in ranked]
    if values != sorted(values):
        raise ValueError("their fitness is to rise with the rank")


def check_space(ranked: Sequence[Individual], space: SearchSpace, ancestor: Nesting, path: str | PathLike[str]) -> None:
    """Raise `ArtifactError` when one of the individuals in the file `path` is none of the search space."""
    for one in ranked:
        try:
            validate(one.genotype, space, ancestor)
        except ConfigError as error:
            raise ArtifactError(
                f"{path}, rank {one.rank}: of another search space: {error}; search in its own folder, or set search.space "
                "and search.ancestor to those that it was made with"
            ) from None


def read(model: type[Document], path: str | PathLike[str]) -> Document:
    """The document at `path`; raises `ArtifactError` naming the file and what is wrong in it."""
    try:
        return model.model_validate(read_document(path))
    except ValidationError as error:
        raise ArtifactError(
            f"{path}: not a valid {model.__name__.lower()} document: {explain(error)}; {AGAIN}"
        ) from None


def write(path: str | PathLike[str], document: BaseModel) -> None:
    """Write a document as JSON, atomically."""
    write_json(path, document.model_dump(mode="json"))


def child_seed(seed: int, generation: int, child: int) -> int:
    """The seed of what a child does not inherit, addressed by (seed, generation, child)."""
    return int(np.random.SeedSequence([seed, generation, child]).generate_state(1)[0])


def first_generation(genotype: Nesting, seed: int) -> Children:
    """Generation 0: the ancestor as the one child."""
    return Children(generation=0, children=(Child(index=0, genotype=key(genotype), seed=child_seed(seed, 0, 0)),))


def next_generation(parents: Parents, offspring: Sequence[Offspring], seed: int) -> Children:
    """The children of the generation after `parents`."""
    generation = parents.generation + 1
    return Children(
        generation=generation,
        children=tuple(
            Child(
                index=index,
                genotype=key(born.genotype),
                seed=child_seed(seed, generation, index),
                parent_rank=born.parent_rank,
                parent_origin=parents.parents[born.parent_rank].origin,
                mutations=tuple(born.mutations),
                fallback=born.fallback,
            )
            for index, born in enumerate(offspring)
        ),
    )


def read_genotypes(path: str | PathLike[str]) -> tuple[list[dict[str, str]], list[Key]]:
    """The rows of genotypes.csv, and their genotypes; raises `ArtifactError` naming the file and line."""
    rows, found = read_csv(path), []
    for line, row in enumerate(rows, start=2):
        if row.keys() != set(GENOTYPE_COLUMNS):
            raise ArtifactError(f"{path}: the columns {', '.join(GENOTYPE_COLUMNS)} are expected; {AGAIN}")
        try:
            found.append(key(decode_text(row["genotype"])))
        except ConfigError as error:
            raise ArtifactError(f"{path}, line {line}: {error}; delete the file and run again") from None
    return rows, found


def genotype_rows(children: Children) -> list[dict[str, Any]]:
    """The rows of genotypes.csv that a generation adds."""
    return [
        {"generation": children.generation, "child": child.index, "genotype": encode(child.genotype)}
        for child in children.children
    ]


def read_history(path: str | PathLike[str]) -> list[dict[str, str]]:
    """The rows of history.csv; raises `ArtifactError` naming a line whose epoch, step or losses are no numbers."""
    rows = read_csv(path)
    if not rows:
        raise ArtifactError(f"{path}: has no rows; {AGAIN}")
    for line, row in enumerate(rows, start=2):
        try:
            int(row["epoch"]), int(row["step"]), float(row["val_loss"]), float(row.get("loss") or 0)
        except KeyError as error:
            raise ArtifactError(f"{path}: there is no column {error.args[0]}; {AGAIN}") from None
        except ValueError as error:
            raise ArtifactError(f"{path}, line {line}: {error}; delete the file and run again") from None
    return rows


def best_epoch(history: Sequence[Mapping[str, str]]) -> tuple[float | None, int | None]:
    """The smallest validation loss of a training and its epoch, from the rows of history.csv; the earliest of equals.

    Epoch 0, before the first step, does not count. (None, None) when no epoch has a finite loss.
    """
    losses = [(float(row["val_loss"]), int(row["epoch"])) for row in history if int(row["epoch"]) > 0]
    return min((pair for pair in losses if np.isfinite(pair[0])), default=(None, None))


def failure(history: Sequence[Mapping[str, str]]) -> str | None:
    """Why a training whose history.csv has these rows is a failed one, or None: its loss was no number in an epoch."""
    for row in history:
        for column in ("loss", "val_loss"):
            if row.get(column) and int(row["epoch"]) > 0 and not np.isfinite(float(row[column])):
                return f"the {'validation loss' if column == 'val_loss' else 'loss'} is {row[column]} in epoch {row['epoch']}"
    return None if best_epoch(history)[0] is not None else "no epoch came to its end"


def check_failures(children: Children, scores: Sequence[Score], limit: float) -> None:
    """Raise `EvoPoseError`, naming every failed child, when more than the share `limit` of a generation's trainings failed."""
    failed = [
        (child, score) for child, score in zip(children.children, scores, strict=True) if score.status == "failed"
    ]
    if len(failed) <= limit * len(scores):
        return
    listed = "\n".join(f"  child_{child.index:02d}: {score.reason}" for child, score in failed)
    raise EvoPoseError(
        f"generation {children.generation}: {len(failed)} of {len(scores)} trainings failed, more than search.max_failed "
        f"({limit:g}) allows:\n{listed}\nChange what is at fault in search.train (a lower base_rate, a smaller batch) or "
        "raise search.max_failed, and run again; what else was trained is kept"
    )


def rank(
    children: Children, scores: Sequence[Score], parents: Sequence[Individual], target: float, gamma: float
) -> list[Individual]:
    """The pool of children and parents, best first (paper, section IV-C); failed trainings come last.

    At equal fitness children come before parents, in the order of their indices and ranks.

    Raises:
        ArtifactError: a score belongs to another genotype than its child.
    """
    if len(scores) != len(children.children):
        raise ArtifactError(
            f"{len(scores)} scores for {len(children.children)} children of generation {children.generation}; give one of each"
        )
    pool: list[tuple[Score | Individual, Origin]] = []
    for child, score in zip(children.children, scores, strict=True):
        if score.genotype != child.genotype:
            raise ArtifactError(
                f"the score of generation {children.generation}, child {child.index} belongs to another genotype "
                f"({encode(score.genotype)} instead of {encode(child.genotype)}); delete it and run again"
            )
        pool.append((score, Origin(generation=children.generation, child=child.index)))
    pool += [(parent, parent.origin) for parent in parents]
    return _ranked(pool, target, gamma)


def rank_again(pool: Sequence[Individual], target: float, gamma: float) -> list[Individual]:
    """A pool with J of another T or Gamma, best first; equals stay in the order of `pool`."""
    return _ranked([(one, one.origin) for one in pool], target, gamma)


def _ranked(pool: Sequence[tuple[Score | Individual, Origin]], target: float, gamma: float) -> list[Individual]:
    values = [
        float("nan") if one.loss is None or one.status == "failed" else fitness(one.loss, one.parameters, target, gamma)
        for one, _ in pool
    ]
    ranked = []
    for place, index in enumerate(select(values, len(values))):
        one, origin = pool[index]
        ranked.append(
            Individual(
                rank=place,
                genotype=one.genotype,
                loss=one.loss,
                parameters=one.parameters,
                multiply_adds=one.multiply_adds,
                status=one.status,
                reason=one.reason,
                fitness=values[index] if np.isfinite(values[index]) else None,
                origin=origin,
            )
        )
    return ranked


def read_pool(path: str | PathLike[str]) -> list[Individual]:
    """The pool of a population.csv in the order of its rows; raises `ArtifactError` naming the file and line."""
    pool = []
    for line, row in enumerate(read_csv(path), start=2):
        try:
            individual = Individual(
                **{name: int(row[name]) for name in ("rank", "parameters", "multiply_adds")},
                **{name: float(row[name]) if row[name] else None for name in ("loss", "fitness")},
                status=row["status"],
                reason=row.get("reason", ""),
                genotype=key(decode_text(row["genotype"])),
                origin=Origin(generation=int(row["generation"]), child=int(row["child"])),
            )
        except KeyError as error:
            raise ArtifactError(f"{path}: there is no column {error.args[0]}; delete it and run again") from None
        except (ConfigError, ValueError) as error:
            problem = explain(error) if isinstance(error, ValidationError) else error
            raise ArtifactError(f"{path}, line {line}: {problem}; delete the file and run again") from None
        pool.append(individual)
    if not pool:
        raise ArtifactError(f"{path}: has no rows; {AGAIN}")
    try:
        check_ranks(pool)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}; {AGAIN}") from None
    return pool


def population_rows(ranked: Sequence[Individual], survivors: int) -> list[dict[str, Any]]:
    """The rows of population.csv."""
    return [
        {
            "rank": one.rank,
            "generation": one.origin.generation,
            "child": one.origin.child,
            "loss": one.loss,
            "parameters": one.parameters,
            "multiply_adds": one.multiply_adds,
            "fitness": one.fitness,
            "status": one.status,
            "survivor": int(one.rank < survivors),
            "genotype": encode(one.genotype),
            "reason": one.reason or None,
        }
        for one in ranked
    ]
