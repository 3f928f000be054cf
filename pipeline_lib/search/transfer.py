"""Weight transfer from a trained parent to a mutated child (paper, section III and appendix A-C)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Block = tuple[int, int]

_AXES = {"conv": (3, 4, 5), "depthwise": (3, 4, 5), "tconv": (3, 4, 5), "dense": (2,), "bias": (1,), "bn": (1,)}
_CHANNEL_AXES = 2  # the last axes of a kernel; those before them are spatial


def transfer_array(parent: Array, child_init: Array, kind: str) -> Array:
    """The child's array: what it inherits from `parent`, and `child_init` where it inherits nothing.

    Args:
        parent: the trained array.
        child_init: the child's initial array, with the same number of axes; it gives the shape and dtype of the result.
        kind: conv (spatial..., in, out), depthwise (spatial..., in, multiplier), tconv (spatial..., out, in), each with
            1 to 3 spatial axes; dense (in, out); bias; bn (any of gamma, beta, moving mean, moving variance).

    Spatial axes overlap centred (of an odd difference the first half is rounded down), all others from index 0. Entries
    of a bn array that are not inherited take the mean of the parent's. The result shares no memory with the inputs.
    """
    parent, child = np.asarray(parent), np.array(child_init)
    if kind not in _AXES:
        raise ValueError(f"kind {kind!r}: one of {', '.join(_AXES)} is expected")
    if parent.ndim != child.ndim or child.ndim not in _AXES[kind]:
        raise ValueError(f"{kind}: shapes {parent.shape} and {child.shape} do not correspond")
    if kind == "bn":
        child[...] = parent.mean(dtype=np.float64)
    spatial = max(0, child.ndim - _CHANNEL_AXES)
    centred = [axis < spatial for axis in range(child.ndim)]
    pairs = [_overlap(*sizes) for sizes in zip(parent.shape, child.shape, centred, strict=True)]
    child[tuple(target for _, target in pairs)] = parent[tuple(source for source, _ in pairs)]
    return child


def _overlap(parent: int, child: int, centred: bool) -> tuple[slice, slice]:
    """The parts of an axis of the parent and of the child that correspond."""
    common = min(parent, child)
    starts = ((parent - common) // 2, (child - common) // 2) if centred else (0, 0)
    return slice(starts[0], starts[0] + common), slice(starts[1], starts[1] + common)


def block_source(
    parent_blocks: Sequence[int], child_blocks: Sequence[int], donor: Literal["module", "network"] = "module"
) -> dict[Block, Block]:
    """0-based (module, block) of the parent's block that each of the child's inherits from, given blocks per module.

    The block of the same place, or where the parent has fewer the last one of that module; of the network with
    `donor="network"` (as in the published program).
    """
    last_module = len(parent_blocks) - 1
    return {
        (module, block): (module, block)
        if block < parents
        else ((module, parents - 1) if donor == "module" else (last_module, parent_blocks[last_module] - 1))
        for module, (parents, children) in enumerate(zip(parent_blocks, child_blocks, strict=True))
        for block in range(children)
    }


def transfer(
    parent: Mapping[str, Array],
    child_init: Mapping[str, Array],
    kinds: Mapping[str, str],
    donors: Mapping[str, str | None],
) -> tuple[dict[str, Array], dict[str, Any]]:
    """All arrays of a child, and a report on what they inherit.

    Args:
        parent: the trained arrays by name.
        child_init: the child's initial arrays by name.
        kinds: `transfer_array`'s kind of each of the child's arrays.
        donors: name of the parent's array that each of the child's inherits from; without one it stays initial.

    The report: `parameters` of the child, how many of them are `inherited` (a mean that fills up a bn array does not
    count), that `fraction`, the names of the arrays left `initial`, and of those that inherit only in `part` their
    fraction.
    """
    weights, inherited, initial, part = {}, 0, [], {}
    for name, array in child_init.items():
        donor = donors.get(name)
        if donor is None:
            weights[name] = np.array(array)
            initial.append(name)
        else:
            weights[name] = transfer_array(parent[donor], array, kinds[name])
            overlap = math.prod(map(min, parent[donor].shape, array.shape))
            inherited += overlap
            if overlap < array.size:
                part[name] = overlap / array.size
    parameters = sum(array.size for array in child_init.values())
    report = {
        "parameters": parameters,
        "inherited": inherited,
        "fraction": inherited / parameters,
        "initial": initial,
        "part": part,
    }
    return weights, report
