"""What a step computes: the sum of several outputs' losses, and the update from the parts of a batch."""

import subprocess
import sys
import textwrap
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib import nets
from pipeline_lib.config import TrainSettings
from pipeline_lib.nets import blocks
from pipeline_lib.nets.batch_normalization import BatchNormalization
from pipeline_lib.nets.layers import Supervised
from pipeline_lib.nets.precision import precision
from pipeline_lib.nets.weights import get_weights
from pipeline_lib.train import trainer
from pipeline_lib.train.model import PoseModel
from pipeline_lib.train.optimizer import Adam
from tests.unit import restated

SIDE, KEYPOINTS, BATCH = 16, 5, 8
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3 * BATCH, SIDE, SIDE, 3), np.uint8)
POINTS = np.concatenate(
    [RNG.uniform(0, SIDE, (3 * BATCH, KEYPOINTS, 2)), RNG.integers(0, 3, (3 * BATCH, KEYPOINTS, 1))], 2
).astype(np.float32)
ONES = np.ones(3 * BATCH, np.float32)
PENALTY = 0.1


def convolution(name: str) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        KEYPOINTS, 3, 4, padding="same", kernel_regularizer=keras.regularizers.L2(PENALTY), dtype="float32", name=name
    )


def filled(network: keras.Model) -> keras.Model:
    """Kernels and biases that differ from each other; moving statistics that are not trivial."""
    rng = np.random.default_rng(3)
    network.set_weights([np.abs(rng.normal(0, 3, w.shape)) + 0.1 for w in network.get_weights()])
    return network


def three() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 3))
    return filled(keras.Model(image, [convolution(name)(image) for name in ("coarse", "fine", "maps")]))


HOW = (Supervised("coarse", 2.5, None, 0.25), Supervised("fine", 1.0, 2), Supervised("maps", 0.5, 3, 2.0))


def person_losses(maps: np.ndarray, sigma: float, hardest: int | None) -> np.ndarray:
    """The losses of the first batch in NumPy."""
    targets = restated.heatmaps(POINTS[:BATCH], (SIDE, SIDE), maps.shape[1:3], sigma)
    squares = (maps.astype("f8") - targets) ** 2 * (POINTS[:BATCH, None, None, :, 2] > 0)
    errors = np.sort(squares.mean((1, 2)), axis=1)[:, ::-1]
    return errors[:, : hardest or KEYPOINTS].mean(1)


def test_the_loss_is_the_weighted_sum_of_every_output() -> None:
    network = three()
    model = PoseModel(network, sigma=1.3, supervised=HOW)
    images, points = IMAGES[:BATCH], POINTS[:BATCH]
    weight = np.array([1, 1, 1, 1, 1, 1, 0, 0], np.float32)
    outputs = [np.asarray(output) for output in model(images)]
    per_output = [
        each.weight * np.mean(person_losses(maps, 1.3 * each.sigma, each.hardest)[:6])
        for maps, each in zip(outputs, HOW, strict=True)
    ]
    assert len({round(float(loss)) for loss in per_output}) == 3
    squares = sum(float((np.asarray(layer.kernel, "f8") ** 2).sum()) for layer in network.layers[1:])
    found = model.compute_loss(images, points, model(images), weight)
    assert float(found) == pytest.approx(sum(per_output) + PENALTY * squares, rel=1e-5)
    maps = float(person_losses(outputs[-1], 1.3, None)[:6].mean())
    assert float(model.data_loss.result()) == pytest.approx(maps, rel=1e-5)
    assert float(model.compute_loss(images, points, model(images), weight, training=False)) == pytest.approx(
        maps, rel=1e-5
    )
    two = PoseModel(network, sigma=1.3, replicas=2, supervised=HOW)
    assert float(two.compute_loss(images, points, two(images), weight)) == pytest.approx(float(found) / 2, rel=1e-6)


def test_validation_measures_the_heat_maps_alone() -> None:
    """Whatever is supervised, and however: fitness compares networks by it."""
    network = three()
    model = PoseModel(network, sigma=1.3, supervised=HOW)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    expected = float(person_losses(np.asarray(model(IMAGES[:BATCH])[-1]), 1.3, None).mean())
    data = tf.data.Dataset.from_tensor_slices((IMAGES[:BATCH], POINTS[:BATCH], ONES[:BATCH])).batch(3)
    assert model.evaluate(data, verbose=0) == {"loss": pytest.approx(expected, rel=1e-5)}
    history = model.fit(data, validation_data=data, shuffle=False, verbose=0).history
    assert history["data_loss"] == history["val_loss"] == [pytest.approx(expected, rel=1e-5)]
    assert history["loss"][0] > expected + 1


def test_as_many_outputs_as_are_supervised() -> None:
    model = PoseModel(three(), sigma=1.0, supervised=HOW[:2])
    with pytest.raises(ValueError, match="zip"):
        model.compute_loss(IMAGES[:2], POINTS[:2], model(IMAGES[:2]), ONES[:2])


def single(normalised: bool = False, frozen: bool = False) -> keras.Model:
    """One convolution; with batch normalisation of the image before it, whose statistics can be frozen."""
    image = keras.Input((SIDE, SIDE, 3))
    features = image
    if normalised:
        normalisation = BatchNormalization(momentum=0.5, name="bn")
        normalisation.trainable = not frozen
        features = normalisation(image)
    return filled(keras.Model(image, convolution("maps")(features)))


def accumulated(network: keras.Model, parts: int, optimizer: keras.optimizers.Optimizer, **options: Any) -> Any:
    """Train on three batches; returns the model and its history."""
    model = PoseModel(network, 1.0, accumulation=parts)
    model.compile(optimizer, jit_compile=options.pop("jit_compile", False), **options)
    model.optimizer.build(model.trainable_variables)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, POINTS, ONES)).batch(BATCH, drop_remainder=True)
    return model, model.fit(data, shuffle=False, verbose=0).history


def schedule() -> keras.optimizers.schedules.LearningRateSchedule:
    """Another rate at each step: a step too many would be seen."""
    return keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [0.01, 0.1, 0.5])


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_of_a_batch_train_as_the_whole(parts: int) -> None:
    """Adam's moments and bias correction, and the rate, see one step a batch; L2 counts once."""
    whole, expected = accumulated(single(), 1, Adam(schedule()))
    model, history = accumulated(single(), parts, Adam(schedule()))
    assert int(model.optimizer.iterations) == int(whole.optimizer.iterations) == 3
    assert history == {name: pytest.approx(values, rel=1e-5) for name, values in expected.items()}
    assert history["loss"][0] > history["data_loss"][0] + 1
    for before, found, wanted in zip(
        single().get_weights(), model.network.get_weights(), whole.network.get_weights(), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        assert np.abs(wanted - before).max() > 0.3


def test_the_reported_loss_is_the_mean_of_the_batch() -> None:
    network = single()
    model, history = accumulated(network, 4, keras.optimizers.SGD(0.0))
    data = tf.data.Dataset.from_tensor_slices((IMAGES, POINTS, ONES)).batch(5)
    measured = model.evaluate(data, verbose=0)["loss"]
    penalty = PENALTY * float((np.asarray(network.layers[-1].kernel, "f8") ** 2).sum())
    assert history["data_loss"] == [pytest.approx(measured, rel=1e-5)]
    assert history["loss"] == [pytest.approx(measured + penalty, rel=1e-5)]


def test_gradients_are_those_of_the_batch_when_statistics_are_frozen() -> None:
    for parts in (2, 4):
        networks = [single(True, frozen=True) for _ in range(2)]
        for network, each in zip(networks, (1, parts), strict=True):
            accumulated(network, each, keras.optimizers.SGD(1e-3))
        for before, one, other in zip(
            single(True).get_weights(), *(network.get_weights() for network in networks), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
            assert before.size == 3 or np.abs(one - before).max() > 1e-3


def test_batch_statistics_are_those_of_each_part() -> None:
    """Moved once a part, in order: 0.5 each of three batches in two parts."""
    network = single(True)
    before = network.get_layer("bn").get_weights()
    accumulated(network, 2, keras.optimizers.SGD(0.0))
    mean, variance = (values.astype("f8") for values in before[2:])
    for part in np.split(IMAGES, 6):
        pixels = (part / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        mean = 0.5 * mean + 0.5 * pixels.mean((0, 1, 2))
        variance = 0.5 * variance + 0.5 * pixels.var((0, 1, 2))
    after = network.get_layer("bn").get_weights()
    np.testing.assert_allclose(after[2], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after[3], variance, rtol=1e-4)


@pytest.mark.parametrize("options", [{"steps_per_execution": 3}, {"jit_compile": True}], ids=["executions", "xla"])
def test_parts_of_a_batch_in_a_compiled_loop(options: dict[str, Any]) -> None:
    whole, _ = accumulated(single(), 1, keras.optimizers.SGD(1e-3))
    model, _ = accumulated(single(), 4, keras.optimizers.SGD(1e-3), **options)
    for found, wanted in zip(model.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert int(model.optimizer.iterations) == 3


def test_parts_of_a_batch_in_bfloat16() -> None:
    """Gradients are added up in float32."""
    trained = []
    for parts in (1, 4):
        with precision("bfloat16"):
            network = single(True, frozen=True)
        assert network.get_layer("bn").compute_dtype == "bfloat16"
        accumulated(network, parts, keras.optimizers.SGD(1e-3))
        assert {variable.dtype for variable in network.weights} == {"float32"}
        trained.append(network.get_weights())
    for before, one, other in zip(single(True).get_weights(), *trained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-2 * max(0.1, np.abs(one - before).max()))


def test_the_parts_of_the_settings_are_those_of_the_model() -> None:
    settings = TrainSettings(batch=BATCH, accumulation=4)
    model = trainer.compiled(single(), schedule(), settings, 3, tf.distribute.get_strategy())
    assert model.accumulation == 4


def test_what_the_backend_hands_to_a_step_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX's training step takes the state of the variables too."""
    monkeypatch.setattr(keras.Model, "train_step", lambda self, *arguments: arguments)
    assert PoseModel(single(), 1.0).train_step("state", "data") == ("state", "data")


@pytest.mark.slow
def test_two_devices_split_their_shares() -> None:
    """Two devices with two parts each: gradients of the batch; statistics are each device's own, the first's are read."""
    program = """
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from pipeline_lib import devices
        from pipeline_lib.nets.batch_normalization import BatchNormalization
        from pipeline_lib.train.model import PoseModel
        from pipeline_lib.train.optimizer import Adam
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (16, 16, 16, 3), np.uint8)
        points = np.concatenate([rng.uniform(0, 16, (16, 5, 2)), rng.integers(0, 3, (16, 5, 1))], 2).astype("f4")
        kernel = rng.normal(0, 0.3, (3, 3, 3, 5))
        found = []
        for count, parts in ((1, 1), (2, 2)):
            strategy = devices.strategy("cpu", count)
            with strategy.scope():
                image = keras.Input((16, 16, 3))
                layer = keras.layers.Conv2D(5, 3, 4, padding="same", kernel_regularizer=keras.regularizers.L2(10.0))
                aside = BatchNormalization(momentum=0.5)  # changes no map, but has statistics
                network = keras.Model(image, layer(image) + 0 * aside(image)[:, ::4, ::4, :1])
                layer.set_weights([kernel, np.zeros(5)])
                model = PoseModel(network, 1.0, count, accumulation=parts)
                model.compile(Adam(0.1), jit_compile=False)
            data = tf.data.Dataset.from_tensor_slices((images, points, np.ones(16, "f4"))).batch(16, drop_remainder=True)
            losses = model.fit(data.repeat(2), verbose=0, shuffle=False, steps_per_epoch=2).history
            assert model.optimizer.iterations.numpy() == 2
            found.append((losses["loss"], losses["data_loss"], layer.get_weights()[0]))
        pixels = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        means = [part.mean((0, 1, 2)) for part in np.split(pixels, 4)]
        moved = np.zeros(3)
        for part in (0, 1, 0, 1):
            moved = 0.5 * moved + 0.5 * means[part]
        np.testing.assert_allclose(aside.moving_mean, moved, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)
        np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-3, atol=1e-4)
        assert np.abs(found[0][2] - kernel).max() > 0.1
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_step_is_that_of_keras_own_layers_in_a_third_of_the_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch normalisation, swish and penalty together, in a search network; Adam's operations count, too."""
    genotype = ((1, 3, 1, 1), (1, 3, 1, 2), (1, 5, 2, 2), (1, 5, 2, 1), (1, 3, 3, 2), (1, 3, 3, 1), (1, 3, 4, 1))
    images = RNG.integers(0, 256, (2 * BATCH, 64, 64, 3), np.uint8)
    points = np.concatenate([RNG.uniform(0, 64, (2 * BATCH, KEYPOINTS, 2)), np.ones((2 * BATCH, KEYPOINTS, 1))], 2)
    data = tf.data.Dataset.from_tensor_slices((images, points.astype(np.float32), ONES[: 2 * BATCH])).batch(BATCH, True)

    def step(adam: type[keras.optimizers.Optimizer]) -> tuple[Any, Any, int]:
        model = PoseModel(nets.build(genotype, 64, 64, KEYPOINTS, l2=1e-2, seed=1, stochastic_depth=0.0), 1.0)
        model.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
        history = model.fit(data, shuffle=False, verbose=0).history
        weights = get_weights(model.network)
        model.compile(adam(1e-3), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
        graph = tf.function(model.train_step).get_concrete_function(next(iter(data))).graph
        return weights, history, len(graph.get_operations())

    weights, history, operations = step(Adam)
    monkeypatch.setattr(blocks, "BatchNormalization", keras.layers.BatchNormalization)
    monkeypatch.setattr(blocks, "swish", "swish")
    monkeypatch.setattr("pipeline_lib.train.model.penalty", lambda network: sum(network.losses))
    expected, of_keras, operations_of_keras = step(keras.optimizers.Adam)
    assert history == {name: pytest.approx(values, rel=1e-5) for name, values in of_keras.items()}
    assert history["loss"][0] > history["data_loss"][0] + 1
    for name, values in expected.items():
        np.testing.assert_allclose(weights[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
    assert operations < operations_of_keras / 3
