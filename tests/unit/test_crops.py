"""Crop geometry and augmentation against a plain restatement."""

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, FLIP_ONLY, Augmentation
from pipeline_lib.data import augment

BOX = [30.0, 20.0, 24.0, 60.0]


def restated(box: list[float], height: int, width: int, point: tuple[float, float]) -> tuple[float, float]:
    x, y, w, h = box
    scale = 1.25 * max(h, w / (width / height)) / height
    return (point[0] - (x + w / 2)) / scale + width / 2, (point[1] - (y + h / 2)) / scale + height / 2


@pytest.mark.parametrize("box", [BOX, [3.0, 4.0, 90.0, 30.0]])
def test_the_crop_is_centred_and_scaled(box: list[float]) -> None:
    affine = augment.crop_affine(box, 96, 64)
    for point in ((0.0, 0.0), (42.0, 50.0), (100.5, 7.25)):
        np.testing.assert_allclose(augment.apply(affine, np.array([point]))[0], restated(box, 96, 64, point), atol=1e-9)
    np.testing.assert_allclose(
        augment.apply(augment.inverse(affine), augment.apply(affine, np.array([[12.0, 34.0]]))), [[12.0, 34.0]]
    )


def test_flip_mirrors_to_w_minus_one_minus_x() -> None:
    plain, flipped = (augment.crop_affine(BOX, 96, 64, flip=flip) for flip in (False, True))
    points = np.array([[35.0, 25.0], [50.0, 70.0]])
    there, mirrored = augment.apply(plain, points), augment.apply(flipped, points)
    np.testing.assert_allclose(mirrored[:, 0], 63 - there[:, 0])
    np.testing.assert_allclose(mirrored[:, 1], there[:, 1])


@pytest.mark.parametrize(
    "draw",
    [augment.Draw(False, 1.0, 0.0, None), augment.Draw(True, 0.8, 25.0, None), augment.Draw(False, 1.2, -40.0, None)],
)
def test_keypoints_move_with_the_pixels(draw: augment.Draw) -> None:
    image = np.zeros((100, 90, 3), np.uint8)
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[5] = (38, 45, 2)  # left shoulder
    keypoints[0] = (300, 45, 2)  # far outside
    image[44:47, 37:40] = 255
    crop, moved, _ = augment.crop(image, keypoints, BOX, 96, 64, COCO_KEYPOINTS, draw)
    place = 6 if draw.flip else 5
    assert moved[place, 2] == 2
    assert moved[6 if place == 5 else 5, 2] == 0
    bright = np.argwhere(crop.min(axis=2) > 200)
    np.testing.assert_allclose(bright.mean(axis=0)[::-1], moved[place, :2], atol=0.75)
    assert moved[0, 2] == 0, "a keypoint outside the crop is not visible"


def test_padding_is_the_mean_colour() -> None:
    crop, _, _ = augment.crop(
        np.zeros((40, 40, 3), np.uint8), np.zeros((17, 3), np.float32), [-200, -200, 20, 30], 96, 64, COCO_KEYPOINTS
    )
    assert (crop == (124, 116, 104)).all()


def test_draws_are_addressed() -> None:
    full = Augmentation()
    assert augment.sample(full, 1, 2, 3) == augment.sample(full, 1, 2, 3)
    addresses = [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]
    assert len({augment.sample(full, *address) for address in addresses}) == 4


def test_draws_have_the_configured_distribution() -> None:
    draws = [augment.sample(Augmentation(), 0, 0, index) for index in range(4000)]
    scales, rotations = np.array([draw.scale for draw in draws]), np.array([draw.rotation for draw in draws])
    assert np.mean([draw.flip for draw in draws]) == pytest.approx(0.5, abs=0.03)
    assert scales.min() == pytest.approx(0.7)
    assert scales.max() == pytest.approx(1.3)
    assert np.mean((scales > 0.7) & (scales < 1.3)) == pytest.approx(0.683, abs=0.03)
    assert np.mean(rotations != 0) == pytest.approx(0.6, abs=0.03)
    assert np.abs(rotations).max() == pytest.approx(80)
    assert np.mean(np.abs(rotations[rotations != 0]) < 40) == pytest.approx(0.683, abs=0.03)
    assert all(draw.half is None for draw in draws)
    plain = [augment.sample(FLIP_ONLY, 0, 0, index) for index in range(200)]
    assert {(draw.scale, draw.rotation) for draw in plain} == {(1.0, 0.0)}
    assert {draw.flip for draw in plain} == {True, False}


def test_half_body_crops_show_one_half() -> None:
    draws = [augment.sample(Augmentation(half_body_probability=1.0), 0, 0, index) for index in range(50)]
    assert {draw.half for draw in draws} == {"upper", "lower"}
