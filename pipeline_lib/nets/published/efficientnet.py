"""EfficientNet-B0 (Tan and Le, ICML 2019) without its classifier, under the head of EvoPose2D (paper, Table 3)."""

from pipeline_lib.nets import spec
from pipeline_lib.nets.layers import Builder, LayerSpec
from pipeline_lib.search.genotype import ANCESTOR, key

TOP_CHANNELS = 1280
NORMALIZATION = "normalization"
"""Name of the first layer."""

STRIDE = 32


def layers(height: int, width: int, keypoints: int) -> list[LayerSpec]:
    """The backbone's modules are those of the paper's ancestor (Table 4); heat maps of a quarter of the input's size.

    Its input passes `keras.applications`' normalisation, here an identity, whose 7 constants count as parameters.
    """
    architecture = spec.Architecture(key(ANCESTOR), height, width, keypoints)
    builder = Builder(height, width)
    backbone(builder, architecture)
    spec.head(builder, architecture)
    return builder.layers


def backbone(builder: Builder, architecture: spec.Architecture) -> None:
    """Add everything but the head: the tensors of `keras.applications.EfficientNetB0` without its classifier."""
    builder.add(NORMALIZATION, "constants", "stem")
    spec.stem(builder, architecture)
    spec.modules(builder, architecture)
    builder.normalised("top", "conv", "top", TOP_CHANNELS, 1)
