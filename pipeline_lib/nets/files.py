"""Weights files: a network's tensors and, in the header, the architecture that they belong to, and its keypoints' names."""

import json
import shutil
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts import AGAIN, atomic_path, load_metadata, load_weights, save_weights, weights_size
from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets.inherit import check_weights
from pipeline_lib.nets.layers import Network, Weights, tensors
from pipeline_lib.nets.registry import Published, from_json, is_refiner
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.search.genotype import Nesting, encode, key

ARCHITECTURE, KEYPOINTS, FAILURE = "architecture", "keypoints", "failure"


def save(
    path: str | PathLike[str],
    architecture: Network,
    weights: Mapping[str, NDArray[Any]],
    keypoints: Sequence[str] | None = None,
    failure: str | None = None,
) -> None:
    """Write `weights` of `architecture`, atomically; raises `ArtifactError` when they do not belong to it.

    `keypoints`: what each heat map has been trained to show; None of weights that have not been trained. `failure`: why
    the training that these weights should have come from did not.
    """
    check_weights(architecture, weights)
    metadata = {ARCHITECTURE: architecture.to_json()}
    if keypoints is not None:
        metadata[KEYPOINTS] = json.dumps(list(keypoints))
    if failure is not None:
        metadata[FAILURE] = failure
    save_weights(path, weights, metadata)


def size(network: Network) -> int:
    """Bytes of the float32 weights file of `network`, without writing it."""
    shapes = {tensor.name: tensor.shape for tensor in tensors(network)}
    return weights_size(shapes, {ARCHITECTURE: network.to_json()})


def load(path: str | PathLike[str]) -> tuple[Network, Weights]:
    """The pose network and weights of a file.

    Raises `ArtifactError` naming the file when they do not fit together, and when the network is a refiner, which sees
    more than images.
    """
    network, weights = load_any(path)
    if is_refiner(network):
        raise ArtifactError(
            f"{path}: weights of a refiner, which takes poses beside the images; use those of a pose network here, and "
            "scripts/refine.py with these"
        )
    return network, weights


def load_refiner(path: str | PathLike[str]) -> tuple[Published, Weights]:
    """The refiner and weights of a file; raises `ArtifactError` as `load`, and for a pose network."""
    network, weights = load_any(path)
    if not (isinstance(network, Published) and is_refiner(network)):
        raise ArtifactError(f"{path}: weights of a refiner are expected, such as refiner/weights.safetensors of a run")
    return network, weights


def load_any(path: str | PathLike[str]) -> tuple[Network, Weights]:
    """`load`, of a pose network or a refiner."""
    weights, metadata = load_weights(path)
    network = _network(path, metadata)
    try:
        check_weights(network, weights)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}; {AGAIN}") from None
    return network, weights


def check_finite(path: str | PathLike[str], weights: Mapping[str, NDArray[Any]]) -> None:
    """Raise `ArtifactError` for weights, read from `path`, with which a network would say nothing.

    Not of those that a training starts from: it finds out itself, and says that it failed.
    """
    if (wild := next((name for name, values in weights.items() if not np.isfinite(values).all()), None)) is not None:
        raise ArtifactError(
            f"{path}: {wild} has values that are no finite numbers, and so would be all that the network says; train it again, or "
            "give other weights"
        )


def load_network(path: str | PathLike[str]) -> Network:
    """The network that a weights file belongs to, without reading its tensors; raises `ArtifactError`."""
    return _network(path, load_metadata(path))


def load_keypoints(path: str | PathLike[str]) -> tuple[str, ...] | None:
    """The names of the keypoints that a file's weights were trained on, None where it has none; raises `ArtifactError`."""
    metadata = load_metadata(path)
    if KEYPOINTS not in metadata:
        return None
    try:
        names = json.loads(metadata[KEYPOINTS])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("a list of names is expected")
    except ValueError as error:
        raise ArtifactError(
            f"{path}: the keypoints in its header are not as written by this version ({error}); {AGAIN}"
        ) from None
    if len(names) != (expected := _network(path, metadata).keypoints):
        raise ArtifactError(f"{path}: its header names {len(names)} keypoints, its network has {expected}; {AGAIN}")
    return tuple(names)


def load_searched(path: str | PathLike[str]) -> tuple[Architecture, Weights]:
    """`load`, for a search network only."""
    network, weights = load(path)
    return _searched(path, network), weights


def load_architecture(path: str | PathLike[str]) -> Architecture:
    """The search network that a weights file belongs to, without reading its tensors."""
    return _searched(path, _network(path, load_metadata(path)))


def copy(source: str | PathLike[str], target: str | PathLike[str], genotype: Nesting, what: str) -> None:
    """Copy the weights of `what`, which has this genotype, as they are; raises `ArtifactError` for others, or damaged ones."""
    found = _searched(source, _network(source, load_metadata(source, check=True))).genotype
    if found != key(genotype):
        raise ArtifactError(
            f"{source}: weights of {encode(found)}, but {what} is {encode(genotype)}; give its own, or delete this file and "
            "run again"
        )
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def load_failure(path: str | PathLike[str]) -> str | None:
    """Why the training behind a weights file failed; None if it did not."""
    return load_metadata(path).get(FAILURE)


def _searched(path: str | PathLike[str], network: Network) -> Architecture:
    if not isinstance(network, Architecture):
        raise ArtifactError(
            f"{path}: weights of a search network are expected, with a genotype, but these are of another one; give those of a "
            "child, a parent or the champion"
        )
    return network


def _network(path: str | PathLike[str], metadata: Mapping[str, str]) -> Network:
    if ARCHITECTURE not in metadata:
        raise ArtifactError(
            f"{path}: its header names no architecture, it was not written by this workflow; give a weights file of it"
        )
    if unknown := sorted(metadata.keys() - {ARCHITECTURE, KEYPOINTS, FAILURE}):
        raise ArtifactError(f"{path}: its header has an unknown entry {unknown[0]!r}; {AGAIN}, or update the workflow")
    try:
        return from_json(metadata[ARCHITECTURE])
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}; {AGAIN}") from None
