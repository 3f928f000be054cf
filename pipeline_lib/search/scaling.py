"""Compound scaling of a searched network to other input sizes (paper, section IV-E and Eq. 4)."""

import math

from pipeline_lib.errors import ConfigError

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15  # depth, width, resolution
WIDTH_STEP = 8
LARGEST = 100
"""Of a depth or width coefficient; the paper's are below 3."""


def coefficients(
    height: float, width: float, search_height: float = 256, search_width: float = 192
) -> tuple[float, float, float]:
    """(phi, c_d, c_w): the compound, depth and width coefficients of an input of `height` x `width` pixels (Eq. 4).

    The resolution of a size is the mean of its two sides. At the size of the search they are (0, 1, 1).
    """
    phi = math.log((height + width) / (search_height + search_width)) / math.log(GAMMA)
    return phi, ALPHA**phi, BETA**phi


def check(height: float, width: float, search_height: float, search_width: float) -> None:
    """Raise `ConfigError` when a network of `height` x `width` pixels would be scaled beyond all bounds."""
    _, depth, broad = coefficients(height, width, search_height, search_width)
    if max(depth, broad) > LARGEST:
        raise ConfigError(
            f"{height}x{width} is scaled from a search at {search_height}x{search_width} with a depth coefficient of "
            f"{depth:,.0f} and a width coefficient of {broad:,.0f}, at most {LARGEST} are possible; take a smaller size, or "
            "give `coefficients`"
        )


def scale_depth(blocks: int, c_d: float) -> int:
    """Blocks of a module after depth scaling, rounded up (the published sizes need it; the text says nearest)."""
    return math.ceil(blocks * c_d)


def scale_width(channels: int, c_w: float) -> int:
    """Channels after width scaling: the nearest multiple of 8, at least 8, one step more where that loses over 10 %.

    A coefficient of 1 leaves any width as it is.
    """
    if c_w == 1:
        return channels
    exact = channels * c_w
    rounded = max(WIDTH_STEP, int(exact + WIDTH_STEP / 2) // WIDTH_STEP * WIDTH_STEP)
    return rounded + WIDTH_STEP if rounded < 0.9 * exact else rounded
