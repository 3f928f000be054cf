"""Networks by name."""

from typing import TYPE_CHECKING, Any

from pipeline_lib.config import PAPER_SPACE, SearchSpace
from pipeline_lib.errors import ConfigError
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.search.genotype import EVOPOSE2D_S, EVOPOSE2D_XS, Nesting
from pipeline_lib.search.scaling import coefficients

if TYPE_CHECKING:
    import keras

# Genotype and the input size (height, width) whose compound scaling a network carries at any size.
EVOPOSE2D = {
    "evopose2d_xs": (EVOPOSE2D_XS, (256, 192)),
    "evopose2d_s": (EVOPOSE2D_S, (256, 192)),
    "evopose2d_m": (EVOPOSE2D_S, (384, 288)),
    "evopose2d_l": (EVOPOSE2D_S, (512, 384)),
}


def architecture(
    name_or_genotype: str | Nesting,
    height: int,
    width: int,
    keypoints: int,
    scale: tuple[float, float] | None = None,
    *,
    space: SearchSpace = PAPER_SPACE,
) -> Architecture:
    """The architecture of a named network or a genotype for an input of `height` x `width` pixels.

    `scale` = (c_d, c_w) is None for the named network's nominal coefficients, or (1, 1) for a genotype. Raises
    `ConfigError` that lists the known names for an unknown one.
    """
    genotype: Nesting
    if isinstance(name_or_genotype, str):
        if name_or_genotype not in EVOPOSE2D:
            raise ConfigError(f"unknown network {name_or_genotype!r}; known are {', '.join(EVOPOSE2D)}")
        genotype, nominal = EVOPOSE2D[name_or_genotype]
        scale = scale or coefficients(*nominal)[1:]
    else:
        genotype = name_or_genotype
    return Architecture.from_space(genotype, space, height, width, keypoints, scale or (1.0, 1.0))


def build(
    name_or_genotype: str | Nesting,
    height: int,
    width: int,
    keypoints: int,
    scale: tuple[float, float] | None = None,
    *,
    space: SearchSpace = PAPER_SPACE,
    **options: Any,
) -> "keras.Model":
    """The Keras network of a name or a genotype: `architecture` with the options of `build_architecture`."""
    from pipeline_lib.nets.evopose import build_architecture

    return build_architecture(architecture(name_or_genotype, height, width, keypoints, scale, space=space), **options)
