"""Initial weights from a file of trained ones: `keras.applications`' or our own, by the search's own transfer.

The paper's ancestor starts from EfficientNet-B0's ImageNet weights, block for block (section V-C). NumPy only, until a
file of Keras is read.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib import remote
from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets import files
from pipeline_lib.nets.inherit import inherit_tensors
from pipeline_lib.nets.layers import Builder, Network, TensorSpec, Weights, initial_weights, tensors, tensors_of
from pipeline_lib.nets.published import efficientnet, resnet
from pipeline_lib.nets.registry import Published
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.search.genotype import ANCESTOR, key
from pipeline_lib.search.transfer import transfer

OWN = ".safetensors"
EFFICIENTNET = "efficientnet_b0"
SIDE = 64
"""Of the input that donors are described at; their tensors are those of any size."""


@dataclass(frozen=True)
class Application:
    """A network of `keras.applications` without its classifier: its name there, and its tensors in our names."""

    name: str
    tensors: tuple[TensorSpec, ...]


def _efficientnet() -> Application:
    builder = Builder(SIDE, SIDE)
    efficientnet.backbone(builder, Architecture(key(ANCESTOR), SIDE, SIDE))
    return Application("EfficientNetB0", tuple(tensors_of(builder.layers)))


def _resnet(depth: int) -> Application:
    builder = Builder(SIDE, SIDE)
    resnet.backbone(builder, depth)
    return Application(f"ResNet{depth}", tuple(tensors_of(builder.layers)))


_APPLICATIONS: dict[str, Callable[[], Application]] = {
    EFFICIENTNET: _efficientnet,
    "cpn": partial(_resnet, 50),
    **{
        f"{kind}_r{depth}": partial(_resnet, depth)
        for kind in ("simple_baseline", "posefix")
        for depth in resnet.BLOCKS
    },
}


def from_scratch(network: Network, seed: int) -> tuple[Weights, dict[str, Any]]:
    """New weights, and the report of a network that inherits nothing."""
    return transfer({}, initial_weights(network, seed), {}, {})


def inherit_file(
    path: str, network: Network, seed: int, keypoints: Sequence[str] | None = None
) -> tuple[Weights, dict[str, Any]]:
    """The weights of `network` from the file `path`, and a report.

    A search network and EfficientNet-B0 inherit from each other, block for block; any other network from its own kind by
    name. Tensors of other shapes inherit where the two overlap; the rest is as in `initial_weights(network, seed)`.
    A heat map inherits from the donor's of the same keypoint, wherever that is, and else stays new, if the names of both
    networks' keypoints are known; if not, from the one in its place.

    Args:
        path: `.safetensors` of this workflow, or `.h5`, `.weights.h5`, `.keras` of the network of `keras.applications`
            that `network` is built on, with or without its classifier; a file of this machine, or gs://.
        network: what is to be trained.
        seed: of what is not inherited.
        keypoints: the names of the keypoints of `network`; those of the donor are in its file.

    The report: that of `inherit_tensors`, with the `source` (the path), the `donor`'s name, and `adapted`: the donor's
    tensors that were changed so that the network sees its images as the donor saw them. Where names of keypoints were
    compared, also `keypoints`: those that are `inherited`, those that are `new`, and the donor's that are `unused`.

    Raises:
        ArtifactError: the file is missing, damaged, or has the weights of another network.
    """
    with remote.local_copy(path) as file:
        donor, specs, weights, adapted, trained = (_own if path.endswith(OWN) else _keras)(path, file, network)
    if trained is not None and keypoints is not None:
        specs, weights = _rearranged(specs, weights, _maps(network), trained, keypoints)
    inherited, report = inherit_tensors(specs, weights, network, seed)
    if trained is not None and keypoints is not None:
        report["keypoints"] = _renew(inherited, report, specs, network, seed, trained, keypoints)
    report["unused"] += [name for name in weights if name not in {tensor.name for tensor in specs}]
    return inherited, {"source": path, "donor": donor, "adapted": adapted, **report}


def inherit_refiner(path: str, network: Network, seed: int, keypoints: Sequence[str]) -> tuple[Weights, dict[str, Any]]:
    """`inherit_file` for a refiner of these `keypoints`; raises `ArtifactError` for a refiner of others, too.

    A refiner sees keypoints, too: of others it would inherit what belongs to other parts of the body.
    """
    if path.endswith(OWN):
        with remote.local_copy(path) as file:
            trained = files.load_keypoints(file)
        if trained is not None and list(trained) != list(keypoints):
            raise ArtifactError(
                f"{path}: a refiner of other keypoints ({', '.join(trained)}); use one of the data set's, or weights of "
                "keras.applications"
            )
    return inherit_file(path, network, seed)


def _maps(network: Network) -> dict[str, int]:
    """The axis of keypoints of each tensor that has one: of the layers that give heat maps."""
    own: Any = network  # every network is a dataclass, which its protocol does not say
    larger: Network = dataclasses.replace(own, keypoints=network.keypoints + 1)
    return {
        one.name: next(axis for axis, sides in enumerate(zip(one.shape, other.shape, strict=True)) if len({*sides}) > 1)
        for one, other in zip(tensors(network), tensors(larger), strict=True)
        if one.shape != other.shape
    }


def _rearranged(
    specs: Sequence[TensorSpec],
    weights: Weights,
    maps: Mapping[str, int],
    trained: Sequence[str],
    wanted: Sequence[str],
) -> tuple[list[TensorSpec], Weights]:
    """The donor with the heat maps of the keypoints `wanted` instead of `trained`; the first one stands for an unknown one."""
    places = [trained.index(name) if name in trained else 0 for name in wanted]
    moved = {name: np.take(weights[name], places, axis) for name, axis in maps.items() if name in weights}
    weights = {**weights, **moved}
    return [dataclasses.replace(tensor, shape=weights[tensor.name].shape) for tensor in specs], weights


def _renew(
    inherited: Weights,
    report: dict[str, Any],
    donor: Sequence[TensorSpec],
    network: Network,
    seed: int,
    trained: Sequence[str],
    wanted: Sequence[str],
) -> dict[str, list[str]]:
    """Make the heat maps of keypoints that the donor does not know new, also in the report; which they are."""
    new = [place for place, name in enumerate(wanted) if name not in trained]
    shapes = {tensor.name: tensor.shape for tensor in donor}
    initial = initial_weights(network, seed)
    for name, axis in _maps(network).items():
        if name not in shapes:
            continue
        where: tuple[Any, ...] = (*(slice(None),) * axis, new)
        inherited[name][where] = initial[name][where]
        overlap = math.prod(map(min, shapes[name], inherited[name].shape))
        report["inherited"] -= overlap // len(wanted) * len(new)
    report["fraction"] = report["inherited"] / report["parameters"]
    return {
        "inherited": [name for name in wanted if name in trained],
        "new": [name for name in wanted if name not in trained],
        "unused": [name for name in trained if name not in wanted],
    }


def check_form(path: str, network: Network) -> None:
    """Raise `ArtifactError` when a file of this name cannot have weights for `network`, or its header says so.

    The header of our own file is read where it lies on this machine; other content is not looked at.
    """
    if path.endswith(OWN) and Path(path).is_file():
        _check_kind(path, files.load_network(path), network)
    if not path.endswith(OWN) and _kind(network) not in _APPLICATIONS:
        raise ArtifactError(f"{path}: keras.applications has no {_kind(network)}; a {OWN} of it is expected")


def summary(report: dict[str, Any]) -> str:
    """What `inherit_file` did, in a line."""
    new = report.get("keypoints", {}).get("new")
    return (
        f"{100 * report['fraction']:.1f} % of the parameters come from {report['donor']} of {report['source']}; "
        f"{len(report['initial'])} tensors are new, {len(report['part'])} inherit in part, {len(report['unused'])} of its "
        "tensors are not used"
    ) + (f"; new heat maps: {', '.join(new)}" if new else "")


# Name, tensors, weights, which of them were adapted, and what they show, where that is known.
Donor = tuple[str, Sequence[TensorSpec], Weights, list[str], tuple[str, ...] | None]


def _own(path: str, file: Path, network: Network) -> Donor:
    try:
        donor, weights = files.load_any(file)
        keypoints = files.load_keypoints(file)
    except ArtifactError as error:
        raise ArtifactError(str(error).replace(str(file), path)) from None
    _check_kind(path, donor, network)
    return _name(donor), tensors(donor), weights, [], keypoints


def _check_kind(path: str, donor: Network, network: Network) -> None:
    if _kind(donor) != _kind(network):
        raise ArtifactError(f"{path}: weights of {_name(network)} are expected, these are of {_name(donor)}")


def _keras(path: str, file: Path, network: Network) -> Donor:
    check_form(path, network)
    application = _APPLICATIONS[_kind(network)]()
    from pipeline_lib.nets import applications

    weights, adapted = applications.read(path, file, application.name, application.tensors)
    specs = [tensor for tensor in application.tensors if tensor.name in weights]
    return f"{application.name} (keras.applications)", specs, weights, adapted, None


def _kind(network: Network) -> str:
    """Networks of one kind can inherit from each other."""
    return network.network if isinstance(network, Published) else EFFICIENTNET


def _name(network: Network) -> str:
    return network.network if isinstance(network, Published) else "a search network"
