"""The fused Adam beside a plain restatement, on one and on two replicas."""

import subprocess
import sys
import textwrap
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline_lib.train.optimizer import Adam


def restated(start: np.ndarray, gradients: list[np.ndarray], rates: list[float]) -> np.ndarray:
    """Kingma and Ba, Algorithm 1, with Keras' epsilon outside of the bias correction."""
    value, m, v = start.astype(np.float64), 0.0, 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        value = value - rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-7)
    return value


def test_updates_are_adams() -> None:
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape) for shape in ((3, 4), (5,))]
    gradients = [[rng.normal(size=start.shape) * scale for start in starts] for scale in (1, 1e-3, 10, 0.1)]
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 4, 0.02)
    variables = [keras.Variable(start.astype(np.float32)) for start in starts]
    optimizer = Adam(schedule)

    @tf.function
    def step(values: Any) -> None:
        optimizer.apply(values, variables)

    optimizer.build(variables)
    for values in gradients:
        step([tf.constant(value, tf.float32) for value in values])
    rates = [0.1, 0.08, 0.06, 0.04]
    for index, variable in enumerate(variables):
        expected = restated(starts[index], [values[index] for values in gradients], rates)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-5)
        assert np.abs(expected - starts[index]).min() > 1e-2
    assert int(optimizer.iterations.numpy()) == 4


def test_accumulated_and_tiny_gradients_are_those_of_keras() -> None:
    """A step is one of the accumulated gradients; beside 1e-7 the epsilon counts."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=6), rng.normal(size=(6, 6)) * 1e-7
    found = []
    for make in (keras.optimizers.Adam, Adam):
        variable = keras.Variable(start.astype(np.float32))
        optimizer = make(0.1, gradient_accumulation_steps=2)
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        found.append(variable.numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert np.abs(found[0] - start).min() > 1e-4


def test_what_variables_share_is_computed_once() -> None:
    """Operations for each variable are what a search pays for with every child."""

    def traced(variables: int) -> dict[str, int]:
        kept = [keras.Variable(np.zeros(2, np.float32)) for _ in range(variables)]
        optimizer = Adam(keras.optimizers.schedules.CosineDecay(0.1, 4))
        optimizer.build(kept)
        values = [tf.zeros(2)] * variables
        graph = tf.function(lambda: optimizer.apply(values, kept)).get_concrete_function().graph
        kinds = ("Pow", "ResourceApplyAdam", "Identity")
        return {kind: sum(op.type == kind for op in graph.get_operations()) for kind in kinds}

    one, five = traced(1), traced(5)
    assert (one["Pow"], one["ResourceApplyAdam"]) == (2, 1)
    assert five == one | {"ResourceApplyAdam": 5}, "not even a copy of each gradient, as a sum over one device is"


def test_replicas_hold_the_same_moments() -> None:
    program = """
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from pipeline_lib.train.optimizer import Adam
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(8, 3)).astype("f4"), rng.normal(size=(8, 2)).astype("f4")
        start = rng.normal(size=(3, 2))
        found = []
        for make in (keras.optimizers.Adam, Adam):
            for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
                with strategy.scope():
                    layer = keras.layers.Dense(2)
                    model = keras.Sequential([keras.Input((3,)), layer])
                    layer.set_weights([start, np.zeros(2)])
                    model.compile(make(0.05), "mse")
                model.fit(x, y, batch_size=8, epochs=5, verbose=0, shuffle=False)
                found.append((layer.get_weights()[0], [variable.numpy() for variable in model.optimizer.variables]))
        for weights, moments in found[1:]:
            np.testing.assert_allclose(weights, found[0][0], rtol=1e-5)
            for one, other in zip(moments, found[0][1], strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
        assert np.abs(weights - start).min() > 0.01
        print("equal", len(found))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.stdout == "equal 4\n", done.stderr[-3000:]
