"""Decoding heat maps: positions, quarter steps, scores and the averaged mirror, against plain restatements."""

import numpy as np
import pytest

from pipeline_lib.evaluate.decode import decode, unflip


def peak_map(height: int, width: int, values: dict[tuple[int, int], float]) -> np.ndarray:
    """One heat map (1, H, W, 1) with `values` at (row, column), 0 elsewhere."""
    heatmap = np.zeros((1, height, width, 1), np.float32)
    for (row, column), value in values.items():
        heatmap[0, row, column, 0] = value
    return heatmap


def restated(maps: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """The rule in loops: first maximum, quarter step where both axes have 1 < p < size - 1."""
    count, height, width, keypoints = maps.shape
    result = np.zeros((count, keypoints, 3))
    for n in range(count):
        for k in range(keypoints):
            plane = maps[n, :, :, k]
            row, column = next((i, j) for i in range(height) for j in range(width) if plane[i, j] == plane.max())
            x, y = float(column), float(row)
            if 1 < row < height - 1 and 1 < column < width - 1:
                for after, before, axis in (
                    (plane[row, column + 1], plane[row, column - 1], "x"),
                    (plane[row + 1, column], plane[row - 1, column], "y"),
                ):
                    step = 0.25 if after > before else -0.25 if after < before else 0.0
                    x, y = (x + step, y) if axis == "x" else (x, y + step)
            result[n, k] = x * input_size[1] / width, y * input_size[0] / height, plane.max() / 255
    return result


def test_random_maps_follow_the_restated_rule() -> None:
    maps = np.random.default_rng(0).integers(0, 12, (5, 6, 5, 4)).astype(np.float32)  # many ties and border peaks
    decoded = decode(maps, input_size=(24, 10))
    np.testing.assert_allclose(decoded, restated(maps, (24, 10)), atol=1e-6)
    assert decoded.shape == (5, 4, 3)


def test_position_is_in_input_pixels_of_each_axis() -> None:
    decoded = decode(peak_map(8, 6, {(5, 3): 102.0}), input_size=(32, 12))
    np.testing.assert_allclose(decoded[0, 0], [3 * 2, 5 * 4, 0.4], rtol=1e-6)


@pytest.mark.parametrize(
    ("neighbour", "x", "y"), [((4, 5), 4.25, 4), ((4, 3), 3.75, 4), ((5, 4), 4, 4.25), ((3, 4), 4, 3.75)]
)
def test_quarter_step_goes_towards_the_higher_neighbour(neighbour: tuple[int, int], x: float, y: float) -> None:
    decoded = decode(peak_map(9, 9, {(4, 4): 200.0, neighbour: 10.0}), input_size=(9, 9))
    np.testing.assert_allclose(decoded[0, 0, :2], [x, y])


def test_a_tie_makes_no_step() -> None:
    values = {(4, 4): 200.0, (4, 3): 7.0, (4, 5): 7.0, (3, 4): 9.0, (5, 4): 9.0}
    np.testing.assert_allclose(decode(peak_map(9, 9, values), input_size=(9, 9))[0, 0, :2], [4, 4])


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("axis", ["row", "column"])
def test_both_axes_must_be_inside_for_either_step(place: int, axis: str) -> None:
    row, column = (place, 4) if axis == "row" else (4, place)
    values = {(row, column): 200.0}
    if axis == "row":
        values[row, 5] = 10.0
    else:
        values[5, column] = 10.0
    expected = 0.25 if 1 < place < 8 else 0.0
    x, y = decode(peak_map(9, 9, values), input_size=(9, 9))[0, 0, :2]
    assert (x - column, y - row) == ((expected, 0) if axis == "row" else (0, expected))


def test_small_differences_decide() -> None:
    values = {(4, 4): 200.02, (4, 3): 200.0, (4, 5): 200.01, (3, 4): 199.99, (6, 6): 200.01}
    np.testing.assert_allclose(decode(peak_map(9, 9, values), input_size=(9, 9))[0, 0, :2], [4.25, 3.75])


def test_the_first_maximum_wins() -> None:
    decoded = decode(peak_map(8, 8, {(6, 1): 50.0, (1, 6): 50.0, (1, 7): 50.0}), input_size=(8, 8))
    np.testing.assert_allclose(decoded[0, 0, :2], [6, 1])


def test_a_negative_map_keeps_its_maximum_as_score() -> None:
    maps = np.full((1, 4, 4, 1), -51.0)
    maps[0, 1, 2, 0] = -25.5
    np.testing.assert_allclose(decode(maps, input_size=(4, 4))[0, 0], [2, 1, -0.1])


def test_flipped_maps_are_mirrored_swapped_and_averaged() -> None:
    maps, flipped = np.zeros((2, 1, 5, 8, 3), np.float32)
    maps[0, 2, 3] = 100, 80, 60
    flipped[0, 2, 7 - 3] = 50, 20, 40  # channels 0 and 2 are a pair
    decoded = decode(maps, flipped, input_size=(5, 8), flip_pairs=[(0, 2)])
    np.testing.assert_allclose(decoded[0, :, 0], 3)
    np.testing.assert_allclose(decoded[0, :, 2] * 255, [(100 + 40) / 2, (80 + 20) / 2, (60 + 50) / 2])


def test_negative_values_are_averaged_like_others() -> None:
    maps, flipped = peak_map(8, 8, {(4, 4): -30.0}) + 10, peak_map(8, 8, {(4, 7 - 4): 190.0}) + 10
    np.testing.assert_allclose(decode(maps, flipped, input_size=(8, 8))[0, 0], [4, 4, 90 / 255])


def test_the_average_is_decoded_not_the_plain_maps() -> None:
    maps, flipped = peak_map(8, 8, {(4, 2): 100.0}), peak_map(8, 8, {(4, 7 - 5): 240.0, (4, 7 - 6): 30.0})
    x, _, score = decode(maps, flipped, input_size=(8, 8))[0, 0]
    assert x == 5.25
    assert score == pytest.approx(120 / 255)


def test_shift_moves_right_and_keeps_column_0() -> None:
    flipped = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)[:, :, ::-1]  # mirrored back: 0 1 2 3 4
    np.testing.assert_array_equal(unflip(flipped, shift=1.0).ravel(), [0, 0, 1, 2, 3])
    np.testing.assert_allclose(unflip(flipped, shift=0.75).ravel(), [0, 0.25, 1.25, 2.25, 3.25])
    np.testing.assert_array_equal(unflip(flipped).ravel(), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(unflip(flipped, shift=-0.25).ravel(), [0.25, 1.25, 2.25, 3.25, 4])


def test_decode_applies_the_shift_to_the_flipped_maps_only() -> None:
    maps = peak_map(8, 8, {(4, 4): 100.0})
    flipped = peak_map(8, 8, {(4, 7 - 3): 100.0})
    x, _, score = decode(maps, flipped, input_size=(8, 8), shift=1.0)[0, 0]
    assert (x, score) == (4, pytest.approx(100 / 255))


def test_arguments_stay_as_they_are() -> None:
    maps = np.random.default_rng(1).random((1, 4, 4, 2), np.float32)
    before = maps.copy()
    decode(maps, maps, input_size=(4, 4), flip_pairs=[(0, 1)], shift=1.0)
    np.testing.assert_array_equal(maps, before)
