"""Weights files of `keras.applications`, read as tensors in our names."""

import math
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets.inherit import check_tensors
from pipeline_lib.nets.layers import TensorSpec, Weights
from pipeline_lib.nets.normalization import MEAN, STD
from pipeline_lib.nets.published.efficientnet import NORMALIZATION

CLASSIFIER = "predictions/"
BLOCK = re.compile(r"block(?P<module>\d)(?P<block>[a-z])_(?P<rest>.*)")
RENAMED = {"dwconv": "depthwise_conv", "bn": "depthwise_bn"}

WEIGHTS = "model.weights.h5"
"""Of a .keras file, which is a zip archive, the member that is read. What else it says, such as code, is not looked at."""

CLASSES = 100_000
"""Outputs that a classifier has at most."""

ROOM = 2**28
"""Bytes that the tensors of a file may take beside those that are expected: the classifier, an optimiser's."""

# What `preprocess_input` subtracts for ResNet; its images are BGR with values to 255 and not divided by anything.
RESNET_MEAN_RGB = (123.68, 116.779, 103.939)


class _RefusedError(Exception):
    """What a file holds is not read, and why."""


def read(path: str, file: Path, name: str, expected: Sequence[TensorSpec]) -> tuple[Weights, list[str]]:
    """The tensors of a file of the network `name` of `keras.applications`, and the names of those that were adapted.

    Such networks see images in other units than ours (`nets.normalization`). The first convolution is changed so that
    it gives for our images what it gave for its own; only at the border, where zeros are another colour, it may differ.

    Args:
        path: of the file, for messages.
        file: `.keras`, or `.h5` of Keras 3 or its predecessors, with or without the classifier.
        name: EfficientNetB0, ResNet50, ...
        expected: the tensors of the network without its classifier, in our names.

    Raises:
        ArtifactError: the file cannot be read, or has other tensors than these.
    """
    try:
        most = ROOM + 4 * sum(4 * math.prod(tensor.shape) for tensor in expected)
        with tempfile.TemporaryDirectory() as folder:
            model = _load(_hdf5(file, Path(folder), most), name, most)
    except _RefusedError as error:
        raise ArtifactError(f"{path}: {error}; give weights of {name} (keras.applications)") from None
    except Exception as error:  # Keras, HDF5 and zip files each have their own
        reason = str(error).strip().partition("\n")[0]
        raise ArtifactError(
            f"{path}: weights of {name} (keras.applications) are expected, but it cannot be read as such "
            f"({type(error).__name__}: {reason}); download it again, or give one of that network"
        ) from None
    weights: Weights = {
        f"{_name(layer)}/{variable.name}": np.array(variable, np.float32)
        for layer in model.layers
        for variable in layer.weights
    }
    try:
        check_tensors(expected, {key: value for key, value in weights.items() if not key.startswith(CLASSIFIER)})
    except ArtifactError as error:
        raise ArtifactError(
            f"{path}: weights of {name} (keras.applications) are expected: {error}; give one of that network"
        ) from None
    if wrong := [name for name, value in weights.items() if not np.isfinite(value).all()]:
        raise ArtifactError(
            f"{path}: {wrong[0]} has values that are no numbers, or none in the file; download it again"
        )
    return _adapt_efficientnet(weights) if f"{NORMALIZATION}/mean" in weights else _adapt_resnet(weights)


def _hdf5(file: Path, folder: Path, most: int) -> Path:
    """The HDF5 file of weights that a file is, or has in it: then unpacked into `folder`, if it has at most `most` bytes."""
    if file.suffix != ".keras":
        return file
    if not zipfile.is_zipfile(file):
        raise ValueError("not a .keras file, or a damaged one")
    with zipfile.ZipFile(file) as archive:
        if WEIGHTS not in archive.namelist():
            raise _RefusedError(f"there is no {WEIGHTS} in it")
        if (size := archive.getinfo(WEIGHTS).file_size) > most:
            raise _RefusedError(f"{WEIGHTS} has {size:,} bytes, at most {most:,} are allowed")
        with archive.open(WEIGHTS) as source, (folder / WEIGHTS).open("wb") as target:
            shutil.copyfileobj(source, target)  # never more than the size that was looked at
    return folder / WEIGHTS


def _check(stream: h5py.File, most: int) -> None:
    """Raise `_RefusedError` when what a file holds is larger than `most` bytes, or lies in other files."""
    size = 0

    # What a visit returns ends it; an exception there would be HDF5's own.
    def visit(place: str, item: Any) -> str | None:
        nonlocal size
        if not isinstance(item, h5py.Dataset):
            return None
        size += item.nbytes
        if size > most:
            return f"{place} has the shape {item.shape}: at most {most:,} bytes in all are allowed"
        return f"{place} lies in another file" if item.external or item.is_virtual else None

    def visit_link(place: str, link: Any) -> str | None:
        return f"{place} leads to another file, {link.filename}" if isinstance(link, h5py.ExternalLink) else None

    if problem := stream.visititems_links(visit_link) or stream.visititems(visit):
        raise _RefusedError(problem)


def _load(file: Path, name: str, most: int) -> keras.Model:
    with h5py.File(file) as stream:
        _check(stream, most)
        legacy = "layer_names" in stream.attrs or "model_weights" in stream
        classes = _classes(stream)
        if classes is not None and classes > CLASSES:
            raise _RefusedError(f"a classifier of {classes:,} classes, at most {CLASSES:,} are allowed")
    make = getattr(keras.applications, name)
    options = {"include_top": False} if classes is None else {"include_top": True, "classes": classes}
    model = make(weights=None, input_shape=(64, 64, 3), **options)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(np.full(variable.shape, np.nan))  # Keras only warns of some that it does not find
    # Keras goes by the name, which people change.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        link = Path(folder) / ("legacy.h5" if legacy else "model.weights.h5")
        link.symlink_to(file.resolve())
        model.load_weights(link)
    return model


def _classes(stream: h5py.File) -> int | None:
    """The classifier's outputs; None without one. Its kernel is the only matrix of these networks."""
    found: list[int] = []

    def visit(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and len(item.shape) == 2:
            found.append(item.shape[1])

    stream.visititems(visit)
    return found[0] if found else None


def _name(layer: keras.layers.Layer) -> str:
    """Our name of a layer; ResNet's are the same."""
    if isinstance(layer, keras.layers.Normalization):
        return NORMALIZATION  # Keras numbers those of a process
    if match := BLOCK.fullmatch(layer.name):
        rest = RENAMED.get(match["rest"], match["rest"])
        return f"m{match['module']}_b{ord(match['block']) - ord('a') + 1}_{rest}"
    return layer.name


def _adapt_efficientnet(weights: Weights) -> tuple[Weights, list[str]]:
    """Ours has no constants to normalise by: it sees what those of ImageNet's weights give."""
    weights = dict(weights)
    mean, variance, _ = (weights.pop(f"{NORMALIZATION}/{name}") for name in ("mean", "variance", "count"))
    mean, variance = mean.ravel(), variance.ravel()
    # Keras divides by ImageNet's deviation in two steps, one of which has no weights; its mean tells these files.
    if np.allclose(mean, MEAN, atol=1e-3):
        return weights, []
    deviation = np.sqrt(variance, dtype=np.float64)
    return _adapted(weights, "stem", np.array(STD) / deviation, (np.array(MEAN) - mean) / deviation)


def _adapt_resnet(weights: Weights) -> tuple[Weights, list[str]]:
    weights = dict(weights)
    weights["conv1_conv/kernel"] = weights["conv1_conv/kernel"][:, :, ::-1]  # BGR
    return _adapted(weights, "conv1", 255 * np.array(STD), 255 * np.array(MEAN) - RESNET_MEAN_RGB)


def _adapted(
    weights: Weights, stage: str, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[Weights, list[str]]:
    """The first convolution of RGB images that are scaled and shifted before: its kernel, and its bias or mean."""
    kernel = weights[f"{stage}_conv/kernel"].astype(np.float64)
    constant = np.einsum("hwco,c->o", kernel, shift)
    bias, mean = f"{stage}_conv/bias", f"{stage}_bn/moving_mean"
    changed = {f"{stage}_conv/kernel": kernel * scale[:, None]}
    changed |= {bias: weights[bias] + constant} if bias in weights else {mean: weights[mean] - constant}
    return {**weights, **{name: value.astype(np.float32) for name, value in changed.items()}}, list(changed)
