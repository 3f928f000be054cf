"""The one truth of a search network, in NumPy: its layers, tensors, counts and initial weights.

`walk` yields every layer of an `Architecture` in order of computation; the Keras network is built by walking the same
list. Weights are keyed `layer/variable`. Sizes are (height, width); modules and blocks are numbered from 1 in names (as
in the paper) and from 0 in the `block` fields.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from operator import index
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.config import HEAD_STRIDE, PAPER_SPACE, STEM_STRIDE, SearchSpace
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.search.genotype import BLOCKS, CHANNEL_UNIT, STRIDE, Key, Nesting, key
from pipeline_lib.search.scaling import scale_depth, scale_width

IMAGE = "image"
"""Name of the network's input among the `inputs` of a layer."""

IMAGE_CHANNELS = 3
STEM_KERNEL = 3
HEAD_KERNEL = 3
SE_RATIO = 0.25
NORMAL_SCALE = 2.0
FINAL_SCALE = 1 / 3
TRUNCATION = 2.0
TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal cut at two sigma; Keras divides by it to keep the variance."""

Size = tuple[int, int]
Block = tuple[int, int]
Op = Literal["conv", "depthwise", "tconv", "bn", "swish", "sigmoid", "squeeze", "excite", "drop", "add"]
Kind = Literal["conv", "depthwise", "tconv", "dense", "bias", "bn"]
Initializer = Literal["normal", "uniform", "zeros", "ones"]
Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Architecture:
    """Everything that determines the tensors and the computation of a search network.

    Attributes:
        genotype: 7 rows (blocks, kernel, channels / 8, stride), before scaling; any nesting is accepted.
        height, width: input size in pixels, both divisible by the overall stride (else `ConfigError`).
        keypoints: output maps.
        scale: depth and width coefficients (c_d, c_w).
        expansion: expansion ratio of each module's blocks.
        stem, head: channels of the stem and of the head's transposed convolutions, before scaling.
        head_layers: number of transposed convolutions.
        final_kernel: kernel of the final convolution.
    """

    genotype: Key
    height: int
    width: int
    keypoints: int = 17
    scale: tuple[float, float] = (1.0, 1.0)
    expansion: tuple[int, ...] = PAPER_SPACE.expansion
    stem: int = PAPER_SPACE.stem
    head: int = PAPER_SPACE.head
    head_layers: int = PAPER_SPACE.head_layers
    final_kernel: int = PAPER_SPACE.final_kernel

    def __post_init__(self) -> None:
        object.__setattr__(self, "genotype", key(self.genotype))
        for name in ("height", "width", "keypoints", "stem", "head", "head_layers", "final_kernel"):
            try:
                object.__setattr__(self, name, index(getattr(self, name)))
            except TypeError:
                raise ConfigError(f"{name} {getattr(self, name)!r}: an integer is expected") from None
        c_d, c_w = self.scale
        object.__setattr__(self, "scale", (float(c_d), float(c_w)))
        object.__setattr__(self, "expansion", tuple(self.expansion))
        if len(self.expansion) != len(self.genotype):
            raise ConfigError(
                f"expansion {self.expansion}: one ratio for each of {len(self.genotype)} modules is expected"
            )
        if min(gene for row in self.genotype for gene in row) < 1:
            raise ConfigError(f"genotype {self.genotype}: positive numbers are expected")
        for name in ("expansion", "keypoints", "stem", "head", "final_kernel", "scale"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) <= 0:
                raise ConfigError(f"{name} {value}: a positive number is expected")
        if self.head_layers < 0:
            raise ConfigError(f"head_layers {self.head_layers}: 0 or more is expected")
        stride = self.overall_stride
        if min(self.height, self.width) < stride or self.height % stride or self.width % stride:
            height, width = (max(1, round(side / stride)) * stride for side in (self.height, self.width))
            raise ConfigError(
                f"input {self.height}x{self.width} is not divisible by the network's overall stride {stride}; "
                f"the nearest size that is: {height}x{width}"
            )

    @classmethod
    def from_space(
        cls,
        genotype: Nesting,
        space: SearchSpace,
        height: int,
        width: int,
        keypoints: int = 17,
        scale: tuple[float, float] = (1.0, 1.0),
    ) -> Self:
        """The network of `genotype` with what is common to all networks of `space`."""
        return cls(
            genotype=key(genotype),
            height=height,
            width=width,
            keypoints=keypoints,
            scale=scale,
            expansion=space.expansion,
            stem=space.stem,
            head=space.head,
            head_layers=space.head_layers,
            final_kernel=space.final_kernel,
        )

    def to_json(self) -> str:
        """Compact JSON, equal for equal architectures; floats survive exactly."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The architecture that `to_json` wrote; raises `ArtifactError` for any other text."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"architecture {text[:200]!r}: not as written by this version ({error})") from None

    @property
    def overall_stride(self) -> int:
        """Input size / size of the last module's output, per side; the stem is included."""
        return STEM_STRIDE * int(np.prod([row[STRIDE] for row in self.genotype]))

    @property
    def output_size(self) -> Size:
        """(height, width) of the heat maps."""
        growth = HEAD_STRIDE**self.head_layers
        return self.height // self.overall_stride * growth, self.width // self.overall_stride * growth

    def blocks(self) -> tuple[int, ...]:
        """Blocks of each module, after depth scaling."""
        return tuple(scale_depth(row[BLOCKS], self.scale[0]) for row in self.genotype)


@dataclass(frozen=True)
class LayerSpec:
    """One layer of the computation.

    Attributes:
        name: unique; the prefix of its variables' names.
        op: conv, depthwise, tconv (all with "same" padding), bn; and without variables: swish, sigmoid,
            squeeze (mean over both spatial axes, which are kept with size 1), excite (product of its two inputs),
            drop (stochastic depth per sample), add (residual sum of its two inputs).
        inputs: names of the layers whose outputs it takes, `IMAGE` for the network's input.
        role: stem, expand, depthwise, se, project, residual, head or final.
        block: 0-based (module, block), None in stem and head.
        in_channels, out_channels, in_size, out_size: of the first input and of the output.
        kernel, stride, bias: of convolutions; kernels are square.
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


@dataclass(frozen=True)
class TensorSpec:
    """One variable: its name `layer/variable`, shape, how it is transferred (`kind`) and initialised.

    The initialiser normal is variance scaling 2.0, uniform (the final convolution) 1/3, both by fan-out.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    initializer: Initializer
    trainable: bool
    block: Block | None


@dataclass
class _Walker:
    """Collects layers, remembering where the computation stands."""

    channels: int
    size: Size
    layers: list[LayerSpec] = field(default_factory=list)
    name: str = IMAGE
    prefix: str = ""
    block: Block | None = None

    def add(self, suffix: str, op: Op, role: str, *, second: str | None = None, **fields: Any) -> None:
        layer = LayerSpec(
            name=self.prefix + suffix,
            op=op,
            inputs=(self.name,) if second is None else (self.name, second),
            role=role,
            block=self.block,
            in_channels=self.channels,
            in_size=self.size,
            **{"out_channels": self.channels, "out_size": self.size, **fields},
        )
        self.layers.append(layer)
        self.name, self.channels, self.size = layer.name, layer.out_channels, layer.out_size

    def convolution(
        self, suffix: str, op: Op, role: str, channels: int, kernel: int, stride: int = 1, bias: bool = False
    ) -> None:
        height, width = self.size
        size = (height * stride, width * stride) if op == "tconv" else (height // stride, width // stride)
        self.add(suffix, op, role, out_channels=channels, out_size=size, kernel=kernel, stride=stride, bias=bias)

    def normalised(
        self, stage: str, op: Op, role: str, channels: int, kernel: int, stride: int = 1, swish: bool = True
    ) -> None:
        self.convolution(f"{stage}_{'tconv' if op == 'tconv' else 'conv'}", op, role, channels, kernel, stride)
        self.add(f"{stage}_bn", "bn", role)
        if swish:
            self.add(f"{stage}_swish", "swish", role)

    def inverted_residual(self, channels: int, expansion: int, kernel: int, stride: int, depth: float) -> None:
        source, in_channels = self.name, self.channels
        if expansion != 1:
            self.normalised("expand", "conv", "expand", in_channels * expansion, 1)
        self.normalised("depthwise", "depthwise", "depthwise", self.channels, kernel, stride)
        self.squeeze_excitation(max(1, int(SE_RATIO * in_channels)))
        self.normalised("project", "conv", "project", channels, 1, swish=False)
        if stride == 1 and in_channels == channels:
            self.add("drop", "drop", "residual", depth=depth)
            self.add("add", "add", "residual", second=source)

    def squeeze_excitation(self, width: int) -> None:
        source, channels, size = self.name, self.channels, self.size
        self.add("se_squeeze", "squeeze", "se", out_size=(1, 1))
        self.convolution("se_reduce", "conv", "se", width, 1, bias=True)
        self.add("se_swish", "swish", "se")
        self.convolution("se_expand", "conv", "se", channels, 1, bias=True)
        self.add("se_sigmoid", "sigmoid", "se")
        self.add("se_excite", "excite", "se", second=source, out_size=size)


def walk(architecture: Architecture) -> list[LayerSpec]:
    """Every layer of the network in order of computation; the last one's output are the heat maps.

    Blocks are EfficientNet's inverted residuals with squeeze-excitation (paper, section IV-A and Fig. 3). A block has no
    expand layers when its expansion is 1, and no drop and add layers when it changes stride or channels.
    """
    c_w = architecture.scale[1]
    walker = _Walker(IMAGE_CHANNELS, (architecture.height, architecture.width))
    walker.normalised("stem", "conv", "stem", scale_width(architecture.stem, c_w), STEM_KERNEL, STEM_STRIDE)

    blocks = architecture.blocks()
    done = 0
    for module, (_, kernel, units, stride) in enumerate(architecture.genotype):
        channels = scale_width(units * CHANNEL_UNIT, c_w)
        for block in range(blocks[module]):
            walker.prefix, walker.block = f"{block_name((module, block))}_", (module, block)
            walker.inverted_residual(
                channels, architecture.expansion[module], kernel, 1 if block else stride, done / sum(blocks)
            )
            done += 1

    walker.prefix, walker.block = "", None
    for layer in range(architecture.head_layers):
        walker.normalised(
            f"head{layer + 1}", "tconv", "head", scale_width(architecture.head, c_w), HEAD_KERNEL, HEAD_STRIDE
        )
    walker.convolution("final_conv", "conv", "final", architecture.keypoints, architecture.final_kernel, bias=True)
    return walker.layers


def block_name(block: Block) -> str:
    """The prefix of a block's layers: (2, 0) is `m3_b1`."""
    return f"m{block[0] + 1}_b{block[1] + 1}"


def tensors(architecture: Architecture) -> list[TensorSpec]:
    """Every variable of the network, in the order of `walk`, each layer's in the order of Keras."""
    return [tensor for layer in walk(architecture) for tensor in _variables(layer)]


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
        case _:
            return
    initializer: Initializer = "uniform" if layer.role == "final" else "normal"
    yield TensorSpec(f"{layer.name}/kernel", shape, layer.op, initializer, True, layer.block)
    if layer.bias:
        yield TensorSpec(f"{layer.name}/bias", (layer.out_channels,), "bias", "zeros", True, layer.block)


def count(
    genotype: Nesting,
    height: int,
    width: int,
    scale: tuple[float, float] = (1.0, 1.0),
    *,
    keypoints: int = 17,
    space: SearchSpace = PAPER_SPACE,
) -> dict[str, int]:
    """{parameters, trainable, multiply_adds} of a network with the coefficients `scale` = (c_d, c_w).

    Parameters include batch normalisation's moving statistics; multiply-adds are those of all convolutions, transposed
    ones at their input resolution. Nothing is scaled by the input size on its own.
    """
    return count_architecture(Architecture.from_space(genotype, space, height, width, keypoints, scale))


def count_architecture(architecture: Architecture) -> dict[str, int]:
    """`count` of an architecture."""
    sizes = [(int(np.prod(tensor.shape)), tensor.trainable) for tensor in tensors(architecture)]
    return {
        "parameters": sum(size for size, _ in sizes),
        "trainable": sum(size for size, trainable in sizes if trainable),
        "multiply_adds": sum(layer.multiply_adds for layer in walk(architecture)),
    }


def initial_weights(architecture: Architecture, seed: int) -> Weights:
    """New float32 weights, keyed `layer/variable`.

    Each tensor has its own random stream, addressed by (seed, its name): a block more or less changes no other tensor.
    """
    return {tensor.name: _initial(tensor, seed) for tensor in tensors(architecture)}


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
