"""Weights of a child network from its trained parent (paper, section III and appendix A-C), in NumPy."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets.layers import Network, TensorSpec, Weights, initial_weights, tensors
from pipeline_lib.nets.spec import Architecture, block_name
from pipeline_lib.search.transfer import block_source, transfer


def inherit(
    parent: Architecture,
    parent_weights: Mapping[str, NDArray[Any]],
    child: Architecture,
    seed: int,
    *,
    donor: Literal["module", "network"] = "module",
    kernels: bool = True,
) -> tuple[Weights, dict[str, Any]]:
    """The child's weights, keyed `layer/variable`, and a report: `inherit_tensors` from a whole search network.

    Raises:
        ArtifactError: `parent_weights` are not those of `parent`.
    """
    check_weights(parent, parent_weights)
    return inherit_tensors(tensors(parent), parent_weights, child, seed, donor=donor, kernels=kernels)


def inherit_tensors(
    parent: Sequence[TensorSpec],
    parent_weights: Mapping[str, NDArray[Any]],
    child: Network,
    seed: int,
    *,
    donor: Literal["module", "network"] = "module",
    kernels: bool = True,
) -> tuple[Weights, dict[str, Any]]:
    """The child's weights from the tensors `parent` of a network or of a part of one, and a report.

    Stem, head and final convolution inherit from the same layer, each block from the one that `block_source` names.
    What is not inherited is as in `initial_weights(child, seed)`. `donor` is that of `block_source`; without `kernels`,
    depthwise kernels of another size inherit nothing (both as in the published program).

    The report is `transfer`'s, with `blocks`: the donor of each of the child's blocks by name (none in a network without
    modules), and `unused`: the parent's tensors that nothing inherits from. A tensor whose donor has no such layer (the
    expansion of a block whose donor does not expand) is among its `initial` ones.
    """
    specs = tensors(child)
    sources = block_source(_blocks(parent), _blocks(specs), donor)
    shapes = {tensor.name: tensor.shape for tensor in parent}
    donors = {}
    for tensor in specs:
        name = tensor.name
        if tensor.block is not None:
            name = block_name(sources[tensor.block]) + name.removeprefix(block_name(tensor.block))
        # A scalar, the count of constants, has no axes to overlap.
        found = name in shapes and tensor.shape != ()
        if found and tensor.kind == "depthwise" and not kernels:
            found = shapes[name][:2] == tensor.shape[:2]
        donors[tensor.name] = name if found else None
    kinds = {tensor.name: tensor.kind for tensor in specs}
    weights, report = transfer(parent_weights, initial_weights(child, seed), kinds, donors)
    report["blocks"] = {block_name(block): block_name(source) for block, source in sources.items()}
    used = set(donors.values())
    report["unused"] = [tensor.name for tensor in parent if tensor.name not in used]
    return weights, report


def _blocks(specs: Sequence[TensorSpec]) -> list[int]:
    """The blocks of each module; nothing for a network without modules."""
    blocks = Counter(module for module, _ in {tensor.block for tensor in specs if tensor.block is not None})
    return [blocks[module] for module in sorted(blocks)]


def check_weights(architecture: Network, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raise `ArtifactError` naming the tensors of `weights` that are missing, unknown or of another shape."""
    check_tensors(tensors(architecture), weights)


def check_tensors(specs: Sequence[TensorSpec], weights: Mapping[str, NDArray[Any]]) -> None:
    """`check_weights` of a part of a network."""
    expected = {tensor.name: tensor.shape for tensor in specs}
    problems = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name} is unknown" for name in weights.keys() - expected.keys()]
    problems += [
        f"{name} has shape {weights[name].shape}, {shape} is expected"
        for name, shape in expected.items()
        if name in weights and weights[name].shape != shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ArtifactError(f"weights do not belong to their network: {'; '.join(sorted(problems)[:3])}{more}")
