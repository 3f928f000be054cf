"""The one truth of a search network, in NumPy: its layers, and with them its tensors, counts and initial weights.

`walk` yields every layer of an `Architecture` in order of computation. Sizes are (height, width); modules and blocks are
numbered from 1 in names (as in the paper) and from 0 in the `block` fields.
"""

from dataclasses import dataclass
from operator import index
from typing import Self

import numpy as np

from pipeline_lib.config import HEAD_STRIDE, PAPER_SPACE, STEM_STRIDE, SearchSpace
from pipeline_lib.config.fields import CHANNELS, EXPANSION, KERNEL, MODULE_BLOCKS, SIDE
from pipeline_lib.config.fields import STRIDE as LARGEST_STRIDE
from pipeline_lib.errors import ConfigError
from pipeline_lib.nets.layers import (
    IMAGE,
    Block,
    Builder,
    LayerSpec,
    Size,
    Stored,
    Supervised,
    count_network,
    initial_weights,
    tensors,
)
from pipeline_lib.search.genotype import BLOCKS, CHANNEL_UNIT, STRIDE, Key, Nesting, key
from pipeline_lib.search.scaling import scale_depth, scale_width

__all__ = ["IMAGE", "Architecture", "block_name", "count", "initial_weights", "tensors", "walk"]

STEM_KERNEL = 3
HEAD_KERNEL = 3
MOST = {
    **dict.fromkeys(("height", "width"), SIDE),
    **dict.fromkeys(("keypoints", "stem", "head"), CHANNEL_UNIT * CHANNELS),
    "head_layers": 12,
    "final_kernel": KERNEL,
    "expansion": EXPANSION,
    "scale": 100,
}
MOST_GENES = (MODULE_BLOCKS, KERNEL, CHANNELS, LARGEST_STRIDE)
"""Those of the configuration: what a damaged header asks for beyond them is refused before memory is."""

FINAL = "final_conv"
"""Name of the layer that gives the heat maps."""


@dataclass(frozen=True)
class Architecture(Stored):
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
        for name, most in MOST.items():
            value = getattr(self, name)
            if max(value if isinstance(value, tuple) else (value,)) > most:
                raise ConfigError(f"{name} {value}: at most {most} is expected")
        if any(gene > most for row in self.genotype for gene, most in zip(row, MOST_GENES, strict=True)):
            raise ConfigError(f"genotype {self.genotype}: at most {MOST_GENES} in each row are expected")
        if self.head_layers < 0:
            raise ConfigError(f"head_layers {self.head_layers}: 0 or more is expected")
        stride = self.overall_stride
        if min(self.height, self.width) < stride or self.height % stride or self.width % stride:
            height, width = (max(1, round(side / stride)) * stride for side in (self.height, self.width))
            raise ConfigError(
                f"input {self.height}x{self.width} is not divisible by the network's overall stride {stride}; "
                f"use another, the nearest size that is: {height}x{width}"
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

    @property
    def overall_stride(self) -> int:
        """Input size / size of the last module's output, per side; the stem is included."""
        return STEM_STRIDE * int(np.prod([row[STRIDE] for row in self.genotype]))

    @property
    def output_size(self) -> Size:
        """(height, width) of the heat maps."""
        growth = HEAD_STRIDE**self.head_layers
        return self.height // self.overall_stride * growth, self.width // self.overall_stride * growth

    def layers(self) -> list[LayerSpec]:
        """`walk` of it."""
        return walk(self)

    def supervised(self) -> tuple[Supervised, ...]:
        """The heat maps alone."""
        return (Supervised(FINAL),)

    def blocks(self) -> tuple[int, ...]:
        """Blocks of each module, after depth scaling."""
        return tuple(scale_depth(row[BLOCKS], self.scale[0]) for row in self.genotype)


def walk(architecture: Architecture) -> list[LayerSpec]:
    """Every layer of the network in order of computation; the last one's output are the heat maps.

    Blocks are EfficientNet's inverted residuals with squeeze-excitation (paper, section IV-A and Fig. 3). A block has no
    expand layers when its expansion is 1, and no drop and add layers when it changes stride or channels.
    """
    builder = Builder(architecture.height, architecture.width)
    stem(builder, architecture)
    modules(builder, architecture)
    head(builder, architecture)
    return builder.layers


def stem(builder: Builder, architecture: Architecture) -> None:
    """Add the first convolution of `architecture`."""
    channels = scale_width(architecture.stem, architecture.scale[1])
    builder.normalised("stem", "conv", "stem", channels, STEM_KERNEL, STEM_STRIDE)


def modules(builder: Builder, architecture: Architecture) -> None:
    """Add the seven modules of `architecture`."""
    blocks = architecture.blocks()
    done = 0
    for module, (_, kernel, units, stride) in enumerate(architecture.genotype):
        channels = scale_width(units * CHANNEL_UNIT, architecture.scale[1])
        for block in range(blocks[module]):
            builder.prefix, builder.block = f"{block_name((module, block))}_", (module, block)
            builder.inverted_residual(
                channels, architecture.expansion[module], kernel, 1 if block else stride, done / sum(blocks)
            )
            done += 1
    builder.prefix, builder.block = "", None


def head(builder: Builder, architecture: Architecture) -> None:
    """Add the transposed convolutions and the final one of `architecture`."""
    channels = scale_width(architecture.head, architecture.scale[1])
    for layer in range(architecture.head_layers):
        builder.normalised(f"head{layer + 1}", "tconv", "head", channels, HEAD_KERNEL, HEAD_STRIDE)
    builder.convolution(FINAL, "conv", "final", architecture.keypoints, architecture.final_kernel, bias=True)


def block_name(block: Block) -> str:
    """The prefix of a block's layers: (2, 0) is `m3_b1`."""
    return f"m{block[0] + 1}_b{block[1] + 1}"


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
    return count_network(Architecture.from_space(genotype, space, height, width, keypoints, scale))
