"""Crops: direction of the rotation, mirrored persons, half bodies, and what a draw depends on."""

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, Augmentation, KeypointSchema
from pipeline_lib.data import augment

NAMES = COCO_KEYPOINTS.names
SCHEMA = KeypointSchema(
    names=("nose", "left_hand", "right_hand"), flip_pairs=(("left_hand", "right_hand"),), sigmas=(0.1, 0.1, 0.1)
)


def crop(keypoints: list[list[float]], draw: augment.Draw = augment.UNCHANGED) -> np.ndarray:
    """Keypoints in a crop of 20 x 10 that shows the image without scaling: the box times 1.25 is the crop."""
    image = np.zeros((20, 10, 3), np.uint8)
    return augment.crop(image, np.array(keypoints, np.float32), [1, 2, 8, 16], 20, 10, SCHEMA, draw)[1]


def test_the_picture_turns_clockwise_around_the_centre_of_the_box() -> None:
    affine = augment.crop_affine([10, 10, 20, 40], 50, 50, rotation=90)
    np.testing.assert_allclose(augment.apply(affine, np.array([[20.0, 30.0]])), [[25, 25]])
    np.testing.assert_allclose(augment.apply(affine, np.array([[20.0, 20.0]])), [[35, 25]], atol=1e-9)  # up -> right


def test_a_larger_scale_shows_more() -> None:
    plain, larger = (augment.crop_affine([10, 10, 20, 40], 50, 50, scale=scale) for scale in (1.0, 1.3))
    np.testing.assert_allclose(larger[:, :2] * 1.3, plain[:, :2])


def test_a_mirrored_and_turned_crop_is_the_mirror_image_of_the_turned_one() -> None:
    turned, mirrored = (augment.crop_affine([10, 10, 20, 40], 48, 32, 0.9, 33, flip) for flip in (False, True))
    points = np.array([[15.0, 20.0], [22.0, 47.0]])
    expected = augment.apply(turned, points) * [-1, 1] + [31, 0]
    np.testing.assert_allclose(augment.apply(mirrored, points), expected)


def test_a_box_without_area_is_cropped() -> None:
    assert np.isfinite(augment.crop_affine([10, 10, 0, 0], 48, 32)).all()


def test_pixels_are_moved_without_interpolation_where_nothing_changes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 10, 3), np.uint8)
    box, keypoints = [1, 2, 8, 16], np.zeros((3, 3), np.float32)
    np.testing.assert_array_equal(augment.crop(image, keypoints, box, 20, 10, SCHEMA)[0], image)
    flipped = augment.crop(image, keypoints, box, 20, 10, SCHEMA, augment.Draw(flip=True))[0]
    np.testing.assert_array_equal(flipped, image[:, ::-1])


def test_mirroring_exchanges_partners_with_their_visibility() -> None:
    moved = crop([[5, 3, 2], [2, 8, 1], [7, 9, 0]], augment.Draw(flip=True))
    np.testing.assert_allclose(moved, [[4, 3, 2], [2, 9, 0], [7, 8, 1]])


@pytest.mark.parametrize(
    ("x", "y", "seen"), [(0, 0, 2), (9.9, 19.9, 2), (-0.1, 5, 0), (10, 5, 0), (5, -0.1, 0), (5, 20, 0)]
)
def test_keypoints_outside_are_not_visible(x: float, y: float, seen: int) -> None:
    np.testing.assert_allclose(crop([[x, y, 2], [4, 4, 1], [4, 4, 0]])[:, 2], [seen, 1, 0])


def person(*labelled: str) -> np.ndarray:
    """Upper joints around (40, 20), lower ones around (40, 80); only `labelled` have v > 0."""
    keypoints = np.zeros((17, 3), np.float32)
    for index, name in enumerate(NAMES):
        y = 20 if name in COCO_KEYPOINTS.upper_body else 80
        keypoints[index] = (40 + index % 3, y + index % 5, 2 * (name in labelled))
    return keypoints


def test_half_body_boxes_hold_the_labelled_joints_of_a_half() -> None:
    everybody = person(*NAMES)
    for half in ("upper", "lower"):
        joints = everybody[[(name in COCO_KEYPOINTS.upper_body) == (half == "upper") for name in NAMES], :2]
        box = augment.half_body_box(everybody, COCO_KEYPOINTS, half)
        np.testing.assert_allclose(box[2:], 1.5 * (joints.max(axis=0) - joints.min(axis=0)), rtol=1e-6)
        np.testing.assert_allclose(box[:2] + box[2:] / 2, joints.mean(axis=0), rtol=1e-6)
    arms_only = person("left_wrist", "left_elbow", "nose", "left_hip", "left_knee")
    lower = augment.half_body_box(arms_only, COCO_KEYPOINTS, "lower")
    assert lower is not None
    assert lower[1] < 40, "two labelled joints are too few: the other half is taken"
    assert augment.half_body_box(person("nose", "left_hip"), COCO_KEYPOINTS, "upper") is None


def test_half_body_crops_are_for_persons_with_more_labelled_joints_than_the_limit() -> None:
    image, keypoints, box = np.zeros((100, 80, 3), np.uint8), person(*NAMES[:9]), [10, 10, 60, 80]
    draw = augment.Draw(half="upper")

    def affine(limit: int) -> np.ndarray:
        return augment.crop(image, keypoints, box, 96, 64, COCO_KEYPOINTS, draw, limit)[2]

    np.testing.assert_allclose(affine(9), augment.crop_affine(box, 96, 64))
    half = augment.half_body_box(keypoints, COCO_KEYPOINTS, "upper")
    np.testing.assert_allclose(affine(8), augment.crop_affine(half, 96, 64))


def test_one_setting_does_not_change_the_draws_of_another() -> None:
    full = Augmentation(half_body_probability=1)
    for index in range(20):
        draw = augment.sample(full, 7, 1, index)
        without = augment.sample(Augmentation(flip=0, scale_std=0, rotation_probability=1), 7, 1, index)
        assert (without.flip, without.scale, without.half) == (False, 1, None)
        assert draw.rotation in (0, without.rotation)
        assert augment.sample(Augmentation(rotation_probability=0), 7, 1, index)[:2] == draw[:2]


def test_limits_clip() -> None:
    wide = Augmentation(scale_std=10, scale_limit=0.2, rotation_probability=1, rotation_std=1000, rotation_limit=30)
    draws = [augment.sample(wide, 0, 0, index) for index in range(50)]
    assert min(draw.scale for draw in draws) == pytest.approx(0.8)
    assert max(draw.scale for draw in draws) == pytest.approx(1.2)
    assert {min(draw.rotation for draw in draws), max(draw.rotation for draw in draws)} == {-30, 30}


def test_halves_are_drawn_evenly_and_as_often_as_asked() -> None:
    draws = [augment.sample(Augmentation(half_body_probability=0.4), 0, 0, index).half for index in range(2000)]
    assert np.mean([half is not None for half in draws]) == pytest.approx(0.4, abs=0.04)
    assert np.mean([half == "upper" for half in draws if half]) == pytest.approx(0.5, abs=0.06)
