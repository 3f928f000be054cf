"""MSPN (Li et al., 2019): stages of a ResNet-50 and an up-sampling path, with features handed from stage to stage."""

from pipeline_lib.nets.layers import Builder, LayerSpec, Supervised
from pipeline_lib.nets.published import resnet

CHANNELS = 256
CROSS_CHANNELS = 64
"""What a stage hands to the next one's ResNet."""

HARDEST = 8
"""Keypoints of a person that count in the loss of a stage's last maps."""

LEVELS = (1, 2, 3, 4)
"""Of a stage's up-sampling path, from the lowest resolution."""

COARSE_WEIGHT = 0.25
"""Of the maps of all levels but the last."""

SIGMAS = (2.6 / 1.1, 2.0 / 1.1, 1.7 / 1.1, 1.4 / 1.1, 1.0)
"""Of the targets from coarse to fine, relative to the finest: Gaussian windows of 15, 11, 9, 7 and 5 pixels."""


def layers(height: int, width: int, keypoints: int, stages: int) -> list[LayerSpec]:
    """MSPN of `stages` stages; heat maps of a quarter of the input's size."""
    builder = Builder(height, width)
    resnet.stem(builder)
    skips: list[list[str]] = []
    for stage in range(1, stages + 1):
        builder.prefix = f"stage{stage}_"
        down = resnet.stages(builder, 50, skips)
        skips = _up(builder, down, (height // 4, width // 4), keypoints, last=stage == stages)
    return builder.layers


def supervised(stages: int) -> tuple[Supervised, ...]:
    """The maps of every level of every stage, coarse to fine; the last stage's targets are one step finer."""
    return tuple(
        Supervised(
            f"stage{stage}_level{level}_output",
            sigma=SIGMAS[level - 1 + (stage == stages)],
            hardest=HARDEST if level == LEVELS[-1] else None,
            weight=1.0 if level == LEVELS[-1] else COARSE_WEIGHT,
        )
        for stage in range(1, stages + 1)
        for level in LEVELS
    )


def _up(builder: Builder, down: list[str], size: tuple[int, int], keypoints: int, last: bool) -> list[list[str]]:
    """Add the up-sampling path of a stage; returns what is added to the outputs of the next one's ResNet.

    It ends at the heat maps of the highest resolution, or, unless `last`, at what the next stage takes.
    """
    skips = []
    above = None
    for level, source in zip(LEVELS, reversed(down), strict=True):
        name = f"level{level}"
        builder.at(source)
        channels = builder.channels
        lateral = builder.normalised(f"{name}_lateral", "conv", "up", CHANNELS, 1, 1, None)
        if above is not None:
            target = builder.size
            builder.at(above)
            builder.add(f"{name}_up_resize", "resize", "up", out_size=target)
            builder.normalised(f"{name}_up", "conv", "up", CHANNELS, 1, 1, None)
            builder.add(f"{name}_add", "add", "up", others=[lateral])
        above = builder.add(f"{name}_relu", "relu", "up")
        if not last:
            builder.at(source)
            first = builder.normalised(f"{name}_skip1", "conv", "skip", channels, 1, 1, "relu")
            builder.at(above)
            skips.append([first, builder.normalised(f"{name}_skip2", "conv", "skip", channels, 1, 1, "relu")])
            builder.at(above)
        builder.normalised(f"{name}_predict", "conv", "predict", CHANNELS, 1, 1, "relu")
        builder.convolution(f"{name}_final", "conv", "final", keypoints, 3, bias=True)
        builder.add(f"{name}_output", "resize", "final", out_size=size)
    if not last:
        builder.at(above or "")
        builder.normalised("cross", "conv", "cross", CROSS_CHANNELS, 1, 1, "relu")
    return skips[::-1]
