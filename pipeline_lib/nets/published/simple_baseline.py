"""SimpleBaseline (Xiao et al., ECCV 2018; paper, Tables 1 and 3): ResNet and three transposed convolutions of 4x4."""

from pipeline_lib.nets.layers import IMAGE_CHANNELS, Builder, LayerSpec
from pipeline_lib.nets.published import resnet

HEAD_LAYERS = 3
HEAD_CHANNELS = 256
HEAD_KERNEL = 4


def layers(height: int, width: int, keypoints: int, depth: int, channels: int = IMAGE_CHANNELS) -> list[LayerSpec]:
    """SimpleBaseline on ResNet-`depth`; heat maps of a quarter of the input's size. The input has `channels`."""
    builder = Builder(height, width, channels=channels)
    resnet.backbone(builder, depth)
    for layer in range(1, HEAD_LAYERS + 1):
        builder.normalised(f"head{layer}", "tconv", "head", HEAD_CHANNELS, HEAD_KERNEL, 2, "relu")
    builder.convolution("final_conv", "conv", "final", keypoints, 1, bias=True)
    return builder.layers
