"""The layers of a network in Keras: one for each operation of `nets.layers`."""

import zlib
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from pipeline_lib.nets.batch_normalization import BatchNormalization
from pipeline_lib.nets.layers import LayerSpec


@dataclass(frozen=True)
class LayerOptions:
    """How layers train; the architecture says what they compute.

    Attributes:
        batch_norm_momentum: of the moving statistics.
        stochastic_depth: drop rate that the depth of a `drop` layer is multiplied with.
        l2: factor of the sum of squares of kernels in the training loss; never of biases or batch normalisation.
        l2_depthwise: whether depthwise kernels belong to them.
        seed: stochastic depth is drawn from it and the layer's name.
    """

    batch_norm_momentum: float = 0.99
    stochastic_depth: float = 0.0
    l2: float = 0.0
    l2_depthwise: bool = True
    seed: int = 0


@keras.saving.register_keras_serializable("evopose")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch per sample with probability `rate` in training, identity otherwise.

    Kept samples are divided by 1 - rate, so that the expectation stays. Any shape with samples on the first axis.
    """

    def __init__(self, rate: float, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        keep = ops.cast(draw >= self.rate, "float32") / (1 - self.rate)
        return inputs * ops.cast(keep, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("evopose")
class Last(keras.layers.Layer):
    """The last of several tensors of equal shape."""

    def call(self, inputs: list[Any]) -> Any:
        return inputs[-1]

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[-1]


@keras.saving.register_keras_serializable("evopose")
def swish(inputs: Any) -> Any:
    """x sigmoid(x) of a tensor of any shape. Like TensorFlow's own, it keeps x alone for its gradient.

    TensorFlow's has a factor in the sigmoid, with a gradient of its own: a dozen operations more to trace for every layer.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.silu(inputs)
    import tensorflow as tf

    @tf.custom_gradient
    def activation(x: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            with tf.control_dependencies([upstream]):  # else the forward pass computes it, and it is kept
                sigmoid = tf.sigmoid(x)
            return upstream * (sigmoid + tf.raw_ops.SigmoidGrad(y=sigmoid, dy=x))  # s + x s (1 - s)

        return x * tf.sigmoid(x), gradient

    return activation(inputs)


def apply(spec: LayerSpec, options: LayerOptions, inputs: Any) -> Any:
    """The output of the Keras layer of `spec` for `inputs`, a Keras tensor or a list of them."""
    if spec.symmetric:
        inputs = keras.layers.ZeroPadding2D(spec.kernel // 2, name=f"{spec.name}_pad")(inputs)
    return layer(spec, options)(inputs)


def layer(spec: LayerSpec, options: LayerOptions) -> keras.layers.Layer:
    """The Keras layer of `spec`, of the same name, without symmetric padding; kernels start at zero.

    Final convolutions compute in float32 whatever the global dtype policy is.
    """
    shared: dict[str, Any] = {"name": spec.name}
    if spec.role == "final":
        shared["dtype"] = "float32"
    window = {"strides": spec.stride, "padding": "valid" if spec.symmetric else "same"}
    match spec.op:
        case "conv" | "tconv":
            make = keras.layers.Conv2D if spec.op == "conv" else keras.layers.Conv2DTranspose
            return make(
                spec.out_channels,
                spec.kernel,
                use_bias=spec.bias,
                kernel_initializer="zeros",
                kernel_regularizer=_l2(options.l2),
                **window,
                **shared,
            )
        case "depthwise":
            return keras.layers.DepthwiseConv2D(
                spec.kernel,
                use_bias=spec.bias,
                depthwise_initializer="zeros",
                depthwise_regularizer=_l2(options.l2 if options.l2_depthwise else 0.0),
                **window,
                **shared,
            )
        case "bn":
            return BatchNormalization(momentum=options.batch_norm_momentum, epsilon=spec.epsilon, **shared)
        case "swish":
            return keras.layers.Activation(swish, **shared)
        case "relu" | "sigmoid":
            return keras.layers.Activation(spec.op, **shared)
        case "max_pool":
            return keras.layers.MaxPooling2D(spec.kernel, **window, **shared)
        case "resize":
            return keras.layers.Resizing(*spec.out_size, interpolation="bilinear", **shared)
        case "squeeze":
            return keras.layers.GlobalAveragePooling2D(keepdims=True, **shared)
        case "excite":
            return keras.layers.Multiply(**shared)
        case "add":
            return keras.layers.Add(**shared)
        case "concat":
            return keras.layers.Concatenate(**shared)
        case "constants":
            return keras.layers.Normalization(**shared)
        case "drop":
            seed = zlib.crc32(f"{options.seed}/{spec.name}".encode())
            return StochasticDepth(options.stochastic_depth * spec.depth, seed, **shared)


def _l2(factor: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(factor) if factor else None
