"""Networks in Keras, built by walking their layers."""

from typing import Any

import keras

from pipeline_lib.nets import blocks
from pipeline_lib.nets.layers import IMAGE, Network, Weights, initial_weights
from pipeline_lib.nets.weights import set_weights

# Mean side of the input up to which a drop rate holds, EfficientNet's; larger inputs have LARGEST_RATE.
STOCHASTIC_DEPTH_RATES = ((240, 0.2), (300, 0.3), (456, 0.4))
LARGEST_RATE = 0.5


def build_architecture(
    architecture: Network,
    *,
    weights: Weights | None = None,
    batch_norm_momentum: float = 0.99,
    stochastic_depth: float | None = None,
    l2: float = 0.0,
    l2_depthwise: bool = True,
    seed: int = 0,
    supervised: bool = False,
) -> keras.Model:
    """The Keras network of `architecture`.

    It takes normalised float32 images (N, height, width, 3), of a refiner with the maps of a pose behind them, and gives
    float32 heat maps (N, H', W', keypoints) without an activation. Layers compute in the global dtype policy, the final convolutions in float32.

    Args:
        architecture: what it computes.
        weights: tensors keyed `layer/variable`; None: `initial_weights` of `seed`.
        batch_norm_momentum: of the moving statistics.
        stochastic_depth: rate at the last block; None: by the input size.
        l2: factor of the sum of squares of all kernels in the training loss.
        l2_depthwise: whether depthwise kernels belong to them.
        seed: of the initial weights and of stochastic depth.
        supervised: give a list of the maps of all outputs that are trained, the heat maps last; one alone is no list.
    """
    if stochastic_depth is None:
        stochastic_depth = stochastic_depth_rate(architecture.height, architecture.width)
    options = blocks.LayerOptions(batch_norm_momentum, stochastic_depth, l2, l2_depthwise, seed)
    layers = architecture.layers()
    image = keras.Input((architecture.height, architecture.width, layers[0].in_channels), name=IMAGE)
    outputs: dict[str, Any] = {IMAGE: image}
    for layer in layers:
        inputs = [outputs[name] for name in layer.inputs]
        outputs[layer.name] = blocks.apply(layer, options, inputs if len(inputs) > 1 else inputs[0])
    maps: Any = [outputs[each.layer] for each in architecture.supervised()]
    if not supervised:
        # What is only trained stays a part of the network, so that its weights have a place.
        maps = blocks.Last(name="heatmaps")(maps) if len(maps) > 1 else outputs[layer.name]
    model = keras.Model(image, maps, name="evopose2d")
    set_weights(model, initial_weights(architecture, seed) if weights is None else weights)
    return model


def stochastic_depth_rate(height: int, width: int) -> float:
    """Drop rate at the last block for an input of `height` x `width` pixels (as in the published program)."""
    side = (height + width) / 2
    return next((rate for limit, rate in STOCHASTIC_DEPTH_RATES if side <= limit), LARGEST_RATE)
