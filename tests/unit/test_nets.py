"""The Keras networks: published sizes, agreement with the specification, and what each layer computes."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib import nets
from pipeline_lib.config import SearchSpace
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets import blocks, spec
from pipeline_lib.nets.blocks import StochasticDepth
from pipeline_lib.nets.building import stochastic_depth_rate
from pipeline_lib.nets.registry import architecture
from pipeline_lib.nets.weights import get_weights, set_weights
from pipeline_lib.search.genotype import ANCESTOR

# parameters, trainable, multiply-adds: the authors' (paper, Table 3, to the digits printed there)
PUBLISHED = {
    ("evopose2d_xs", 256, 192): (2531199, 2496239, 462372800),
    ("evopose2d_s", 256, 192): (2531199, 2496239, 1064085440),
    ("evopose2d_m", 384, 288): (7341609, 7256105, 5550593216),
    ("evopose2d_l", 512, 384): (14709587, 14566883, 17591425152),
    ("ancestor", 256, 192): (4302125, 4261901, 522976256),
}

# Every kind of block: kernel 3 and 5, stride 1 and 2, with and without skip, expansion 1 and 6.
SMALL = ((1, 3, 1, 1), (2, 3, 1, 2), (1, 5, 2, 2), (2, 5, 2, 1), (1, 3, 3, 2), (1, 3, 3, 1), (1, 3, 4, 1))
SPACE = SearchSpace(stem=8, head=16)


def small(height: int = 32, width: int = 48, **options: object) -> keras.Model:
    return nets.build(SMALL, height, width, 5, space=SPACE, **options)


def multiply_adds(model: keras.Model) -> int:
    """Of all convolutions, from the built layers' kernels and actual sizes; transposed ones at input resolution."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += math.prod(layer.input.shape[1:3]) * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            total += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
    return total


@pytest.mark.parametrize(("name", "height", "width"), PUBLISHED)
def test_published_networks(name: str, height: int, width: int) -> None:
    parameters, trainable, convolutions = PUBLISHED[name, height, width]
    model = nets.build(ANCESTOR if name == "ancestor" else name, height, width, 17)
    assert model.count_params() == parameters
    assert sum(math.prod(variable.shape) for variable in model.trainable_variables) == trainable
    assert multiply_adds(model) == convolutions
    output_stride = 4 if name in ("evopose2d_xs", "ancestor") else 2
    assert model.input_shape == (None, height, width, 3)
    assert model.output_shape == (None, height // output_stride, width // output_stride, 17)


def test_named_networks_carry_their_coefficients_at_any_size() -> None:
    assert architecture("evopose2d_m", 64, 96, 14).scale == pytest.approx((1.70, 1.32), abs=0.005)
    assert architecture("evopose2d_l", 256, 192, 14).scale == pytest.approx((2.47, 1.60), abs=0.005)
    assert architecture("evopose2d_s", 512, 384, 14).scale == (1.0, 1.0)
    assert architecture("evopose2d_m", 64, 96, 14, (2.0, 1.0)).scale == (2.0, 1.0)
    assert architecture(SMALL, 512, 384, 14).scale == (1.0, 1.0)


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"evopose2d_xxl.*evopose2d_xs, evopose2d_s, evopose2d_m, evopose2d_l"):
        nets.build("evopose2d_xxl", 256, 192, 17)
    with pytest.raises(ConfigError, match=r"100x192.*stride 16.*96x192"):
        nets.build("evopose2d_s", 100, 192, 17)


def test_layers_are_those_of_the_specification() -> None:
    design = architecture(SMALL, 32, 48, 5, space=SPACE)
    model = nets.build_architecture(design)
    layers = {layer.name: layer for layer in model.layers[1:]}
    assert list(layers) == [layer.name for layer in spec.walk(design)]
    for layer in spec.walk(design):
        assert tuple(layers[layer.name].output.shape) == (None, *layer.out_size, layer.out_channels), layer.name
    tensors = {tensor.name: tensor for tensor in spec.tensors(design)}
    assert spec.count(SMALL, 32, 48, keypoints=5, space=SPACE)["multiply_adds"] == multiply_adds(model)
    weights = get_weights(model)
    assert {name: values.shape for name, values in weights.items()} == {
        name: tensor.shape for name, tensor in tensors.items()
    }
    trainable = {f"{layer.name}/{v.name}" for layer in model.layers for v in layer.trainable_variables}
    assert trainable == {name for name, tensor in tensors.items() if tensor.trainable}


def test_initial_weights_are_those_of_the_specification_and_the_seed() -> None:
    design = architecture(SMALL, 32, 48, 5, space=SPACE)
    built = get_weights(small(seed=3))
    for name, values in spec.initial_weights(design, 3).items():
        np.testing.assert_array_equal(built[name], values, err_msg=name)
    assert not np.array_equal(built["stem_conv/kernel"], get_weights(small(seed=4))["stem_conv/kernel"])


def test_set_weights_names_what_does_not_fit_and_changes_nothing() -> None:
    model = small()
    before = get_weights(model)
    tensors = {name: values + 1 for name, values in before.items()}
    del tensors["m2_b2_se_reduce/bias"]
    tensors["m8_b1_expand_conv/kernel"] = np.zeros(1)
    tensors["final_conv/bias"] = np.zeros(6)
    with pytest.raises(
        ArtifactError, match=r"missing: m2_b2_se_reduce/bias; unknown: m8_b1_expand_conv/kernel; .*"
    ) as e:
        set_weights(model, tensors)
    assert "final_conv/bias (6,) instead of (5,)" in str(e.value)
    for name, values in get_weights(model).items():
        np.testing.assert_array_equal(values, before[name])


def swish(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int = 1, depthwise: bool = False) -> np.ndarray:
    """A "same" convolution of x (H, W, C) as TensorFlow pads it: what is odd goes to the bottom and right."""
    size = kernel.shape[0]
    height, width = (math.ceil(side / stride) for side in x.shape[:2])
    pads = [max((out - 1) * stride + size - side, 0) for out, side in zip((height, width), x.shape[:2], strict=True)]
    padded = np.pad(x, [*((pad // 2, pad - pad // 2) for pad in pads), (0, 0)])
    rows = []
    for i in range(height):
        for j in range(width):
            window = padded[i * stride : i * stride + size, j * stride : j * stride + size]
            rows.append(
                (window * kernel[..., 0]).sum((0, 1))
                if depthwise
                else np.tensordot(window, kernel, ([0, 1, 2], [0, 1, 2]))
            )
    return np.array(rows).reshape(height, width, -1)


def transpose_convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A "same" transposed 3x3 convolution of stride 2: each pixel adds its kernel; one row and column are cut off."""
    height, width, _ = x.shape
    full = np.zeros((2 * height + 1, 2 * width + 1, kernel.shape[2]))
    for i in range(height):
        for j in range(width):
            full[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += kernel @ x[i, j]
    return full[: 2 * height, : 2 * width]


def restated(w: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """The network of SMALL in NumPy, from the paper's description alone."""

    def normalise(name: str, x: np.ndarray) -> np.ndarray:
        gamma, beta, mean, variance = (w[f"{name}/{v}"] for v in ("gamma", "beta", "moving_mean", "moving_variance"))
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    x = swish(normalise("stem_bn", convolve(image, w["stem_conv/kernel"], 2)))
    for module, (repeats, _, _, first_stride) in enumerate(SMALL, start=1):
        for block in range(1, repeats + 1):
            name, stride, source = f"m{module}_b{block}", first_stride if block == 1 else 1, x
            if module > 1:
                x = swish(normalise(f"{name}_expand_bn", convolve(x, w[f"{name}_expand_conv/kernel"])))
            x = swish(normalise(f"{name}_depthwise_bn", convolve(x, w[f"{name}_depthwise_conv/kernel"], stride, True)))
            pooled = x.mean((0, 1))
            reduced = swish(pooled @ w[f"{name}_se_reduce/kernel"][0, 0] + w[f"{name}_se_reduce/bias"])
            gate = reduced @ w[f"{name}_se_expand/kernel"][0, 0] + w[f"{name}_se_expand/bias"]
            x = x / (1 + np.exp(-gate))
            x = normalise(f"{name}_project_bn", convolve(x, w[f"{name}_project_conv/kernel"]))
            if stride == 1 and x.shape == source.shape:
                x = x + source
    for layer in (1, 2, 3):
        x = swish(normalise(f"head{layer}_bn", transpose_convolve(x, w[f"head{layer}_tconv/kernel"])))
    return convolve(x, w["final_conv/kernel"]) + w["final_conv/bias"]


def test_outputs_are_those_of_a_restated_network() -> None:
    model = small()
    rng = np.random.default_rng(0)
    weights = {
        name: values
        + rng.uniform(0.05, 0.3, values.shape) * (1 if "variance" in name else rng.choice([-1, 1], values.shape))
        for name, values in get_weights(model).items()
    }
    set_weights(model, weights)
    images = rng.normal(size=(2, 32, 48, 3)).astype(np.float32)
    outputs = np.asarray(model(images, training=False))
    assert outputs.dtype == np.float32
    for image, output in zip(images, outputs, strict=True):
        expected = restated(weights, image.astype(np.float64))
        np.testing.assert_allclose(output, expected, atol=1e-4 * np.abs(expected).max())


def test_regularisation() -> None:
    design = architecture(SMALL, 32, 48, 5, space=SPACE)
    weights = {name: values + np.float32(0.1) for name, values in spec.initial_weights(design, 0).items()}

    def penalty(**options: object) -> float:
        return float(sum(nets.build_architecture(design, weights=weights, **options).losses))

    squares = {name: float((values.astype(np.float64) ** 2).sum()) for name, values in weights.items()}
    kernels = sum(square for name, square in squares.items() if name.endswith("/kernel"))
    depthwise = sum(square for name, square in squares.items() if name.endswith("depthwise_conv/kernel"))
    assert depthwise > 1
    assert penalty(l2=1e-2) == pytest.approx(1e-2 * kernels, rel=1e-5)
    assert penalty(l2=1e-2, l2_depthwise=False) == pytest.approx(1e-2 * (kernels - depthwise), rel=1e-5)
    assert penalty() == 0.0


def test_batch_norm() -> None:
    normalisations = [
        layer for layer in small(batch_norm_momentum=0.9).layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {(layer.momentum, layer.epsilon) for layer in normalisations} == {(0.9, 1e-3)}
    assert small().get_layer("stem_bn").momentum == 0.99


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean() -> None:
    layer = StochasticDepth(0.25, seed=1)
    inputs = np.ones((4000, 2, 3, 2), np.float32)
    np.testing.assert_array_equal(layer(inputs), inputs)
    outputs = np.asarray(layer(inputs, training=True))
    per_sample = outputs.reshape(len(inputs), -1)
    assert (per_sample == per_sample[:, :1]).all()
    np.testing.assert_allclose(np.unique(outputs), [0, 4 / 3], rtol=1e-6)
    assert (per_sample[:, 0] == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert not np.array_equal(outputs, layer(inputs, training=True))
    np.testing.assert_array_equal(StochasticDepth(0.25, seed=1)(inputs, training=True), outputs)
    assert StochasticDepth.from_config(layer.get_config()).rate == 0.25


def test_stochastic_depth_of_blocks() -> None:
    layers = {layer.name: layer for layer in small(stochastic_depth=0.45, seed=7).layers if "drop" in layer.name}
    # 9 blocks; those that keep stride and channels have a skip
    indices = {"m1_b1": 0, "m2_b2": 2, "m4_b1": 4, "m4_b2": 5, "m6_b1": 7}
    assert {name: layer.rate for name, layer in layers.items()} == pytest.approx(
        {f"{name}_drop": 0.45 * index / 9 for name, index in indices.items()}
    )
    seeds = [layer.seed for layer in layers.values()]
    assert len(set(seeds)) == len(seeds)
    again = [layer.seed for layer in small(seed=7).layers if "drop" in layer.name]
    other = [layer.seed for layer in small(seed=8).layers if "drop" in layer.name]
    assert again == seeds
    assert not set(other) & set(seeds)


def test_stochastic_depth_by_input_size() -> None:
    sizes = [(256, 192), (256, 224), (241, 240), (320, 280), (384, 288), (512, 400), (512, 404)]
    assert [stochastic_depth_rate(*size) for size in sizes] == [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5]
    for size, rate in (((256, 208), 0.2), ((256, 240), 0.3)):  # neither side alone says it
        assert small(*size).get_layer("m4_b1_drop").rate == pytest.approx(rate * 4 / 9)


def test_bfloat16_computes_the_end_in_float32() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(l2=1e-5)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("m2_b2_drop").compute_dtype == "bfloat16"
    assert model.get_layer("final_conv").compute_dtype == "float32"
    assert {variable.dtype for variable in model.weights} == {"float32"}
    output = model(np.ones((2, 32, 48, 3), np.float32), training=True)
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    reference = small()
    np.testing.assert_allclose(
        model(np.ones((1, 32, 48, 3), np.float32)), reference(np.ones((1, 32, 48, 3), np.float32)), atol=0.1
    )


def test_a_rate_of_0_is_not_the_input_sizes() -> None:
    rates = {}
    for given in (None, 0.0):
        model = nets.build(ANCESTOR, 64, 64, 3, stochastic_depth=given)
        rates[given] = [layer.rate for layer in model.layers if isinstance(layer, StochasticDepth)]
    assert max(rates[None]) > 0 and set(rates[0.0]) == {0.0}


def test_stochastic_depth_keeps_its_settings() -> None:
    layer = StochasticDepth(0.25, 7, name="drop")
    copy = StochasticDepth.from_config(layer.get_config())
    assert (copy.rate, copy.seed, copy.name) == (0.25, 7, "drop")


def test_swish_and_its_gradient_by_hand() -> None:
    x = np.random.default_rng(0).normal(0, 4, (3, 2, 2, 5))
    upstream = np.random.default_rng(1).normal(size=x.shape)
    sigmoid = 1 / (1 + np.exp(-x))
    inputs = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = blocks.swish(inputs)
    np.testing.assert_allclose(outputs, x * sigmoid, rtol=1e-5, atol=1e-6)
    gradient = tape.gradient(outputs, inputs, tf.constant(upstream, tf.float32))
    np.testing.assert_allclose(gradient, upstream * (sigmoid + x * sigmoid * (1 - sigmoid)), rtol=1e-5, atol=1e-6)
    assert small().get_layer("stem_swish").activation is blocks.swish


def test_swish_keeps_its_input_alone() -> None:
    """Its gradient has a sigmoid of its own, made when the gradient arrives: else that of the forward pass stayed in memory."""

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = blocks.swish(x)
        return tape.gradient(outputs, x)

    graph = tf.function(gradient).get_concrete_function(tf.TensorSpec((2, 3))).graph
    forward, again = [operation for operation in graph.get_operations() if operation.type == "Sigmoid"]
    assert {user.type for output in forward.outputs for user in output.consumers()} == {"Mul"}
    assert again.control_inputs and not forward.control_inputs
