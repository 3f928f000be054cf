"""CPN (Chen et al., CVPR 2018): ResNet-50, a feature pyramid (GlobalNet), and its refinement (RefineNet)."""

from pipeline_lib.nets.layers import Builder, LayerSpec, Size, Supervised
from pipeline_lib.nets.published import resnet

CHANNELS = 256
NARROW = 128
"""Width of RefineNet's bottlenecks."""

HARDEST = 8
"""Keypoints of a person that count in RefineNet's loss (online hard keypoint mining)."""

LEVELS = (1, 2, 3, 4)
"""Of the pyramid, from the lowest resolution."""


def layers(height: int, width: int, keypoints: int) -> list[LayerSpec]:
    """CPN; heat maps of a quarter of the input's size."""
    builder = Builder(height, width)
    stages = resnet.backbone(builder, 50)
    size = height // 4, width // 4
    pyramid: list[str] = []
    for level, stage in zip(LEVELS, reversed(stages), strict=True):
        _pyramid(builder, f"global{level}", stage, above=pyramid[-1] if pyramid else None)
        pyramid.append(builder.name)
        builder.normalised(f"global{level}_predict", "conv", "predict", CHANNELS, 1, 1, "relu")
        builder.convolution(f"global{level}_final", "conv", "final", keypoints, 3, bias=True)
        _resize(builder, _output(level), size, "final")
    refined = []
    for level, features in zip(LEVELS, pyramid, strict=True):
        builder.at(features)
        for block in range(1, len(LEVELS) - level + 1):
            resnet.bottleneck(builder, f"refine{level}_block{block}", NARROW, CHANNELS, projects=False)
        refined.append(_resize(builder, f"refine{level}_resize", size, "refine"))
    builder.at(refined[0])
    builder.add("refine_concat", "concat", "refine", others=refined[1:], out_channels=len(LEVELS) * CHANNELS)
    resnet.bottleneck(builder, "refine_block", NARROW, CHANNELS, projects=True)
    builder.convolution("final_conv", "conv", "final", keypoints, 3, bias=True)
    return builder.layers


def supervised() -> tuple[Supervised, ...]:
    """GlobalNet's maps of every level; the heat maps, of which only the hardest keypoints count."""
    return (*(Supervised(_output(level)) for level in LEVELS), Supervised("final_conv", hardest=HARDEST))


def _output(level: int) -> str:
    return f"global{level}_output"


def _pyramid(builder: Builder, name: str, stage: str, above: str | None) -> None:
    builder.at(stage)
    lateral = builder.normalised(f"{name}_lateral", "conv", "pyramid", CHANNELS, 1, 1, "relu")
    if above is not None:
        size = builder.size
        builder.at(above)
        _resize(builder, f"{name}_up_resize", size, "pyramid")
        builder.normalised(f"{name}_up", "conv", "pyramid", CHANNELS, 1, 1, None)
        builder.add(f"{name}_add", "add", "pyramid", others=[lateral])


def _resize(builder: Builder, name: str, size: Size, role: str) -> str:
    return (
        builder.name if builder.size == size and role != "final" else builder.add(name, "resize", role, out_size=size)
    )
