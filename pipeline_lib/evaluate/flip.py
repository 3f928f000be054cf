"""The mirrored crop of the flip test, and how its heat maps lie over the plain ones (as in the published program).

A crop has no half-pixel term: heat-map pixel p sees input pixel s * p for the output stride s = H_in / H'. A plain
mirror x -> W - 1 - x therefore comes back (s - 1) / s heat-map pixels away from where it should. `aligned` mirrors to
x -> W - s - x instead, which is exact; `released` keeps the plain mirror and moves its maps by one whole pixel.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import ConfigError

FlipTest = Literal["aligned", "released", "off"]


def mirror(crops: npt.NDArray[Any], offset: int, fill: Sequence[float]) -> npt.NDArray[Any]:
    """Crops (N, H, W, C) mirrored to x -> W - offset - x: mirrored and moved left by offset - 1 whole pixels.

    The columns that become free at the right are filled with the colour `fill` (C values).
    """
    mirrored = crops[:, :, ::-1]
    if offset == 1:
        return mirrored
    moved = np.empty_like(mirrored)
    width = crops.shape[2]
    moved[:, :, : width - offset + 1] = mirrored[:, :, offset - 1 :]
    moved[:, :, width - offset + 1 :] = np.asarray(fill, crops.dtype)
    return moved


def alignment(flip_test: FlipTest, input_size: tuple[int, int], output_size: tuple[int, int]) -> tuple[int, float]:
    """(offset of `mirror`, shift of `decode`) of a flip test for a network's (height, width) in and out.

    Raises `ConfigError` for `aligned` where the output stride is not a whole number of input pixels.
    """
    if flip_test == "released":
        return 1, 1.0
    stride, rest = divmod(input_size[1], output_size[1])
    if rest or stride < 1:
        raise ConfigError(
            f"evaluation.flip_test: aligned needs an output stride of whole pixels, this network makes maps of width "
            f"{output_size[1]} from crops of width {input_size[1]}; use flip_test: released or off"
        )
    return stride, 0.0
