"""Mutation of genotypes (paper, Algorithm 1), its conditions read from the search space."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from pipeline_lib.config import PAPER_SPACE, SearchSpace
from pipeline_lib.errors import EvoPoseError
from pipeline_lib.search.genotype import (
    BLOCKS,
    CHANNEL_UNIT,
    CHANNELS,
    COLUMNS,
    KERNEL,
    Genotype,
    Key,
    Nesting,
    as_array,
    downsamplings,
    encode,
    key,
    max_channels,
)


class NeighbourhoodExhausted(EvoPoseError):
    """Every genotype that one mutation can reach from a parent has been sampled already."""


def mutate(
    parent: Nesting,
    ancestor: Nesting,
    cache: Iterable[Nesting],
    rng: np.random.Generator,
    space: SearchSpace = PAPER_SPACE,
) -> Genotype:
    """A genotype one mutation away from `parent` that is not in `cache` (Algorithm 1).

    Module and column are drawn uniformly, then the gene by the rule of its column; draws are repeated, module and column
    included, until the genotype is new. `cache` is not changed.

    Raises:
        NeighbourhoodExhausted: nothing new can be reached; the printed algorithm would not end.
    """
    return as_array(mutate_unseen(key(parent), key(ancestor), {key(genotype) for genotype in cache}, rng, space))


def mutate_unseen(parent: Key, ancestor: Key, seen: Set[Key], rng: np.random.Generator, space: SearchSpace) -> Key:
    """`mutate` with keys instead of arrays, for callers that hold the cache as a set."""
    if all(neighbour in seen for neighbour in _neighbours(parent, ancestor, space)):
        raise NeighbourhoodExhausted(f"every mutation of {encode(parent)} has been sampled; mutate another parent")
    while True:
        module, column = (int(drawn) for drawn in rng.integers((len(parent), len(COLUMNS))))
        genes = _draws(parent, ancestor, space, module, column)
        if genes:
            child = _replaced(parent, module, column, genes[int(rng.integers(len(genes)))])
            if child != parent and child not in seen:
                return child


def mutate_twice(
    parent: Nesting,
    ancestor: Nesting,
    cache: Iterable[Nesting],
    rng: np.random.Generator,
    space: SearchSpace = PAPER_SPACE,
) -> Genotype:
    """A genotype two mutations in a row away from `parent` that is neither in `cache` nor the parent.

    The one in between may be in the cache. Raises `NeighbourhoodExhausted` when there is none.
    """
    return as_array(mutate_twice_unseen(key(parent), key(ancestor), {key(genotype) for genotype in cache}, rng, space))


def mutate_twice_unseen(
    parent: Key, ancestor: Key, seen: Set[Key], rng: np.random.Generator, space: SearchSpace
) -> Key:
    """`mutate_twice` with keys instead of arrays."""
    without_way_on: set[Key] = set()
    while True:
        between = mutate_unseen(parent, ancestor, without_way_on, rng, space)
        try:
            return mutate_unseen(between, ancestor, {*seen, parent}, rng, space)
        except NeighbourhoodExhausted:
            without_way_on.add(between)


def neighbours(parent: Nesting, ancestor: Nesting, space: SearchSpace = PAPER_SPACE) -> list[Genotype]:
    """Every genotype that one mutation can reach from `parent`, each once, by module, column and gene."""
    return [as_array(neighbour) for neighbour in _neighbours(key(parent), key(ancestor), space)]


def _neighbours(parent: Key, ancestor: Key, space: SearchSpace) -> Iterator[Key]:
    for module, row in enumerate(parent):
        for column, current in enumerate(row):
            for gene in _draws(parent, ancestor, space, module, column):
                if gene != current:
                    yield _replaced(parent, module, column, gene)


def _draws(parent: Key, ancestor: Key, space: SearchSpace, module: int, column: int) -> Sequence[int]:
    """The genes that Algorithm 1 draws from with equal probability; empty where it leaves the gene as it is."""
    gene = parent[module][column]
    if column == BLOCKS:
        return [gene - 1] * (gene > 1) + [gene + 1] * (gene < space.max_blocks[module])
    if column == KERNEL:
        return space.kernels
    if column == CHANNELS:
        return range(1, max_channels(space, ancestor)[module] + 1)
    if module + 1 in space.free_stride_modules:
        if gene == 2 and downsamplings(parent) == space.max_downsamplings:
            return [1]
        if gene == 1 and downsamplings(parent) < space.max_downsamplings:
            return [2]
    return []


def _replaced(genotype: Key, module: int, column: int, gene: int) -> Key:
    row = genotype[module]
    changed = (*row[:column], gene, *row[column + 1 :])
    return (*genotype[:module], changed, *genotype[module + 1 :])


def text(change: Mapping[str, Any]) -> str:
    """An entry of `describe` for people, who count channels and not the genotype's eights of them."""
    unit = CHANNEL_UNIT if change["kind"] == COLUMNS[CHANNELS] else 1
    return f"module {change['module']} {change['kind']} {change['before'] * unit}->{change['after'] * unit}"


def describe(parent: Nesting, child: Nesting) -> list[dict[str, Any]]:
    """The genes that differ: kind (blocks, kernel, channels, stride), module (from 1), before and after.

    Channels are in the genotype's unit of 8.
    """
    return [
        {"kind": kind, "module": module, "before": before, "after": after}
        for module, rows in enumerate(zip(key(parent), key(child), strict=True), start=1)
        for kind, before, after in zip(COLUMNS, *rows, strict=True)
        if before != after
    ]
