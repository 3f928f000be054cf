"""HRNet (Sun et al., CVPR 2019), up-sampled by strided transposed 1x1 convolutions (paper, section V-C2)."""

from pipeline_lib.nets.layers import Builder, LayerSpec
from pipeline_lib.nets.published.resnet import bottleneck

EPSILON = 1e-5
"""Of batch normalisation."""

STEM_CHANNELS = 64
FIRST_STAGE = (4, 64, 256)
"""Blocks, width and channels of the first stage's bottlenecks."""

MODULES = (1, 4, 3)
"""Of the stages with 2, 3 and 4 branches."""

BLOCKS = 4
"""Basic blocks of a branch in a module."""

STRIDE = 32


def layers(height: int, width: int, keypoints: int, channels: int) -> list[LayerSpec]:
    """HRNet with `channels` in its branch of the highest resolution; heat maps of a quarter of the input's size."""
    builder = Builder(height, width, EPSILON)
    for layer in (1, 2):
        builder.normalised(f"stem{layer}", "conv", "stem", STEM_CHANNELS, 3, 2, "relu")
    blocks, narrow, wide = FIRST_STAGE
    for block in range(1, blocks + 1):
        bottleneck(builder, f"stage1_block{block}", narrow, wide, projects=block == 1)
    branches = [builder.name]
    for stage, modules in enumerate(MODULES, start=2):
        branches = _transition(builder, f"transition{stage - 1}", branches, channels)
        for module in range(1, modules + 1):
            last = stage == len(MODULES) + 1 and module == modules
            branches = _module(builder, f"stage{stage}_module{module}", branches, outputs=1 if last else len(branches))
    builder.at(branches[0])
    builder.convolution("final_conv", "conv", "final", keypoints, 1, bias=True)
    return builder.layers


def _transition(builder: Builder, name: str, branches: list[str], channels: int) -> list[str]:
    """One branch more, of half the last one's resolution; each has `channels` times 2^(its index)."""
    made = []
    for index in range(len(branches) + 1):
        new = index == len(branches)
        builder.at(branches[-1] if new else branches[index])
        wanted = channels * 2**index
        if new or builder.channels != wanted:
            builder.normalised(f"{name}_branch{index + 1}", "conv", "transition", wanted, 3, 1 + new, "relu")
        made.append(builder.name)
    return made


def _module(builder: Builder, name: str, branches: list[str], outputs: int) -> list[str]:
    """Basic blocks in every branch, then each of the first `outputs` branches is the sum of all, resampled."""
    sizes = []
    for index, branch in enumerate(branches):
        builder.at(branch)
        for block in range(1, BLOCKS + 1):
            _basic_block(builder, f"{name}_branch{index + 1}_block{block}")
        branches[index] = builder.name
        sizes.append(builder.channels)
    fused = []
    for target in range(outputs):
        terms = [
            _resampled(builder, f"{name}_fuse{target + 1}_from{source + 1}", branch, target - source, sizes[target])
            for source, branch in enumerate(branches)
        ]
        builder.at(terms[0])
        builder.add(f"{name}_fuse{target + 1}_add", "add", "fuse", others=terms[1:])
        fused.append(builder.add(f"{name}_fuse{target + 1}_relu", "relu", "fuse"))
    return fused


def _resampled(builder: Builder, name: str, branch: str, steps: int, channels: int) -> str:
    """The branch at another resolution: down by `steps` 3x3 convolutions of stride 2, or up by a transposed 1x1 one."""
    builder.at(branch)
    if steps < 0:
        return builder.normalised(name, "tconv", "fuse", channels, 1, 2**-steps, None)
    for step in range(1, steps + 1):
        last = step == steps
        builder.normalised(
            f"{name}_{step}", "conv", "fuse", channels if last else builder.channels, 3, 2, None if last else "relu"
        )
    return builder.name


def _basic_block(builder: Builder, name: str) -> None:
    source, channels = builder.name, builder.channels
    builder.normalised(f"{name}_1", "conv", "stage", channels, 3, 1, "relu")
    builder.normalised(f"{name}_2", "conv", "stage", channels, 3, 1, None)
    builder.add(f"{name}_add", "add", "stage", others=[source])
    builder.add(f"{name}_out", "relu", "stage")
