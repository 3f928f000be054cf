"""Compound scaling of a searched network to other input sizes (paper, section IV-E and Eq. 4)."""

import math

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15  # depth, width, resolution
WIDTH_STEP = 8


def coefficients(
    height: float, width: float, search_height: float = 256, search_width: float = 192
) -> tuple[float, float, float]:
    """(phi, c_d, c_w): the compound, depth and width coefficients of an input of `height` x `width` pixels (Eq. 4).

    The resolution of a size is the mean of its two sides. At the size of the search they are (0, 1, 1).
    """
    phi = math.log((height + width) / (search_height + search_width)) / math.log(GAMMA)
    return phi, ALPHA**phi, BETA**phi


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
