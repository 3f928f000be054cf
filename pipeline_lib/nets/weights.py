"""Weights of a Keras network as flat dictionaries keyed `layer/variable`."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import ArtifactError

NAMED = 5  # names in an error message


def get_weights(model: keras.Model) -> dict[str, npt.NDArray[Any]]:
    """A copy of every weight, batch normalisation's moving statistics included, seed states not."""
    return {name: np.array(variable) for name, variable in _variables(model).items()}


def set_weights(model: keras.Model, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Set every weight of `model`.

    Raises `ArtifactError`, before anything is changed, that names what `tensors` lack, have too much or in other shapes.
    """
    variables = _variables(model)
    problems = [
        f"{what}: {', '.join(names[:NAMED])}{f' and {len(names) - NAMED} more' if len(names) > NAMED else ''}"
        for what, names in (
            ("missing", [name for name in variables if name not in tensors]),
            ("unknown", [name for name in tensors if name not in variables]),
            (
                "of another shape",
                [
                    f"{name} {np.shape(tensors[name])} instead of {tuple(variable.shape)}"
                    for name, variable in variables.items()
                    if name in tensors and np.shape(tensors[name]) != tuple(variable.shape)
                ],
            ),
        )
        if names
    ]
    if problems:
        raise ArtifactError(f"weights do not fit the network {model.name!r}: {'; '.join(problems)}")
    for name, variable in variables.items():
        variable.assign(tensors[name])


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    return {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights}
