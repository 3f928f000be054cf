"""Heat maps to keypoints (paper, section V-B, with the published program's details). NumPy only."""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

PEAK = 255.0  # value of a target heat map at its keypoint
QUARTER = 0.25  # step towards the higher neighbour, in heat-map pixels

Floats = npt.NDArray[np.floating]


def decode(
    heatmaps: npt.ArrayLike,
    flipped: npt.ArrayLike | None = None,
    *,
    input_size: tuple[int, int],
    flip_pairs: Iterable[tuple[int, int]] | None = None,
    shift: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Keypoints (N, K, 3) of heat maps (N, H', W', K): x and y in input pixels, score = maximum / 255.

    The position is the maximum's (the first in row-major order wins), moved along each axis by a quarter of a heat-map
    pixel towards the higher neighbour (not at all on a tie), where both axes have 1 < p < size - 1 (0-based).

    Args:
        heatmaps: the network's raw output.
        flipped: its raw output for the mirrored crops; averaged with `heatmaps` after `unflip`.
        input_size: (height, width) of the network's input in pixels.
        flip_pairs: index pairs of keypoints that change places in a mirror.
        shift: how far the mirrored-back maps are moved to the right, in heat-map pixels.
    """
    maps = _floating(heatmaps)
    if flipped is not None:
        maps = (maps + unflip(flipped, flip_pairs=flip_pairs, shift=shift)) / 2
    count, height, width, keypoints = maps.shape
    planes = maps.transpose(0, 3, 1, 2).reshape(count, keypoints, height * width)
    peak = planes.argmax(axis=-1)
    row, column = np.divmod(peak, width)

    def at(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> Floats:
        inside = np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)
        return np.take_along_axis(planes, inside[..., None], axis=-1)[..., 0]

    interior = (row > 1) & (row < height - 1) & (column > 1) & (column < width - 1)
    step_x = np.sign(at(row, column + 1) - at(row, column - 1))
    step_y = np.sign(at(row + 1, column) - at(row - 1, column))
    x = column + np.where(interior, QUARTER * step_x, 0.0)
    y = row + np.where(interior, QUARTER * step_y, 0.0)
    score = at(row, column).astype(np.float64) / PEAK
    return np.stack([x * input_size[1] / width, y * input_size[0] / height, score], axis=-1)


def unflip(
    flipped: npt.ArrayLike, *, flip_pairs: Iterable[tuple[int, int]] | None = None, shift: float = 0.0
) -> Floats:
    """Heat maps (N, H', W', K) of mirrored crops, mirrored back, left and right swapped, moved right by `shift` pixels.

    Columns without a source repeat the border's value; a fraction of a pixel is interpolated linearly.
    """
    maps = _floating(flipped)[:, :, ::-1]
    order = np.arange(maps.shape[-1])
    for left, right in () if flip_pairs is None else flip_pairs:
        order[[left, right]] = order[[right, left]]
    maps = maps[..., order]
    if shift == 0:
        return maps
    whole = math.floor(shift)
    fraction = shift - whole
    column = np.arange(maps.shape[2]) - whole
    last = maps.shape[2] - 1
    moved = maps[:, :, np.clip(column, 0, last)]
    if fraction:
        moved = (1 - fraction) * moved + fraction * maps[:, :, np.clip(column - 1, 0, last)]
    return moved


def _floating(maps: npt.ArrayLike) -> Floats:
    array = np.asarray(maps)
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)
