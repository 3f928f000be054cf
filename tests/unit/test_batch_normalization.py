"""The fused batch normalisation beside Keras' own: outputs, gradients, moving statistics, inference, replicas."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib.nets.batch_normalization import BatchNormalization

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(2, 3, (4, 3, 2, 5)).astype(np.float32)
WEIGHTS = [RNG.normal(1, 0.3, 5), RNG.normal(0, 1, 5), RNG.normal(0, 1, 5), RNG.uniform(1, 2, 5)]


def made(kind: type, dtype: str = "float32") -> keras.layers.Layer:
    layer = kind(momentum=0.7, epsilon=0.01, dtype=dtype)
    layer.build(IMAGES.shape)
    layer.set_weights(WEIGHTS)
    return layer


def passed(layer: keras.layers.Layer, training: bool, batch: int | None = 4) -> list[np.ndarray]:
    """Output, gradients with respect to inputs, gamma and beta, and the moving statistics after the pass.

    `batch`: what is known of the batch when the pass is traced.
    """

    @tf.function(input_signature=[tf.TensorSpec((batch, *IMAGES.shape[1:]))])
    def run(images: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = layer(images, training=training)
            loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 3)
        return output, tape.gradient(loss, [images, layer.gamma.value, layer.beta.value])

    output, gradients = run(tf.constant(IMAGES))
    moving = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
    return [tf.cast(output, tf.float32).numpy(), *(gradient.numpy() for gradient in gradients), *moving]


@pytest.mark.parametrize("batch", [4, None])
def test_the_training_pass_by_hand(batch: int | None) -> None:
    output, *_, mean, variance = passed(made(BatchNormalization), training=True, batch=batch)
    gamma, beta, old_mean, old_variance = WEIGHTS
    batch_mean, batch_variance = IMAGES.mean((0, 1, 2)), IMAGES.var((0, 1, 2))
    expected = (IMAGES - batch_mean) / np.sqrt(batch_variance + 0.01) * gamma + beta
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, 0.7 * old_mean + 0.3 * batch_mean, rtol=1e-5)
    np.testing.assert_allclose(variance, 0.7 * old_variance + 0.3 * batch_variance, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.7, 0.99, 1.0])
@pytest.mark.parametrize("known", [True, False])
def test_statistics_of_one_value_and_of_every_momentum(known: bool, momentum: float) -> None:
    images = IMAGES[:1, :1, :1]
    found = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(momentum=momentum)
        layer.build((None, None, None, 5))
        layer.set_weights(WEIGHTS)
        shape = images.shape if known else (None, None, None, 5)
        run = tf.function(lambda x, layer=layer: layer(x, training=True), input_signature=[tf.TensorSpec(shape)])
        run(images)
        one = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
        layer(IMAGES, training=True)
        found.append([*one, layer.moving_mean.numpy(), layer.moving_variance.numpy()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_every_result_is_that_of_keras(training: bool) -> None:
    ours, theirs = (passed(made(kind), training) for kind in (BatchNormalization, keras.layers.BatchNormalization))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    assert np.array_equal(ours[-2], WEIGHTS[2].astype(np.float32)) is not training, "moving statistics move in training"


def test_a_frozen_layer_keeps_its_statistics() -> None:
    layer = made(BatchNormalization)
    layer.trainable = False
    layer(IMAGES, training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), WEIGHTS[2].astype(np.float32))


def test_bfloat16_comes_and_goes_with_statistics_in_float32() -> None:
    layer = made(BatchNormalization, "mixed_bfloat16")
    assert layer(IMAGES, training=True).dtype == tf.bfloat16
    exact = passed(made(BatchNormalization), training=True)
    for one, other in zip(passed(made(BatchNormalization, "mixed_bfloat16"), training=True), exact, strict=True):
        assert np.abs(one - other).max() < 0.03 * np.abs(other).max()
    assert layer.moving_variance.dtype == "float32"


def test_statistics_are_each_replicas_own() -> None:
    program = """
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from pipeline_lib.nets.batch_normalization import BatchNormalization
        x = np.random.default_rng(0).normal(size=(8, 2, 2, 3)).astype("f4")
        x[4:] += 5
        found = []
        for kind in (keras.layers.BatchNormalization, BatchNormalization):
            with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
                model = keras.Sequential([keras.Input((2, 2, 3)), kind(momentum=0.0)])
                model.compile(keras.optimizers.SGD(0.01), "mse")
            model.fit(x, np.zeros_like(x), batch_size=8, epochs=1, shuffle=False, verbose=0)
            found.append(model.get_weights())
        for one, other in zip(*found):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        print(found[1][3].max() < 2)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr[-3000:]
