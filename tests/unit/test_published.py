"""The networks that the paper compares with: published counts, agreement with Keras, and what they compute."""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pipeline_lib import nets
from pipeline_lib.artifacts import save_weights
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import (
    Builder,
    LayerSpec,
    Supervised,
    Weights,
    count_network,
    initial_weights,
    profiled_multiply_adds,
    tensors,
)
from pipeline_lib.nets.published import efficientnet, resnet
from pipeline_lib.nets.registry import NAMES, PUBLISHED, Published, architecture
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.nets.weights import set_weights
from pipeline_lib.search.genotype import ANCESTOR
from pipeline_lib.train.model import PoseModel

# Parameters, trainable ones, multiply-adds of convolutions, and all by the profiler's rule (the authors' programs).
COUNTS = {
    ("evopose2d_xs", 256, 192): (2531199, 2496239, 462372800, 468615526),
    ("evopose2d_s", 256, 192): (2531199, 2496239, 1064085440, 1072348774),
    ("evopose2d_m", 384, 288): (7341609, 7256105, 5550593216, 5593475448),
    ("evopose2d_l", 512, 384): (14709587, 14566883, 17591425152, 17711152522),
    ("ancestor", 256, 192): (4302125, 4261901, 522976256, 528509948),
    ("simple_baseline_r50", 256, 192): (34080913, 34026257, 5199888384, 5205984768),
    ("simple_baseline_r101", 256, 192): (53151377, 53044497, 8836349952, 8844953088),
    ("simple_baseline_r152", 256, 192): (68864145, 68711185, 12472811520, 12484511232),
    ("simple_baseline_r152", 384, 288): (68864145, 68711185, 28063825920, 28090150272),
    ("hrnet_w32", 256, 192): (28590449, 28536113, 7645003776, 7645029888),
    ("hrnet_w48", 256, 192): (63675329, 63595745, 15691825152, 15691851264),
    ("hrnet_w32", 384, 288): (28590449, 28536113, 17201258496, 17201317248),
    ("hrnet_w48", 384, 288): (63675329, 63595745, 35306606592, 35306665344),
    ("efficientnet_b0", 256, 192): (5822772, 5779981, 595721216, 601506812),
}
MILLIONS = {"cpn": 27.0, "mspn4": 120.0}  # as printed in their papers
WIDE = ("hrnet_w32", "cpn", "mspn2")
OUTPUTS = {"hrnet_w32": 1, "cpn": 5, "mspn2": 8}

LONG = {"evopose2d_m", "evopose2d_l", "simple_baseline_r152", "hrnet_w32", "hrnet_w48", "mspn2", "mspn4"}
EVERY = [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in NAMES]


@pytest.mark.parametrize(("name", "height", "width"), COUNTS)
def test_published_counts(name: str, height: int, width: int) -> None:
    network = architecture(ANCESTOR if name == "ancestor" else name, height, width, 17)
    counted = count_network(network)
    found = (*counted.values(), profiled_multiply_adds(network))
    assert list(counted) == ["parameters", "trainable", "multiply_adds"]
    assert found == COUNTS[name, height, width]


@pytest.mark.parametrize(("name", "millions"), MILLIONS.items())
def test_published_sizes_of_networks_without_an_exact_reference(name: str, millions: float) -> None:
    assert count_network(Published(name, 256, 192))["parameters"] / 1e6 == pytest.approx(millions, rel=0.01)


def zeros(network: nets.layers.Network) -> Weights:
    """Weights that take no time to draw."""
    return {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in tensors(network)}


@functools.cache
def plain(name: str, height: int = 64, width: int = 64) -> keras.Model:
    """The Keras network without weights to speak of, built once for all tests that set their own."""
    network = architecture(name, height, width, 17)
    return nets.build_architecture(network, weights=zeros(network))


@pytest.mark.parametrize("name", EVERY)
def test_the_keras_network_has_what_is_described(name: str) -> None:
    counted = count_network(architecture(name, 64, 64, 17))
    model = plain(name)
    assert model.count_params() == counted["parameters"]
    assert sum(math.prod(variable.shape) for variable in model.trainable_variables) == counted["trainable"]
    outputs = {layer.name: layer.output.shape for layer in model.layers}
    for layer in architecture(name, 64, 64, 17).layers():
        assert tuple(outputs[layer.name]) == (None, *layer.out_size, layer.out_channels), layer.name
    if name in PUBLISHED:
        assert model.output_shape == (None, 16, 16, 17)


@dataclass(frozen=True)
class Part:
    """The beginning of a network, which gives the outputs of the layers `ends`."""

    specs: tuple[LayerSpec, ...]
    ends: tuple[str, ...]
    height: int
    width: int
    keypoints: int = 17

    def layers(self) -> list[LayerSpec]:
        return list(self.specs)

    def supervised(self) -> tuple[Supervised, ...]:
        return tuple(map(Supervised, self.ends))


def varied(shape: tuple[int, ...], name: str, rng: np.random.Generator) -> np.ndarray:
    """Weights of a network in which nothing is trivial: batch statistics, biases and offsets are none."""
    if name.endswith(("gamma", "variance")):
        return rng.uniform(0.5, 1.5, shape)
    if name.endswith(("beta", "mean", "bias")):
        return rng.normal(0, 0.3, shape)
    return rng.normal(0, np.sqrt(1.5 / max(1, math.prod(shape[:-1]))), shape)


def randomise(model: keras.Model) -> None:
    """Give the weights of a model of `keras.applications` values of which none is trivial."""
    rng = np.random.default_rng(7)
    model.set_weights([varied(tuple(v.shape), v.path, rng).astype(v.dtype) for v in model.weights])


def assert_close(found: Any, expected: Any, message: str = "") -> None:
    scale = float(np.abs(expected).max())
    assert 0.01 < scale < 1e6
    np.testing.assert_allclose(found, expected, atol=1e-4 * scale, rtol=0, err_msg=message)


@pytest.mark.slow
def test_resnet_computes_what_that_of_keras_does() -> None:
    """96 x 64: even sides at every stride; symmetric padding and the stride of the first 1x1 convolution show."""
    theirs = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(96, 64, 3))
    randomise(theirs)
    builder = Builder(96, 64)
    ends = tuple(resnet.backbone(builder, 50))
    assert ends == ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
    part = Part(tuple(builder.layers), ends, 96, 64)
    weights = {f"{layer.name}/{v.name}": np.asarray(v) for layer in theirs.layers for v in layer.weights}
    ours = nets.build_architecture(part, weights=weights, supervised=True)
    images = np.random.default_rng(1).normal(size=(2, 96, 64, 3)).astype(np.float32)
    reference = keras.Model(theirs.input, [theirs.get_layer(end).output for end in ends])
    for end, found, expected in zip(ends, ours(images), reference(images), strict=True):
        assert_close(found, expected, end)


@pytest.mark.slow
def test_efficientnet_computes_what_that_of_keras_does() -> None:
    """Keras' divides pixels by 255 itself."""
    theirs = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(96, 64, 3))
    randomise(theirs)
    layers = efficientnet.layers(96, 64, 17)
    last = next(index for index, layer in enumerate(layers) if layer.name == "top_swish")
    ends = {
        "stem_swish": "stem_activation",
        "m2_b1_project_bn": "block2a_project_bn",
        "m4_b3_add": "block4c_add",
        "m7_b1_project_bn": "block7a_project_bn",
        "top_swish": "top_activation",
    }
    part = Part(tuple(layers[: last + 1]), tuple(ends), 96, 64)
    # Both list their weights in the order of computation.
    given = [np.asarray(v) for v in theirs.weights]
    described = tensors(part)
    assert [tensor.shape for tensor in described] == [values.shape for values in given]
    weights = {tensor.name: values for tensor, values in zip(described, given, strict=True)}
    ours = nets.build_architecture(part, weights=weights, supervised=True)
    images = np.random.default_rng(1).uniform(0, 255, (2, 96, 64, 3)).astype(np.float32)
    reference = keras.Model(theirs.input, [theirs.get_layer(name).output for name in ends.values()])
    for end, found, expected in zip(ends, ours(images / 255), reference(images), strict=True):
        assert_close(found, expected, end)


def test_efficientnet_has_the_modules_of_the_ancestor_and_an_identity_before_them() -> None:
    network = architecture("efficientnet_b0", 64, 64, 17)
    mine = {tensor.name: tensor for tensor in tensors(network)}
    searched = [tensor for tensor in tensors(architecture(ANCESTOR, 64, 64, 17)) if not tensor.name.startswith("head1")]
    assert all(mine[tensor.name] == tensor for tensor in searched)
    initial = initial_weights(network, 0)
    constants = [initial[f"normalization/{name}"] for name in ("mean", "variance", "count")]
    assert [values.tolist() for values in constants] == [[0, 0, 0], [1, 1, 1], 0]
    assert not any(mine[name].trainable for name in mine if name.startswith("normalization/"))


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_maps_have_a_quarter_of_the_input_size(name: str) -> None:
    assert plain(name).output_shape == (None, 16, 16, 17)
    assert plain(name, 96, 64).output_shape == (None, 24, 16, 17)


def test_what_is_supervised() -> None:
    """Of CPN and MSPN as published: hard keypoints at the end, targets and weights from coarse to fine."""
    for name in NAMES:
        network = architecture(name, 64, 64, 17)
        layers = {layer.name: layer for layer in network.layers()}
        assert network.supervised()[-1].layer == list(layers)[-1]
        for each in network.supervised():
            assert layers[each.layer].out_size == layers[network.supervised()[-1].layer].out_size
            assert layers[each.layer].role == "final", "computed in float32"
        assert (len(network.supervised()) > 1) == (name in ("cpn", "mspn2", "mspn4"))
    cpn = architecture("cpn", 64, 64, 17).supervised()
    assert [(each.sigma, each.hardest, each.weight) for each in cpn] == [(1, None, 1)] * 4 + [(1, 8, 1)]
    mspn = architecture("mspn4", 64, 64, 17).supervised()
    assert [each.hardest for each in mspn] == [None, None, None, 8] * 4
    assert [each.weight for each in mspn] == [0.25, 0.25, 0.25, 1] * 4
    windows = [np.array((2.6, 2.0, 1.7, 1.4)) / 1.1] * 3 + [np.array((2.0, 1.7, 1.4, 1.1)) / 1.1]
    assert [each.sigma for each in mspn] == pytest.approx(list(np.concatenate(windows)))


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_every_part_learns_and_the_last_output_is_the_network(name: str) -> None:
    network = architecture(name, 64, 64, 17)
    weights = initial_weights(network, 3)
    outputs = nets.build_architecture(network, weights=weights, supervised=True)
    assert [tuple(output.shape) for output in outputs.outputs] == [(None, 16, 16, 17)] * OUTPUTS[name]
    assert OUTPUTS[name] == len(network.supervised())
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    points = np.concatenate([rng.uniform(0, 64, (2, 17, 2)), np.full((2, 17, 1), 2)], 2).astype(np.float32)

    set_weights(plain(name), weights)
    pixels = rng.normal(size=images.shape).astype(np.float32)
    given = outputs(pixels, training=False)
    given = given if isinstance(given, list) else [given]
    np.testing.assert_allclose(plain(name)(pixels, training=False), given[-1], rtol=1e-4, atol=1e-3)
    for index, other in enumerate(given[:-1]):
        assert not np.allclose(other, given[-1], atol=1e-3), index

    import tensorflow as tf

    model = PoseModel(outputs, 1.0, supervised=network.supervised())
    with tf.GradientTape() as tape:
        loss = model.compute_loss(images, points, model(images, training=True), np.ones(2, np.float32))
    # A mean that batch normalisation takes away again: the biases before it get rounding errors only.
    layers = network.layers()
    before = {other.inputs[0] for other in layers if other.op == "bn"}
    variables = {f"{layer.name}/{v.name}": v for layer in outputs.layers for v in layer.trainable_variables}
    gradients = tape.gradient(loss, [variable.value for variable in variables.values()])
    assert math.isfinite(float(loss))
    for (variable, _), gradient in zip(variables.items(), gradients, strict=True):
        assert gradient is not None, variable
        assert np.isfinite(gradient).all(), variable
        if not (variable.endswith("/bias") and variable.split("/")[0] in before):
            assert np.abs(gradient).max() > 0, variable


def test_names_and_sizes_that_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown network 'resnet'; known are evopose2d_xs, .*, mspn2, mspn4"):
        nets.build("resnet", 64, 64, 17)
    for size in ((96, 80), (80, 96), (16, 32)):
        with pytest.raises(ConfigError, match=f"input {size[0]}x{size[1]} is not divisible by .*stride 32 of cpn"):
            Published("cpn", *size)
    with pytest.raises(ConfigError, match="nearest size that is: 256x192"):
        Published("hrnet_w32", 250, 200)
    with pytest.raises(ConfigError, match="positive number of keypoints is expected, not 0"):
        Published("cpn", 64, 64, 0)
    with pytest.raises(ConfigError, match=r"hrnet_w32 cannot be scaled; only evopose2d_xs, .* and genotypes can"):
        nets.build("hrnet_w32", 64, 64, 17, (1.0, 1.0))


def test_other_sizes_keep_the_tensors() -> None:
    small = architecture("simple_baseline_r50", 64, 96, 14)
    large = small.resized(256, 192)
    assert (large.height, large.width, large.keypoints) == (256, 192, 14)
    assert tensors(small) == tensors(large)
    assert count_network(large)["multiply_adds"] == 8 * count_network(small)["multiply_adds"]


def test_weights_files(tmp_path: Path) -> None:
    network = architecture("efficientnet_b0", 64, 96, 5)
    weights = initial_weights(network, 4)
    path = tmp_path / "b0.safetensors"
    files.save(path, network, weights)
    loaded, values = files.load(path)
    assert loaded == network == registry.from_json(network.to_json())
    assert values.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(values[name], array)
    for reader in (files.load_searched, files.load_architecture):
        with pytest.raises(
            ArtifactError, match=r"b0\.safetensors: weights of a search network are expected, with a genotype"
        ):
            reader(path)
    searched = Architecture(ANCESTOR, 64, 96, 5)
    files.save(tmp_path / "searched.safetensors", searched, initial_weights(searched, 0))
    assert files.load_searched(tmp_path / "searched.safetensors")[0] == searched


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"network": "cpn", "height": 64, "width": 64, "keypoints": 3}, "weights do not belong to their network"),
        ({"network": "vit", "height": 64, "width": 64, "keypoints": 3}, "not as written by this version .*'vit'"),
        ({"network": "cpn", "height": 60, "width": 64, "keypoints": 3}, "not as written by this version .*60x64"),
        ({"network": "cpn", "height": 64, "width": 64, "keypoints": 3, "scale": 2}, "not as written by this version"),
        ({"network": "cpn"}, "not as written by this version"),
        ({"genotype": [[1, 3, 1, 1]] * 7, "height": 64, "width": 64, "heads": 2}, "not as written by this version"),
        ("{", "not as written by this version"),
        ("3", "not as written by this version"),
    ],
    ids=["another", "unknown", "size", "future", "short", "future search", "no JSON", "no object"],
)
def test_headers_that_are_refused(tmp_path: Path, header: Any, message: str) -> None:
    path = tmp_path / "odd.safetensors"
    text = header if isinstance(header, str) else json.dumps(header)
    save_weights(path, {"a/b": np.zeros(2, np.float32)}, {"architecture": text})
    with pytest.raises(ArtifactError, match=rf"odd\.safetensors: .*{message}"):
        files.load(path)
