"""Genotypes: 7 x 4 integers, one row (blocks, kernel, channels / 8, stride) for each module (paper, appendix A-B)."""

from collections.abc import Iterable
from operator import index
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.config import MODULES, PAPER_ANCESTOR, SearchSpace
from pipeline_lib.errors import ConfigError

BLOCKS, KERNEL, CHANNELS, STRIDE = range(4)
COLUMNS = ("blocks", "kernel", "channels", "stride")
CHANNEL_UNIT = 8

Genotype = NDArray[np.int64]
Key = tuple[tuple[int, ...], ...]
Nesting = Iterable[Iterable[Any]]  # a genotype in any form: array, lists, tuples


def key(genotype: Nesting) -> Key:
    """`genotype` as nested tuples of `int`, which compare and hash; raises `ConfigError` when it is not 7 x 4 integers."""
    try:
        rows = tuple(tuple(index(gene) for gene in row) for row in genotype)
    except TypeError:
        raise ConfigError(f"genotype {genotype!r}: integers are expected") from None
    if [len(row) for row in rows] != [len(COLUMNS)] * MODULES:
        raise ConfigError(f"genotype {rows}: {MODULES} rows of {', '.join(COLUMNS)} are expected")
    return rows


def as_array(genotype: Nesting) -> Genotype:
    """`genotype` as a new 7 x 4 int64 array; raises `ConfigError` as `key` does."""
    return np.array(key(genotype), dtype=np.int64)


def _constant(genotype: Nesting) -> Genotype:
    array = as_array(genotype)
    array.flags.writeable = False
    return array


ANCESTOR: Final = _constant(PAPER_ANCESTOR)
"""The paper's common ancestor (Table 4)."""

EVOPOSE2D_S: Final = _constant(
    [[1, 3, 2, 1], [3, 3, 3, 2], [2, 5, 5, 2], [4, 3, 10, 2], [2, 5, 14, 1], [4, 5, 16, 1], [2, 3, 10, 1]]
)
"""The champion of the paper's search E3 (Table 2)."""

EVOPOSE2D_XS: Final = _constant([*EVOPOSE2D_S[:5], [4, 5, 16, 2], EVOPOSE2D_S[6]])
"""EvoPose2D-S with stride 2 in module 6."""


def encode(genotype: Nesting) -> str:
    """`genotype` as text for a table cell: `1.3.2.1-2.3.3.2-...`, modules in order."""
    return "-".join(".".join(map(str, row)) for row in key(genotype))


def decode_text(text: str) -> Genotype:
    """The genotype that `encode` wrote as `text`; raises `ConfigError` for any other text."""
    try:
        return as_array([[int(gene) for gene in row.split(".")] for row in text.split("-")])
    except ValueError:
        raise ConfigError(f"genotype {text!r}: text such as {encode(ANCESTOR)} is expected") from None


def validate(genotype: Nesting, space: SearchSpace, ancestor: Nesting) -> None:
    """Raise `ConfigError` naming every gene of `genotype` that lies outside of `space` (limits: paper, appendix A-A).

    Strides that are not searched, and the largest channels unless the space sets them, are the ancestor's.
    """
    rows, first = key(genotype), key(ancestor)
    problems = []
    for module, (blocks, kernel, channels, stride) in enumerate(rows):
        most_blocks, most_channels = space.max_blocks[module], max_channels(space, ancestor)[module]
        strides = (1, 2) if module + 1 in space.free_stride_modules else {first[module][STRIDE]} & {1, 2} or (1, 2)
        where = f"module {module + 1}"
        if not 1 <= blocks <= most_blocks:
            problems.append(f"{where} has {blocks} blocks, 1 to {most_blocks} are allowed")
        if kernel not in space.kernels:
            problems.append(f"{where} has kernel {kernel}, one of {space.kernels} is allowed")
        if not 1 <= channels <= most_channels:
            problems.append(f"{where} has {channels} x 8 channels, 1 to {most_channels} are allowed")
        if stride not in strides:
            problems.append(f"{where} has stride {stride}, {' or '.join(map(str, strides))} is allowed")
    if downsamplings(rows) > space.max_downsamplings:
        problems.append(f"the strides reduce more than the limit of {space.stride_limit} (stem included)")
    if problems:
        raise ConfigError(f"genotype {encode(rows)} is outside of the search space: {'; '.join(problems)}")


def downsamplings(genotype: Nesting) -> int:
    """Algorithm 1's sum of (stride - 1): the number of modules that halve the resolution."""
    return sum(row[STRIDE] - 1 for row in key(genotype))


def max_channels(space: SearchSpace, ancestor: Nesting) -> tuple[int, ...]:
    """Largest channels / 8 of each module: the space's, or else the ancestor's."""
    return space.max_channels or tuple(row[CHANNELS] for row in key(ancestor))
