"""Initial weights from a file of trained ones: `keras.applications`' or our own, by the search's own transfer.

The paper's ancestor starts from EfficientNet-B0's ImageNet weights, block for block (section V-C). NumPy only, until a
file of Keras is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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


def inherit_file(path: str, network: Network, seed: int) -> tuple[Weights, dict[str, Any]]:
    """The weights of `network` from the file `path`, and a report.

    A search network and EfficientNet-B0 inherit from each other, block for block; any other network from its own kind by
    name. Tensors of other shapes inherit where the two overlap; the rest is as in `initial_weights(network, seed)`.

    Args:
        path: `.safetensors` of this workflow, or `.h5`, `.weights.h5`, `.keras` of the network of `keras.applications`
            that `network` is built on, with or without its classifier; a file of this machine, or gs://.
        network: what is to be trained.
        seed: of what is not inherited.

    The report: that of `inherit_tensors`, with the `source` (the path), the `donor`'s name, and `adapted`: the donor's
    tensors that were changed so that the network sees its images as the donor saw them.

    Raises:
        ArtifactError: the file is missing, damaged, or has the weights of another network.
    """
    with remote.local_copy(path) as file:
        donor, specs, weights, adapted = (_own if path.endswith(OWN) else _keras)(path, file, network)
    inherited, report = inherit_tensors(specs, weights, network, seed)
    report["unused"] += [name for name in weights if name not in {tensor.name for tensor in specs}]
    return inherited, {"source": path, "donor": donor, "adapted": adapted, **report}


def check_form(path: str, network: Network) -> None:
    """Raise `ArtifactError` when a file of this name cannot have weights for `network`, whatever is in it."""
    if not path.endswith(OWN) and _kind(network) not in _APPLICATIONS:
        raise ArtifactError(f"{path}: keras.applications has no {_kind(network)}; a {OWN} of it is expected")


def summary(report: dict[str, Any]) -> str:
    """What `inherit_file` did, in a line."""
    return (
        f"{100 * report['fraction']:.1f} % of the parameters come from {report['donor']} of {report['source']}; "
        f"{len(report['initial'])} tensors are new, {len(report['unused'])} of its tensors are not used"
    )


Donor = tuple[str, Sequence[TensorSpec], Weights, list[str]]


def _own(path: str, file: Path, network: Network) -> Donor:
    try:
        donor, weights = files.load_any(file)
    except ArtifactError as error:
        raise ArtifactError(str(error).replace(str(file), path)) from None
    if _kind(donor) != _kind(network):
        raise ArtifactError(f"{path}: weights of {_name(network)} are expected, these are of {_name(donor)}")
    return _name(donor), tensors(donor), weights, []


def _keras(path: str, file: Path, network: Network) -> Donor:
    check_form(path, network)
    application = _APPLICATIONS[_kind(network)]()
    from pipeline_lib.nets import applications

    weights, adapted = applications.read(path, file, application.name, application.tensors)
    specs = [tensor for tensor in application.tensors if tensor.name in weights]
    return f"{application.name} (keras.applications)", specs, weights, adapted


def _kind(network: Network) -> str:
    """Networks of one kind can inherit from each other."""
    return network.network if isinstance(network, Published) else EFFICIENTNET


def _name(network: Network) -> str:
    return network.network if isinstance(network, Published) else "a search network"
