"""Heat maps at ties and outside, and the loss by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib.train.loss import keypoint_mse, penalty, person_mse
from pipeline_lib.train.targets import heatmaps
from tests.unit import restated


def drawn(x: float, y: float, sigma: float = 1.0, v: float = 2) -> np.ndarray:
    """The map of one keypoint: input 192 high, 96 wide, maps 48 x 24."""
    maps = keras.ops.convert_to_numpy(heatmaps(np.array([[[x, y, v]]]), (192, 96), (48, 24), sigma))
    assert maps.dtype == np.float32
    return maps[0, :, :, 0]


@pytest.mark.parametrize("column", range(23))
def test_halves_are_rounded_up(column: int) -> None:
    """x = 4 c + 2 lies half-way between c and c + 1."""
    assert np.unravel_index(drawn(4 * column + 2, 2).argmax(), (48, 24)) == (1, column + 1)
    assert np.unravel_index(drawn(4 * column + 1.99, 1.99).argmax(), (48, 24)) == (0, column)


@pytest.mark.parametrize("x", [26, 126])
def test_halves_are_exact_in_float32(x: int) -> None:
    """26 / 176 * 44 + 0.5 is 7 and 126 / 176 * 44 + 0.5 is 32; division before multiplication gives a little less."""
    maps = np.asarray(heatmaps(np.array([[[x, x, 2]]]), (176, 176), (44, 44), 1.0))[0, :, :, 0]
    assert np.unravel_index(maps.argmax(), maps.shape) == ((x + 2) // 4,) * 2


def test_a_gaussian_has_its_height_and_width() -> None:
    maps = drawn(40, 80, sigma=2.5, v=0)
    assert maps[20, 10] == 255
    assert maps[20, 13] == pytest.approx(255 * np.exp(-9 / 12.5), rel=1e-5)
    assert maps[24, 13] == pytest.approx(255 * np.exp(-25 / 12.5), rel=1e-5)


def test_the_tail_of_a_centre_outside_is_drawn() -> None:
    maps = drawn(-4, 80, sigma=2)
    assert maps.max() == maps[20, 0] == pytest.approx(255 * np.exp(-1 / 8), rel=1e-5)


def test_the_loss_by_hand() -> None:
    predicted, true = np.zeros((2, 2, 3, 4)), np.zeros((2, 2, 3, 4))
    predicted[0, 1, 2, 0], predicted[0, 0, 0, 1], predicted[1, 0, 0, 3] = 6, 100, 12
    visible = np.array([[1, 0, 2, 2], [0, 0, 0, 2]])
    np.testing.assert_allclose(person_mse(true, predicted, visible), [36 / 24, 144 / 24])
    loss = keypoint_mse(true, predicted, visible)
    assert float(loss) == pytest.approx(180 / 48)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(keypoint_mse(true, predicted, visible, np.array([0, 1]))) == 6
    assert float(keypoint_mse(true, predicted, visible, np.array([0, 0]))) == 0, "a batch of nothing but padding"
    assert float(keypoint_mse(true, predicted, visible > 0)) == pytest.approx(180 / 48)


def test_predictions_in_bfloat16_are_compared_in_float32() -> None:
    predicted = keras.ops.cast(np.full((1, 2, 2, 1), 3.0), "bfloat16")
    true = np.full((1, 2, 2, 1), 2.99)
    assert float(keypoint_mse(true, predicted, np.ones((1, 1)))) == pytest.approx(1e-4, rel=1e-3)


def test_heatmaps() -> None:
    keypoints = np.array(
        [[[10.0, 20.0, 2], [0, 0, 0], [-3, 70, 1]], [[31.9, 63.9, 1], [17.3, 40.2, 0], [5, 5, 2]]], "f4"
    )
    drawn = keras.ops.convert_to_numpy(heatmaps(keypoints, (64, 32), (16, 8), 1.3))
    assert drawn.shape == (2, 16, 8, 3)
    np.testing.assert_allclose(drawn, restated.heatmaps(keypoints, (64, 32), (16, 8), 1.3), atol=1e-3)
    assert drawn[0, 5, 3, 0] == 255  # 10/32*8 + .5 = 3.0; 20/64*16 + .5 = 5.5
    assert drawn[0, 0, 0, 1] == 255, "drawn whatever v is"


def test_loss_keeps_masked_keypoints_and_drops_padding() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=(2, 3, 4, 5, 6)).astype("f4")
    visible = np.array([[2, 1, 0, 0, 1, 2], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]], "f4")
    errors = ((true - predicted) ** 2 * (visible > 0)[:, None, None, :]).reshape(3, -1).sum(1) / (4 * 5 * 6)
    assert float(keypoint_mse(true, predicted, visible)) == pytest.approx(errors.mean(), rel=1e-5)
    weights = np.array([1, 1, 0], "f4")
    assert float(keypoint_mse(true, predicted, visible, weights)) == pytest.approx(errors[:2].mean(), rel=1e-5)


@pytest.mark.parametrize("hardest", [1, 2, 3, 5, 6, 9, None])
def test_the_hardest_keypoints_of_each_person_are_the_mean(hardest: int | None) -> None:
    """Hidden keypoints have no error, but take a place where fewer are visible than count."""
    rng = np.random.default_rng(1)
    true, predicted = rng.normal(size=(2, 3, 4, 5, 6)).astype("f4")
    visible = np.array([[2, 1, 0, 0, 1, 2], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]], "f4")
    expected = []
    for person in range(3):
        errors = [
            float(((true - predicted)[person, :, :, k].astype("f8") ** 2).mean()) if visible[person, k] else 0.0
            for k in range(6)
        ]
        count = min(hardest or 6, 6)
        expected.append(sum(sorted(errors, reverse=True)[:count]) / count)
    found = person_mse(true, predicted, visible, hardest)
    assert found.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_only_the_hardest_keypoints_get_a_gradient() -> None:
    import tensorflow as tf

    predicted = tf.Variable(np.array([3.0, 1.0, 2.0], "f4").reshape(1, 1, 1, 3) * np.ones((1, 2, 2, 1), "f4"))
    with tf.GradientTape() as tape:
        loss = person_mse(np.zeros((1, 2, 2, 3)), predicted, np.ones((1, 3)), 2)
    gradient = tape.gradient(loss, predicted).numpy()
    np.testing.assert_allclose(gradient[0, :, :], np.broadcast_to([2 * 3 / 8, 0, 2 * 2 / 8], (2, 2, 3)))


def test_the_penalty_and_its_gradient_by_hand() -> None:
    """Kernels of two factors, one with an L1 term, one without, one that is not trained, and biases."""
    terms = [keras.regularizers.L2(0.3), keras.regularizers.L2(0.3), keras.regularizers.L2(2), None]
    terms += [keras.regularizers.L1L2(0.5, 0.7), keras.regularizers.L2(50)]
    layers = [keras.layers.Dense(3, kernel_regularizer=term) for term in terms]
    network = keras.Sequential([keras.Input((3,)), *layers])
    layers[-1].trainable = False
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(size=weight.shape) for weight in network.get_weights()])
    with tf.GradientTape() as tape:
        found = penalty(network)
    kernels = [layer.get_weights()[0].astype(np.float64) for layer in layers[:5]]
    squares = [float((kernel**2).sum()) for kernel in kernels]
    factors = [0.3, 0.3, 2, 0, 0.7]
    expected = sum(factor * square for factor, square in zip(factors, squares, strict=True))
    expected += 0.5 * float(np.abs(kernels[4]).sum())
    assert float(found) == pytest.approx(expected, rel=1e-6) == float(sum(network.losses))
    gradients = tape.gradient(found, [layer.kernel.value for layer in layers])
    assert gradients[3] is gradients[5] is None
    for index in (0, 1, 2, 4):
        wanted = 2 * factors[index] * kernels[index] + (0.5 * np.sign(kernels[index]) if index == 4 else 0)
        np.testing.assert_allclose(gradients[index], wanted, rtol=1e-5, atol=1e-6)


def test_a_network_without_regularisers_has_no_penalty() -> None:
    assert float(penalty(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))) == 0
