"""Crops beside a plain restatement, mirrored persons, half bodies, and what a draw depends on."""

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, FLIP_ONLY, Augmentation, KeypointSchema
from pipeline_lib.data import augment

NAMES = COCO_KEYPOINTS.names
SCHEMA = KeypointSchema(
    names=("nose", "left_hand", "right_hand"), flip_pairs=(("left_hand", "right_hand"),), sigmas=(0.1, 0.1, 0.1)
)
BOX = [30.0, 20.0, 24.0, 60.0]


def restated(box: list[float], height: int, width: int, point: tuple[float, float]) -> tuple[float, float]:
    x, y, w, h = box
    scale = 1.25 * max(h, w / (width / height)) / height
    return (point[0] - (x + w / 2)) / scale + width / 2, (point[1] - (y + h / 2)) / scale + height / 2


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


def test_a_box_without_area_is_one_of_one_pixel() -> None:
    affine = augment.crop_affine([10, 10, 0, 0], 48, 32)
    np.testing.assert_allclose(affine, [[48 / 1.25, 0, 16 - 384], [0, 48 / 1.25, 24 - 384]])


def test_pixels_are_interpolated_linearly() -> None:
    """Half a pixel to the right of a bright column: half of it in both neighbours, nothing around them."""
    image = np.full((20, 12, 3), 40, np.uint8)
    image[:, 6] = 140
    pixels = augment.crop(image, np.zeros((3, 3), np.float32), [1.5, 2, 8, 16], 20, 10, SCHEMA)[0]
    np.testing.assert_array_equal(pixels[:, :, 1], [[40, 40, 40, 40, 40, 90, 90, 40, 40, 40]] * 20)


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


def test_hidden_joints_count_in_half_bodies_like_seen_ones() -> None:
    seen = person(*NAMES[:9])
    hidden = np.where(seen == 2, np.float32(1), seen)
    assert set(hidden[:, 2]) == {0, 1}
    box = augment.half_body_box(hidden, COCO_KEYPOINTS, "upper")
    np.testing.assert_array_equal(box, augment.half_body_box(seen, COCO_KEYPOINTS, "upper"))
    image = np.zeros((100, 80, 3), np.uint8)
    affine = augment.crop(image, hidden, [10, 10, 60, 80], 96, 64, COCO_KEYPOINTS, augment.Draw(half="upper"), 8)[2]
    np.testing.assert_allclose(affine, augment.crop_affine(box, 96, 64))


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


def test_changes_are_drawn_independently_of_each_other() -> None:
    draws = [augment.sample(Augmentation(half_body_probability=0.5), 0, 0, index) for index in range(3000)]
    turned, halved = (np.array([bool(getattr(draw, name)) for draw in draws]) for name in ("rotation", "half"))
    flipped, larger = np.array([draw.flip for draw in draws]), np.array([draw.scale > 1 for draw in draws])
    clockwise = np.array([draw.rotation > 0 for draw in draws])[turned]
    upper = np.array([draw.half == "upper" for draw in draws])[halved]
    facts = np.array([flipped, turned, halved, larger])
    for chosen in (facts, np.array([*facts[:, turned], clockwise]), np.array([*facts[:, halved], upper])):
        varied = chosen[chosen.std(axis=1) > 0]
        correlation = np.corrcoef(varied) - np.eye(len(varied))
        assert np.abs(correlation).max() < 0.1


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


def test_draws_are_those_of_the_stream_of_their_address() -> None:
    """Numbers written down once: trainings are the same with every later version, and upper halves are upper ones."""
    some = Augmentation(rotation_probability=0.5, half_body_probability=0.5)
    for index in range(50):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((7, 1, 2, index))))
        flip, rotates, halves, upper = rng.random(4)
        scale, rotation = rng.standard_normal(2)
        draw = augment.sample(some, 7, 2, index)
        assert draw.flip == (flip < 0.5)
        assert draw.scale == pytest.approx(1 + min(max(0.3 * scale, -0.3), 0.3))
        assert draw.rotation == pytest.approx(min(max(40 * rotation, -80), 80) if rotates < 0.5 else 0)
        assert draw.half == (("upper" if upper < 0.5 else "lower") if halves < 0.5 else None)


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
