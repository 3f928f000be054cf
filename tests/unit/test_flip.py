"""The mirrored crop: its geometry, and what an ideal network's averaged maps say for each flip test."""

import numpy as np
import pytest

from pipeline_lib.errors import ConfigError
from pipeline_lib.evaluate.decode import decode, unflip
from pipeline_lib.evaluate.flip import alignment, mirror

HEIGHT, WIDTH = 64, 48
CENTRE = (21.3, 30.6)  # x, y in input pixels


def crop_with_gaussians(centres: list[tuple[float, float]], sigma: float = 3.5) -> np.ndarray:
    """A crop (1, H, W, K) that shows each keypoint as a Gaussian in its own channel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) for cx, cy in centres]
    return np.stack(planes, axis=-1)[None]


def ideal_network(crop: np.ndarray, stride: int) -> np.ndarray:
    """Heat-map pixel p sees input pixel stride * p."""
    return crop[:, ::stride, ::stride]


def centroid(maps: np.ndarray) -> float:
    """x of a map's centre of mass in heat-map pixels."""
    return float((maps * np.arange(maps.shape[2])[None, None, :, None]).sum() / maps.sum())


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_pixels_of_the_mirrored_crop(stride: int) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 3, 12, 3), dtype=np.uint8)
    mirrored = mirror(crops, stride, (124, 116, 104))
    assert mirrored.shape == crops.shape
    assert mirrored.dtype == np.uint8
    for x in range(12):
        if 12 - stride - x >= 0:
            np.testing.assert_array_equal(mirrored[:, :, x], crops[:, :, 12 - stride - x])
        else:
            assert (mirrored[:, :, x] == (124, 116, 104)).all()


@pytest.mark.parametrize("stride", [2, 4])
def test_aligned_maps_agree_exactly(stride: int) -> None:
    crop = crop_with_gaussians([CENTRE])
    maps = ideal_network(crop, stride)
    offset, shift = alignment("aligned", (HEIGHT, WIDTH), maps.shape[1:3])
    flipped = ideal_network(mirror(crop, offset, [0.0]), stride)
    np.testing.assert_array_equal(unflip(flipped, shift=shift), maps.astype(unflip(flipped).dtype))
    plain = decode(maps, input_size=(HEIGHT, WIDTH))
    np.testing.assert_array_equal(decode(maps, flipped, input_size=(HEIGHT, WIDTH), shift=shift), plain)
    assert np.abs(plain[0, 0, :2] - CENTRE).max() <= stride / 4


@pytest.mark.parametrize("stride", [2, 4])
def test_released_maps_are_one_input_pixel_off(stride: int) -> None:
    crop = crop_with_gaussians([CENTRE])
    maps = ideal_network(crop, stride)
    offset, shift = alignment("released", (HEIGHT, WIDTH), maps.shape[1:3])
    flipped = ideal_network(mirror(crop, offset, [0.0]), stride)
    true = CENTRE[0] / stride
    assert centroid(unflip(flipped)) == pytest.approx(true - (stride - 1) / stride, abs=1e-3)
    assert centroid(unflip(flipped, shift=shift)) == pytest.approx(true + 1 / stride, abs=1e-3)


def test_left_and_right_change_places() -> None:
    left, right = (12.0, 20.0), (33.0, 44.0)
    crop = crop_with_gaussians([left, right])
    seen = mirror(crop, 4, [0.0, 0.0])[..., ::-1]  # in a mirror, the left hand is taken for the right one
    maps = ideal_network(crop, 4)
    decoded = decode(maps, ideal_network(seen, 4), input_size=(HEIGHT, WIDTH), flip_pairs=[(0, 1)])
    np.testing.assert_array_equal(decoded, decode(maps, input_size=(HEIGHT, WIDTH)))


def test_alignment_of_each_mode() -> None:
    assert alignment("aligned", (256, 192), (64, 48)) == (4, 0.0)
    assert alignment("aligned", (256, 192), (128, 96)) == (2, 0.0)
    assert alignment("released", (256, 192), (64, 48)) == (1, 1.0)


@pytest.mark.parametrize("width", [384, 50])
def test_a_stride_that_is_no_whole_pixel_is_refused(width: int) -> None:
    with pytest.raises(ConfigError, match="flip_test"):
        alignment("aligned", (256, 192), (64, width))
