"""The children of a generation: which parent each comes from, and what happens when a parent has nothing new."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline_lib.config import PAPER_SPACE, SearchSpace
from pipeline_lib.errors import EvoPoseError
from pipeline_lib.search.genotype import Genotype, Key, Nesting, as_array, key
from pipeline_lib.search.mutation import NeighbourhoodExhausted, describe, mutate_twice_unseen, mutate_unseen

Fallback = Literal["next_parent", "two_mutations"]


@dataclass(frozen=True)
class Offspring:
    """A child: its genotype, the rank of its parent, the genes that differ, and the fall-back that was needed, if any.

    `next_parent`: an exhausted parent's place was taken by another one; `two_mutations`: two mutations in a row were
    needed, since no parent had anything new one mutation away.
    """

    genotype: Genotype
    parent_rank: int
    mutations: list[dict[str, Any]]
    fallback: Fallback | None


def breed(
    parents: Sequence[Nesting],
    ancestor: Nesting,
    cache: Iterable[Nesting],
    children: int,
    seed: int,
    generation: int,
    space: SearchSpace = PAPER_SPACE,
) -> list[Offspring]:
    """`children` new genotypes that differ from each other, from `parents` (best first) and from `cache`.

    The parents take turns, so that each has children / parents of them and the better ones the remainder. Child `c` is
    drawn from the stream (seed, generation, c). A parent with an exhausted neighbourhood hands over to the next ones by
    rank; when all are exhausted the same parents are tried with two mutations in a row. `cache` is not changed.

    Raises:
        EvoPoseError: nothing new can be reached in any of these ways.
    """
    ranked = [key(parent) for parent in parents]
    seen = {*ranked, *(key(genotype) for genotype in cache)}
    offspring = []
    for child in range(children):
        rng = np.random.default_rng([seed, generation, child])
        born = _child(ranked, child % len(ranked), key(ancestor), seen, rng, space)
        if born is None:
            raise EvoPoseError(
                f"generation {generation}, child {child + 1}: all genotypes within two mutations of the {len(ranked)} "
                "parents have been sampled; widen search.space, or ask for fewer children or generations"
            )
        seen.add(key(born.genotype))
        offspring.append(born)
    return offspring


def _child(
    ranked: Sequence[Key], own: int, ancestor: Key, seen: Set[Key], rng: np.random.Generator, space: SearchSpace
) -> Offspring | None:
    for rank, step, fallback in _attempts(own, len(ranked)):
        try:
            genotype = step(ranked[rank], ancestor, seen, rng, space)
        except NeighbourhoodExhausted:
            continue
        return Offspring(as_array(genotype), rank, describe(ranked[rank], genotype), fallback)
    return None


def _attempts(own: int, parents: int) -> Iterator[tuple[int, Callable[..., Key], Fallback | None]]:
    """(rank, mutation, fall-back) in the order in which they are tried for a child of the parent of rank `own`."""
    order = [(own + turn) % parents for turn in range(parents)]
    for rank in order:
        yield rank, mutate_unseen, None if rank == own else "next_parent"
    for rank in order:
        yield rank, mutate_twice_unseen, "two_mutations"
