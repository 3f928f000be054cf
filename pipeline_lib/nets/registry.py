"""Networks by name: EvoPose2D, which are search networks, and those that the paper compares with. NumPy only."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import PAPER_SPACE, SearchSpace
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets.layers import LayerSpec, Network, Stored, Supervised
from pipeline_lib.nets.published import cpn, efficientnet, hrnet, mspn, posefix, resnet, simple_baseline
from pipeline_lib.nets.spec import FINAL, Architecture
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

STRIDE = 32
"""Of every published network's lowest resolution."""


@dataclass(frozen=True)
class Recipe:
    """A published network.

    Attributes:
        source: where it comes from.
        row: of the paper's Table 3, without the reference.
        layers: for (height, width, keypoints).
        supervised: what is trained of it.
    """

    source: str
    row: str
    layers: Callable[[int, int, int], list[LayerSpec]]
    supervised: tuple[Supervised, ...] = (Supervised(FINAL),)


_SIMPLE_BASELINE = "Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018"
_HRNET = "Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019"
_MSPN = "Li et al., Rethinking on Multi-Stage Networks for Human Pose Estimation, 2019"

PUBLISHED = {
    "simple_baseline_r50": Recipe(_SIMPLE_BASELINE, "SB-R50", partial(simple_baseline.layers, depth=50)),
    "simple_baseline_r101": Recipe(_SIMPLE_BASELINE, "SB (R-101)", partial(simple_baseline.layers, depth=101)),
    "simple_baseline_r152": Recipe(_SIMPLE_BASELINE, "SB (R-152)", partial(simple_baseline.layers, depth=152)),
    "hrnet_w32": Recipe(_HRNET, "HRNet-W32", partial(hrnet.layers, channels=32)),
    "hrnet_w48": Recipe(_HRNET, "HRNet-W48", partial(hrnet.layers, channels=48)),
    "efficientnet_b0": Recipe(
        "Tan and Le, EfficientNet, ICML 2019, under the head of EvoPose2D", "EfficientNet-B0", efficientnet.layers
    ),
    "cpn": Recipe(
        "Chen et al., Cascaded Pyramid Network for Multi-Person Pose Estimation, CVPR 2018",
        "CPN",
        cpn.layers,
        cpn.supervised(),
    ),
    "mspn2": Recipe(_MSPN, "MSPN", partial(mspn.layers, stages=2), mspn.supervised(2)),
    "mspn4": Recipe(_MSPN, "MSPN", partial(mspn.layers, stages=4), mspn.supervised(4)),
}

NAMES = (*EVOPOSE2D, *PUBLISHED)

REFINERS = {
    f"posefix_r{depth}": Recipe(
        "Moon et al., PoseFix: Model-agnostic General Human Pose Refinement Network, CVPR 2019",
        "",
        partial(posefix.layers, depth=depth),
    )
    for depth in resnet.BLOCKS
}
"""Networks that take a pose beside the image, and so are no pose networks: those of `NAMES` are."""

_RECIPES = {**PUBLISHED, **REFINERS}


def origin(name: str) -> tuple[str, str]:
    """(source, row of Table 3) of a named network."""
    if name in PUBLISHED:
        return PUBLISHED[name].source, PUBLISHED[name].row
    return "the paper, section V-C1 and Table 2", f"EvoPose2D-{name.rpartition('_')[2].upper()}"


@dataclass(frozen=True)
class Published(Stored):
    """One of `PUBLISHED` or `REFINERS` for an input of `height` x `width` pixels, both divisible by 32 (`ConfigError`)."""

    network: str
    height: int
    width: int
    keypoints: int = 17

    def __post_init__(self) -> None:
        if self.network not in _RECIPES:
            raise ConfigError(f"unknown network {self.network!r}; known are {', '.join(NAMES)}; name one of these")
        if self.height < STRIDE or self.width < STRIDE or self.height % STRIDE or self.width % STRIDE:
            near = [max(1, round(side / STRIDE)) * STRIDE for side in (self.height, self.width)]
            raise ConfigError(
                f"input {self.height}x{self.width} is not divisible by the overall stride {STRIDE} of {self.network}; "
                f"use another, the nearest size that is: {near[0]}x{near[1]}"
            )
        if self.keypoints < 1:
            raise ConfigError(f"{self.network}: a positive number of keypoints is expected, not {self.keypoints}")

    def layers(self) -> list[LayerSpec]:
        """Every layer in order of computation; the last one's output are the heat maps."""
        return _RECIPES[self.network].layers(self.height, self.width, self.keypoints)

    def supervised(self) -> tuple[Supervised, ...]:
        """The outputs that are trained."""
        return _RECIPES[self.network].supervised


def from_json(text: str) -> Network:
    """The network that its `to_json` wrote into a weights file; raises `ArtifactError` for any other text."""
    try:
        published = "network" in json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"architecture {text[:200]!r}: not as written by this version ({error})") from None
    return Published.from_json(text) if published else Architecture.from_json(text)


def architecture(
    name_or_genotype: str | Nesting,
    height: int,
    width: int,
    keypoints: int,
    scale: tuple[float, float] | None = None,
    *,
    space: SearchSpace = PAPER_SPACE,
) -> Network:
    """The network of a name or a genotype for an input of `height` x `width` pixels.

    `scale` = (c_d, c_w) is None for the nominal coefficients of a named EvoPose2D, or (1, 1) for a genotype; the other
    named networks have none. Raises `ConfigError` that lists the known names for an unknown one.
    """
    genotype: Nesting
    if isinstance(name_or_genotype, str):
        if name_or_genotype not in EVOPOSE2D:
            if scale is not None and name_or_genotype in PUBLISHED:
                raise ConfigError(f"{name_or_genotype} cannot be scaled; only {', '.join(EVOPOSE2D)} and genotypes can")
            if name_or_genotype in REFINERS:
                raise ConfigError(
                    f"{name_or_genotype} is no pose network: it refines the poses of one, and takes them beside the image; "
                    "name it as refine.network"
                )
            return Published(name_or_genotype, height, width, keypoints)
        genotype, nominal = EVOPOSE2D[name_or_genotype]
        scale = scale or coefficients(*nominal)[1:]
    else:
        genotype = name_or_genotype
    return Architecture.from_space(genotype, space, height, width, keypoints, scale or (1.0, 1.0))


def refiner(name: str, height: int, width: int, keypoints: int) -> Published:
    """The network of `REFINERS` of this name; raises `ConfigError` that lists them for any other."""
    if name not in REFINERS:
        raise ConfigError(f"{name} refines no poses; one of {', '.join(REFINERS)} is expected")
    return Published(name, height, width, keypoints)


def is_refiner(network: Network) -> bool:
    """Whether a network takes a pose beside the image."""
    return isinstance(network, Published) and network.network in REFINERS


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
    from pipeline_lib.nets.building import build_architecture

    return build_architecture(architecture(name_or_genotype, height, width, keypoints, scale, space=space), **options)
