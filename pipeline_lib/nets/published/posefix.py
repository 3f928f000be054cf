"""PoseFix (Moon et al., CVPR 2019; paper, the starred rows of Table 3): SimpleBaseline that sees a pose beside the image.

The pose is a map for each keypoint, at the size of the image, in the channels after the three of the image.
"""

from pipeline_lib.nets.layers import IMAGE_CHANNELS, LayerSpec
from pipeline_lib.nets.published import simple_baseline


def layers(height: int, width: int, keypoints: int, depth: int) -> list[LayerSpec]:
    """PoseFix on ResNet-`depth`; maps of a quarter of the input's size."""
    return simple_baseline.layers(height, width, keypoints, depth, channels=IMAGE_CHANNELS + keypoints)
