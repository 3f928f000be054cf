"""ResNet (He et al., CVPR 2016) as in `keras.applications`: names, biases and padding are those of its weights files."""

from collections.abc import Sequence

from pipeline_lib.nets.layers import Builder

EPSILON = 1.001e-5
"""Of batch normalisation."""

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
STRIDE = 32
"""Of the last stage."""


def backbone(builder: Builder, depth: int) -> list[str]:
    """Add ResNet-`depth` without its classifier; returns the last layer of each of its four stages (strides 4 to 32)."""
    stem(builder)
    return stages(builder, depth)


def stem(builder: Builder) -> None:
    """Add the convolution and pooling before the stages."""
    builder.epsilon = EPSILON
    builder.normalised("conv1", "conv", "stem", 64, 7, 2, "relu", bias=True, symmetric=True)
    builder.max_pool("pool1_pool", "stem", 3, 2, symmetric=True)


def stages(builder: Builder, depth: int, skips: Sequence[Sequence[str]] = ()) -> list[str]:
    """Add the four stages; returns the last layer of each. `skips`: layers that are added to each stage's output."""
    builder.epsilon = EPSILON
    ends = []
    for stage, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True)):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            bottleneck(
                builder,
                f"conv{stage + 2}_block{block + 1}",
                width,
                width * EXPANSION,
                stride,
                projects=block == 0,
                bias=True,
            )
        if skips:
            builder.add(f"conv{stage + 2}_skip", "add", "stage", others=skips[stage])
        ends.append(builder.name)
    return ends


def bottleneck(
    builder: Builder, name: str, width: int, channels: int, stride: int = 1, *, projects: bool, bias: bool = False
) -> str:
    """Add 1x1, 3x3 and 1x1 convolutions beside an identity, or with `projects` beside a 1x1 convolution."""
    source = builder.name
    shortcut = source
    if projects:
        shortcut = builder.normalised(f"{name}_0", "conv", "stage", channels, 1, stride, None, bias=bias)
        builder.at(source)
    builder.normalised(f"{name}_1", "conv", "stage", width, 1, stride, "relu", bias=bias)
    builder.normalised(f"{name}_2", "conv", "stage", width, 3, 1, "relu", bias=bias)
    builder.normalised(f"{name}_3", "conv", "stage", channels, 1, 1, None, bias=bias)
    builder.add(f"{name}_add", "add", "stage", others=[shortcut])
    return builder.add(f"{name}_out", "relu", "stage")
