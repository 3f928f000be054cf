"""Networks as lists of layers, in NumPy: their tensors, counts and initial weights.

A `Builder` collects the layers of a network in order of computation; `nets.building` makes the Keras network by walking
the same list, so that the two cannot drift. Weights are keyed `layer/variable`. Sizes are (height, width).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.errors import ArtifactError, ConfigError

IMAGE = "image"
"""Name of the network's input among the `inputs` of a layer."""

IMAGE_CHANNELS = 3
SE_RATIO = 0.25
EPSILON = 1e-3
"""Of batch normalisation."""

NORMAL_SCALE = 2.0
FINAL_SCALE = 1 / 3
TRUNCATION = 2.0
TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal cut at two sigma; Keras divides by it to keep the variance."""

MOST_PARAMETERS = 2**30
"""A hundred times those of the largest network of the paper's; more is a mistake, to be found before memory is asked for."""

Size = tuple[int, int]
Block = tuple[int, int]
Op = Literal[
    "conv",
    "depthwise",
    "tconv",
    "bn",
    "swish",
    "relu",
    "sigmoid",
    "squeeze",
    "excite",
    "drop",
    "add",
    "concat",
    "max_pool",
    "resize",
    "constants",
]
Kind = Literal["conv", "depthwise", "tconv", "dense", "bias", "bn"]
Initializer = Literal["normal", "uniform", "zeros", "ones"]
Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class LayerSpec:
    """One layer of the computation.

    Attributes:
        name: unique; the prefix of its variables' names.
        op: conv, depthwise, tconv, bn; constants (per-channel mean 0, variance 1 and a count, never trained: Keras'
            `Normalization` before it is adapted); and without variables: swish, relu, sigmoid, squeeze (mean over both
            spatial axes, which are kept with size 1), excite (product of its two inputs), drop (stochastic depth per
            sample), add (sum of its inputs), concat (of channels), max_pool, resize (bilinear, to `out_size`).
        inputs: names of the layers whose outputs it takes, `IMAGE` for the network's input.
        role: stem, expand, depthwise, se, project, residual, head, final, or a network's own word.
        block: 0-based (module, block) in a search network, None elsewhere.
        in_channels, out_channels, in_size, out_size: of the first input and of the output.
        kernel, stride, bias: of convolutions and pooling; kernels are square.
        symmetric: padded by kernel // 2 on all sides instead of TensorFlow's "same", which at stride 2 differs.
        epsilon: of bn only.
        depth: of drop only: index of the block / number of blocks, which stochastic depth's rate is multiplied with.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    role: str
    block: Block | None
    in_channels: int
    out_channels: int
    in_size: Size
    out_size: Size
    kernel: int = 1
    stride: int = 1
    bias: bool = False
    symmetric: bool = False
    epsilon: float = EPSILON
    depth: float = 0.0

    @property
    def multiply_adds(self) -> int:
        """Of convolutions, without bias; a transposed one's are counted at its input resolution. 0 for other layers."""
        height, width = self.in_size if self.op == "tconv" else self.out_size
        window = height * width * self.kernel**2
        match self.op:
            case "conv" | "tconv":
                return window * self.in_channels * self.out_channels
            case "depthwise":
                return window * self.out_channels
            case _:
                return 0

    @property
    def profiled(self) -> int:
        """Operations by the rule of TensorFlow 2.3's profiler, which gives the paper's numbers (two a multiply-add).

        Beside those of convolutions: one for each element that a bias is added to, of a swish, that squeeze-excitation
        scales, that a global mean reads, or that is in a window of a maximum; three for each that constants normalise
        (rescaling included). Everything else counts nothing.
        """
        height, width = self.in_size if self.op == "squeeze" else self.out_size
        elements = height * width * self.out_channels
        match self.op:
            case "swish" | "excite" | "squeeze":
                return elements
            case "max_pool":
                return elements * self.kernel**2
            case "constants":
                return 3 * elements
            case _:
                return 2 * self.multiply_adds + elements * self.bias


@dataclass(frozen=True)
class TensorSpec:
    """One variable: its name `layer/variable`, shape, how it is transferred (`kind`) and initialised.

    The initialiser normal is variance scaling 2.0, uniform (a final convolution) 1/3, both by fan-out.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    initializer: Initializer
    trainable: bool
    block: Block | None


@dataclass(frozen=True)
class Supervised:
    """An output that is trained, beside those of other layers.

    Attributes:
        layer: name of the layer that gives the maps, of the size of the network's output.
        sigma: standard deviation of its targets in units of the network's own.
        hardest: only this many keypoints of a person, those with the largest errors, count; None: all.
        weight: of its loss.
    """

    layer: str
    sigma: float = 1.0
    hardest: int | None = None
    weight: float = 1.0


class Network(Protocol):
    """What is needed to build, count, train and store a network; `Architecture` and `Published` are such."""

    @property
    def height(self) -> int:
        """Of the input, in pixels."""

    @property
    def width(self) -> int:
        """Of the input, in pixels."""

    @property
    def keypoints(self) -> int:
        """Number of output maps."""

    def layers(self) -> list[LayerSpec]:
        """Every layer in order of computation; the last one's output are the heat maps."""

    def supervised(self) -> tuple[Supervised, ...]:
        """The outputs that are trained."""

    def resized(self, height: int, width: int) -> Self:
        """The same network, with the same tensors, for another input size."""

    def to_json(self) -> str:
        """What a weights file's header says of it."""


class Stored:
    """What every description of a network shares: frozen dataclasses of plain values, kept as JSON."""

    def resized(self, height: int, width: int) -> Self:
        """The same network, with the same tensors, for another input size."""
        return replace(self, height=height, width=width)  # type: ignore[type-var]

    def to_json(self) -> str:
        """Compact JSON, equal for equal networks; floats survive exactly."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote; raises `ArtifactError` for any other text, and for a network that cannot be."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError, OverflowError, ConfigError) as error:
            raise ArtifactError(f"architecture {text[:200]!r}: not as written by this version ({error})") from None


class Builder:
    """Collects layers, remembering where the computation stands.

    Attributes:
        layers: what was collected.
        name, channels, size: of the output so far; `at` goes back to an earlier one.
        prefix, block: of the layers to come.
    """

    def __init__(self, height: int, width: int, epsilon: float = EPSILON, channels: int = IMAGE_CHANNELS) -> None:
        self.layers: list[LayerSpec] = []
        self.name, self.channels, self.size = IMAGE, channels, (height, width)
        self.prefix = ""
        self.block: Block | None = None
        self.epsilon = epsilon
        self._outputs: dict[str, tuple[int, Size]] = {IMAGE: (self.channels, self.size)}

    def at(self, name: str) -> None:
        """Go on from the output of the layer `name`."""
        self.name, (self.channels, self.size) = name, self._outputs[name]

    def add(self, suffix: str, op: Op, role: str, *, others: Sequence[str] = (), **fields: Any) -> str:
        """Add a layer that takes the output so far and those of `others`; returns its name."""
        layer = LayerSpec(
            name=self.prefix + suffix,
            op=op,
            inputs=(self.name, *others),
            role=role,
            block=self.block,
            in_channels=self.channels,
            in_size=self.size,
            **{"out_channels": self.channels, "out_size": self.size, **fields},
        )
        self.layers.append(layer)
        self._outputs[layer.name] = layer.out_channels, layer.out_size
        self.at(layer.name)
        return layer.name

    def convolution(
        self, suffix: str, op: Op, role: str, channels: int, kernel: int, stride: int = 1, **fields: Any
    ) -> str:
        """A convolution of op conv, depthwise or tconv; transposed ones multiply the size by their stride."""
        height, width = self.size
        size = (height * stride, width * stride) if op == "tconv" else (-(-height // stride), -(-width // stride))
        return self.add(suffix, op, role, out_channels=channels, out_size=size, kernel=kernel, stride=stride, **fields)

    def bn(self, suffix: str, role: str) -> str:
        """Batch normalisation."""
        return self.add(suffix, "bn", role, epsilon=self.epsilon)

    def normalised(
        self,
        stage: str,
        op: Op,
        role: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        activation: Op | None = "swish",
        **fields: Any,
    ) -> str:
        """A convolution, batch normalisation, and an activation if one is given."""
        name = f"{stage}_{'tconv' if op == 'tconv' else 'conv'}"
        self.convolution(name, op, role, channels, kernel, stride, **fields)
        last = self.bn(f"{stage}_bn", role)
        return self.add(f"{stage}_{activation}", activation, role) if activation else last

    def max_pool(self, suffix: str, role: str, kernel: int, stride: int, **fields: Any) -> str:
        """The maximum of windows."""
        height, width = self.size
        size = -(-height // stride), -(-width // stride)
        return self.add(suffix, "max_pool", role, out_size=size, kernel=kernel, stride=stride, **fields)

    def squeeze_excitation(self, width: int) -> None:
        """Channels are scaled by what a bottleneck of `width` makes of their means."""
        source, channels, size = self.name, self.channels, self.size
        self.add("se_squeeze", "squeeze", "se", out_size=(1, 1))
        self.convolution("se_reduce", "conv", "se", width, 1, bias=True)
        self.add("se_swish", "swish", "se")
        self.convolution("se_expand", "conv", "se", channels, 1, bias=True)
        self.add("se_sigmoid", "sigmoid", "se")
        self.add("se_excite", "excite", "se", others=[source], out_size=size)

    def inverted_residual(self, channels: int, expansion: int, kernel: int, stride: int, depth: float) -> None:
        """EfficientNet's block with squeeze-excitation; `depth` is the share of the blocks before it."""
        source, in_channels = self.name, self.channels
        if expansion != 1:
            self.normalised("expand", "conv", "expand", in_channels * expansion, 1)
        self.normalised("depthwise", "depthwise", "depthwise", self.channels, kernel, stride)
        self.squeeze_excitation(max(1, int(SE_RATIO * in_channels)))
        self.normalised("project", "conv", "project", channels, 1, activation=None)
        if stride == 1 and in_channels == channels:
            self.add("drop", "drop", "residual", depth=depth)
            self.add("add", "add", "residual", others=[source])


def tensors(network: Network) -> list[TensorSpec]:
    """Every variable of `network`, in the order of its layers, each layer's in the order of Keras."""
    return tensors_of(network.layers())


def tensors_of(layers: Iterable[LayerSpec]) -> list[TensorSpec]:
    """Every variable of `layers`: `tensors` of a part of a network."""
    return [tensor for layer in layers for tensor in _variables(layer)]


def _variables(layer: LayerSpec) -> Iterator[TensorSpec]:
    window = (layer.kernel, layer.kernel)
    match layer.op:
        case "conv":
            shape: tuple[int, ...] = (*window, layer.in_channels, layer.out_channels)
        case "depthwise":
            shape = (*window, layer.in_channels, 1)
        case "tconv":
            shape = (*window, layer.out_channels, layer.in_channels)
        case "bn":
            gamma = TensorSpec(f"{layer.name}/gamma", (layer.out_channels,), "bn", "ones", True, layer.block)
            yield gamma
            yield replace(gamma, name=f"{layer.name}/beta", initializer="zeros")
            yield replace(gamma, name=f"{layer.name}/moving_mean", initializer="zeros", trainable=False)
            yield replace(gamma, name=f"{layer.name}/moving_variance", trainable=False)
            return
        case "constants":
            mean = TensorSpec(f"{layer.name}/mean", (layer.out_channels,), "bias", "zeros", False, layer.block)
            yield mean
            yield replace(mean, name=f"{layer.name}/variance", initializer="ones")
            yield replace(mean, name=f"{layer.name}/count", shape=())
            return
        case _:
            return
    initializer: Initializer = "uniform" if layer.role == "final" else "normal"
    yield TensorSpec(f"{layer.name}/kernel", shape, layer.op, initializer, True, layer.block)
    if layer.bias:
        yield TensorSpec(f"{layer.name}/bias", (layer.out_channels,), "bias", "zeros", True, layer.block)


def count_network(network: Network) -> dict[str, int]:
    """{parameters, trainable, multiply_adds} of `network`.

    Parameters include batch normalisation's moving statistics; multiply-adds are those of all convolutions, transposed
    ones at their input resolution.
    """
    sizes = [(math.prod(tensor.shape), tensor.trainable) for tensor in tensors(network)]
    return {
        "parameters": sum(size for size, _ in sizes),
        "trainable": sum(size for size, trainable in sizes if trainable),
        "multiply_adds": sum(layer.multiply_adds for layer in network.layers()),
    }


def profiled_multiply_adds(network: Network) -> float:
    """Multiply-adds by the rule of the profiler that the paper used (its FLOPs columns); an integer where it is whole."""
    operations = sum(layer.profiled for layer in network.layers())
    return operations / 2 if operations % 2 else operations // 2


def initial_weights(network: Network, seed: int) -> Weights:
    """New float32 weights, keyed `layer/variable`.

    Each tensor has its own random stream, addressed by (seed, its name): a block more or less changes no other tensor.
    Raises `ConfigError` for a network that nobody wants to have in memory.
    """
    specs = tensors(network)
    if (parameters := sum(math.prod(tensor.shape) for tensor in specs)) > MOST_PARAMETERS:
        raise ConfigError(
            f"a network of {parameters:,} parameters, at most {MOST_PARAMETERS:,} are allowed; correct its genotype"
        )
    return {tensor.name: _initial(tensor, seed) for tensor in specs}


def _initial(tensor: TensorSpec, seed: int) -> NDArray[np.float32]:
    if tensor.initializer in ("zeros", "ones"):
        return np.full(tensor.shape, tensor.initializer == "ones", np.float32)
    address = int.from_bytes(hashlib.sha256(tensor.name.encode()).digest()[:8], "big")
    rng = np.random.default_rng([seed, address])
    fan_out = (
        int(np.prod(tensor.shape[:-2])) * tensor.shape[-1]
    )  # Keras' rule for every kind: receptive field x last axis
    if tensor.initializer == "uniform":
        limit = np.sqrt(3 * FINAL_SCALE / fan_out)
        return rng.uniform(-limit, limit, tensor.shape).astype(np.float32)
    values = rng.standard_normal(tensor.shape)
    while (outside := np.abs(values) > TRUNCATION).any():
        values[outside] = rng.standard_normal(np.count_nonzero(outside))
    return (values * (np.sqrt(NORMAL_SCALE / fan_out) / TRUNCATED_STD)).astype(np.float32)
