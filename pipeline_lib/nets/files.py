"""Weights files: a network's tensors and, in the header, the architecture that they belong to."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from numpy.typing import NDArray

from pipeline_lib.artifacts import load_metadata, load_weights, save_weights
from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets.inherit import check_weights
from pipeline_lib.nets.spec import Architecture, Weights

ARCHITECTURE = "architecture"


def save(path: str | PathLike[str], architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write `weights` of `architecture`, atomically; raises `ArtifactError` when they do not belong to it."""
    check_weights(architecture, weights)
    save_weights(path, weights, {ARCHITECTURE: architecture.to_json()})


def load(path: str | PathLike[str]) -> tuple[Architecture, Weights]:
    """The architecture and weights of a file; raises `ArtifactError` naming the file when they do not fit together."""
    weights, metadata = load_weights(path)
    architecture = _architecture(path, metadata)
    try:
        check_weights(architecture, weights)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return architecture, weights


def load_architecture(path: str | PathLike[str]) -> Architecture:
    """The architecture that a weights file belongs to, without reading its tensors."""
    return _architecture(path, load_metadata(path))


def _architecture(path: str | PathLike[str], metadata: Mapping[str, str]) -> Architecture:
    if ARCHITECTURE not in metadata:
        raise ArtifactError(f"{path}: its header names no architecture; it was not written by this workflow")
    try:
        return Architecture.from_json(metadata[ARCHITECTURE])
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
