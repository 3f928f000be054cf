"""Size and largest network of a search space, exactly (paper, section IV-A and appendix A-A)."""

import math

from pipeline_lib.config import MODULES, SearchSpace
from pipeline_lib.search.genotype import STRIDE, Key, Nesting, key, max_channels


def size(ancestor: Nesting, space: SearchSpace) -> int:
    """Number of genotypes of `space`, whatever their overall stride (6.8e13 for the paper)."""
    return _without_strides(ancestor, space) * 2 ** len(set(space.free_stride_modules))


def size_within_stride_limit(ancestor: Nesting, space: SearchSpace) -> int:
    """Number of genotypes of `space` that keep its stride limit (3.4e13 for the paper)."""
    free = set(space.free_stride_modules)
    fixed = sum(row[STRIDE] - 1 for module, row in enumerate(key(ancestor), start=1) if module not in free)
    left = space.max_downsamplings - fixed
    return _without_strides(ancestor, space) * sum(math.comb(len(free), halved) for halved in range(left + 1))


def largest(ancestor: Nesting, space: SearchSpace) -> Key:
    """The genotype of `space` with most blocks, channels and pixels: no other needs more memory or operations."""
    return tuple(
        (blocks, max(space.kernels), channels, 1 if module in space.free_stride_modules else row[STRIDE])
        for module, (blocks, channels, row) in enumerate(
            zip(space.max_blocks, max_channels(space, ancestor), key(ancestor), strict=True), start=1
        )
    )


def _without_strides(ancestor: Nesting, space: SearchSpace) -> int:
    return len(space.kernels) ** MODULES * math.prod(space.max_blocks) * math.prod(max_channels(space, ancestor))
