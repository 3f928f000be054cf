import dataclasses
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from pipeline_lib.config import PAPER_SPACE, SearchSpace
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets.spec import IMAGE, Architecture, block_name, count, initial_weights, tensors, walk
from pipeline_lib.search.genotype import ANCESTOR, EVOPOSE2D_S, EVOPOSE2D_XS
from pipeline_lib.search.scaling import coefficients

# Published networks: genotype, size, (parameters, trainable, multiply-adds, multiply-adds by TensorFlow 2.3's rule).
PUBLISHED = {
    "XS": (EVOPOSE2D_XS, (256, 192), (2531199, 2496239, 462372800, 468615526)),
    "S": (EVOPOSE2D_S, (256, 192), (2531199, 2496239, 1064085440, 1072348774)),
    "M": (EVOPOSE2D_S, (384, 288), (7341609, 7256105, 5550593216, 5593475448)),
    "L": (EVOPOSE2D_S, (512, 384), (14709587, 14566883, 17591425152, 17711152522)),
    "ancestor": (ANCESTOR, (256, 192), (4302125, 4261901, 522976256, 528509948)),
}
TINY = Architecture([[1, 3, 1, 1], [2, 5, 1, 2], *[[1, 3, 1, 1]] * 4, [2, 3, 2, 2]], 64, 32, 5, stem=8, head=16)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    genotype, size, (parameters, trainable, multiply_adds, _) = PUBLISHED[name]
    counts = count(genotype, *size, coefficients(*size)[1:])
    assert counts == {"parameters": parameters, "trainable": trainable, "multiply_adds": multiply_adds}
    assert all(type(value) is int for value in counts.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts_of_the_whole_computation(name):
    """The rule of TensorFlow 2.3's profiler also counts bias additions, swish, squeeze and excitation elements."""
    genotype, size, (*_, by_rule) = PUBLISHED[name]
    layers = walk(Architecture.from_space(genotype, PAPER_SPACE, *size, scale=coefficients(*size)[1:]))
    elements = 0
    for layer in layers:
        if layer.bias or layer.op in ("swish", "excite"):
            elements += layer.out_channels * layer.out_size[0] * layer.out_size[1]
        if layer.op == "squeeze":
            elements += layer.in_channels * layer.in_size[0] * layer.in_size[1]
    assert sum(layer.multiply_adds for layer in layers) + elements / 2 == by_rule


def test_count_is_not_scaled_by_size():
    small, large = count(EVOPOSE2D_S, 256, 192), count(EVOPOSE2D_S, 512, 384)
    assert small["parameters"] == large["parameters"]
    se = 4 * sum(
        layer.multiply_adds for layer in walk(Architecture(EVOPOSE2D_S, 256, 192)) if layer.in_size == (1, 1)
    )  # squeezed maps do not grow
    assert large["multiply_adds"] == 4 * small["multiply_adds"] - se * 3 // 4


def test_count_of_another_space_and_number_of_keypoints():
    space = SearchSpace(stem=16, head=64, head_layers=2, final_kernel=3, expansion=4)
    difference = count(ANCESTOR, 64, 64, keypoints=15)["parameters"] - count(ANCESTOR, 64, 64)["parameters"]
    assert difference == -2 * (128 + 1)
    assert count(ANCESTOR, 64, 64, space=space) != count(ANCESTOR, 64, 64)
    final = tensors(Architecture.from_space(ANCESTOR, space, 64, 64))[-2:]
    assert [tensor.shape for tensor in final] == [(3, 3, 64, 17), (17,)]


def test_layers_fit_together():
    for architecture in (TINY, Architecture(EVOPOSE2D_S, 96, 64, scale=(1.7, 1.3))):
        outputs = {IMAGE: (3, (architecture.height, architecture.width))}
        for layer in walk(architecture):
            assert layer.name not in outputs
            assert (layer.in_channels, layer.in_size) == outputs[layer.inputs[0]]
            if layer.op == "add":
                assert outputs[layer.inputs[0]] == outputs[layer.inputs[1]]
            if layer.op == "excite":
                assert outputs[layer.inputs[0]] == (layer.in_channels, (1, 1))
                assert outputs[layer.inputs[1]] == (layer.out_channels, layer.out_size)
            outputs[layer.name] = (layer.out_channels, layer.out_size)
        assert outputs["final_conv"] == (architecture.keypoints, architecture.output_size)
        used = {name for layer in walk(architecture) for name in layer.inputs}
        assert outputs.keys() - used == {"final_conv"}


def test_order_of_a_block():
    block = [layer for layer in walk(TINY) if layer.block == (1, 1)]
    expected = [
        ("expand_conv", "conv"),
        ("expand_bn", "bn"),
        ("expand_swish", "swish"),
        ("depthwise_conv", "depthwise"),
        ("depthwise_bn", "bn"),
        ("depthwise_swish", "swish"),
        ("se_squeeze", "squeeze"),
        ("se_reduce", "conv"),
        ("se_swish", "swish"),
        ("se_expand", "conv"),
        ("se_sigmoid", "sigmoid"),
        ("se_excite", "excite"),
        ("project_conv", "conv"),
        ("project_bn", "bn"),
        ("drop", "drop"),
        ("add", "add"),
    ]
    assert [(layer.name, layer.op) for layer in block] == [(f"m2_b2_{name}", op) for name, op in expected]
    inputs = {layer.name.removeprefix("m2_b2_"): layer.inputs for layer in block}
    assert inputs["expand_conv"] == ("m2_b1_project_bn",)  # block 1 has stride 2, so no residual
    assert inputs["se_excite"] == ("m2_b2_se_sigmoid", "m2_b2_depthwise_swish")
    assert inputs["add"] == ("m2_b2_drop", "m2_b1_project_bn")


def test_first_and_last_layers():
    names = [layer.name for layer in walk(TINY)]
    assert names[:4] == ["stem_conv", "stem_bn", "stem_swish", "m1_b1_depthwise_conv"]  # no expansion in module 1
    assert names[-4:] == ["head3_tconv", "head3_bn", "head3_swish", "final_conv"]
    assert [layer.name for layer in walk(TINY) if layer.bias and layer.role != "se"] == ["final_conv"]


def test_kernels_strides_and_channels():
    layers = {layer.name: layer for layer in walk(Architecture(ANCESTOR, 256, 192))}
    stem, depthwise = layers["stem_conv"], layers["m3_b1_depthwise_conv"]
    assert (stem.kernel, stem.stride, stem.out_channels, stem.out_size) == (3, 2, 32, (128, 96))
    assert (depthwise.kernel, depthwise.stride, depthwise.in_size, depthwise.out_size) == (5, 2, (64, 48), (32, 24))
    assert depthwise.out_channels == 6 * 24
    second = layers["m3_b2_depthwise_conv"]
    assert (second.kernel, second.stride, second.out_channels) == (5, 1, 6 * 40)
    assert layers["m3_b1_se_reduce"].out_channels == 24 // 4  # a quarter of the block's input, not of the expanded
    assert layers["m3_b2_project_conv"].out_channels == 40
    tconv = layers["head2_tconv"]
    assert (tconv.kernel, tconv.stride, tconv.in_size, tconv.out_size) == (3, 2, (16, 12), (32, 24))
    assert (layers["final_conv"].kernel, layers["final_conv"].stride) == (1, 1)


def test_residuals_where_nothing_changes():
    with_residual = {layer.block for layer in walk(Architecture(ANCESTOR, 64, 64)) if layer.op == "add"}
    # No first block of the ancestor keeps stride and channels.
    assert with_residual == {(1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (5, 1), (5, 2), (5, 3)}
    # Here the stem's 8 channels are kept by module 1, modules 3-6 are like module 2; modules 2 and 7 have stride 2.
    assert {layer.block for layer in walk(TINY) if layer.op == "add"} == {
        (0, 0), (1, 1), (2, 0), (3, 0), (4, 0), (5, 0), (6, 1)
    }  # fmt: skip
    wider = dataclasses.replace(TINY, stem=16)
    assert (0, 0) not in {layer.block for layer in walk(wider) if layer.op == "add"}


def test_stochastic_depth_grows_with_the_block():
    depths = {layer.block: layer.depth for layer in walk(TINY) if layer.op == "drop"}
    assert depths == pytest.approx(
        {(0, 0): 0, (1, 1): 2 / 9, (2, 0): 3 / 9, (3, 0): 4 / 9, (4, 0): 5 / 9, (5, 0): 6 / 9, (6, 1): 8 / 9}
    )


@pytest.mark.parametrize(("channels", "width"), [(3, 1), (15, 3), (18, 4)])
def test_squeeze_keeps_whole_quarters_and_one_channel(channels, width):
    architecture = dataclasses.replace(TINY, stem=channels)
    assert {layer.out_channels for layer in walk(architecture) if layer.name == "m1_b1_se_reduce"} == {width}


def test_tensors_of_a_block():
    found = {tensor.name: tensor for tensor in tensors(TINY) if tensor.block == (6, 0)}
    shapes = {name.removeprefix("m7_b1_"): tensor.shape for name, tensor in found.items()}
    norm = {
        f"{stage}_bn/{variable}": (channels,)
        for stage, channels in {"expand": 48, "depthwise": 48, "project": 16}.items()
        for variable in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    assert shapes == norm | {
        "expand_conv/kernel": (1, 1, 8, 48),
        "depthwise_conv/kernel": (3, 3, 48, 1),
        "se_reduce/kernel": (1, 1, 48, 2),
        "se_reduce/bias": (2,),
        "se_expand/kernel": (1, 1, 2, 48),
        "se_expand/bias": (48,),
        "project_conv/kernel": (1, 1, 48, 16),
    }
    assert {name.split("/")[1] for name, tensor in found.items() if not tensor.trainable} == {
        "moving_mean",
        "moving_variance",
    }


def test_kinds_and_initialisers():
    found = {tensor.name: (tensor.kind, tensor.initializer) for tensor in tensors(TINY)}
    assert found["stem_conv/kernel"] == ("conv", "normal")
    assert found["m1_b1_depthwise_conv/kernel"] == ("depthwise", "normal")
    assert found["m1_b1_se_reduce/kernel"] == ("conv", "normal")
    assert found["m1_b1_se_reduce/bias"] == ("bias", "zeros")
    assert found["head1_tconv/kernel"] == ("tconv", "normal")
    assert found["final_conv/kernel"] == ("conv", "uniform")
    assert found["final_conv/bias"] == ("bias", "zeros")
    for variable, initializer in {
        "gamma": "ones",
        "beta": "zeros",
        "moving_mean": "zeros",
        "moving_variance": "ones",
    }.items():
        assert found[f"head2_bn/{variable}"] == ("bn", initializer)
    assert Counter(initializer for _, initializer in found.values())["uniform"] == 1


def test_head_kernels_are_height_width_out_in():
    shapes = {tensor.name: tensor.shape for tensor in tensors(Architecture(ANCESTOR, 64, 64))}
    assert shapes["head1_tconv/kernel"] == (3, 3, 128, 320)
    assert shapes["head2_tconv/kernel"] == (3, 3, 128, 128)


def test_initial_values():
    architecture = Architecture(ANCESTOR, 64, 64)
    weights = initial_weights(architecture, 1)
    assert list(weights) == [tensor.name for tensor in tensors(architecture)]
    assert all(weights[tensor.name].shape == tensor.shape for tensor in tensors(architecture))
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    fan_out = {  # Keras: receptive field x last axis
        "stem_conv/kernel": 9 * 32,
        "m6_b2_expand_conv/kernel": 6 * 192,
        "m6_b2_depthwise_conv/kernel": 25 * 1,
        "m6_b2_project_conv/kernel": 192,
        "m7_b1_se_reduce/kernel": 48,
        "head1_tconv/kernel": 9 * 320,
    }
    for name, fan in fan_out.items():
        array, std = weights[name], np.sqrt(2 / fan)
        assert array.std() == pytest.approx(std, rel=0.05 if array.size < 10000 else 0.01)
        assert abs(array.mean()) < 4 * std / np.sqrt(array.size)
        cut = 2 * std / 0.87962566
        assert 0.97 * cut < np.abs(array).max() <= cut * 1.000001
    final = weights["final_conv/kernel"]
    limit = np.sqrt(3 * (1 / 3) / 17)
    assert 0.99 * limit < np.abs(final).max() <= limit
    assert final.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    for variable, value in {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}.items():
        assert (weights[f"m4_b1_project_bn/{variable}"] == value).all()
    assert not any(weights[f"{name}/bias"].any() for name in ("m4_b1_se_reduce", "m4_b1_se_expand", "final_conv"))


def test_every_tensor_has_its_own_stream():
    first, again, other = (initial_weights(TINY, seed) for seed in (1, 1, 2))
    longer = initial_weights(dataclasses.replace(TINY, genotype=[[2, 3, 1, 1], *TINY.genotype[1:]]), 1)
    assert longer.keys() > first.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_array_equal(first[name], longer[name])
        if name.endswith("kernel"):
            assert not np.array_equal(first[name], other[name])
    assert not np.array_equal(first["m7_b2_expand_conv/kernel"], longer["m1_b2_project_conv/kernel"])
    same_shape = first["m3_b1_expand_conv/kernel"], first["m4_b1_expand_conv/kernel"]
    assert not np.array_equal(*same_shape)


def test_sizes():
    assert Architecture(ANCESTOR, 256, 192).overall_stride == 32
    assert Architecture(EVOPOSE2D_S, 256, 192).overall_stride == 16
    assert Architecture(ANCESTOR, 256, 192).output_size == (64, 48)
    assert Architecture(EVOPOSE2D_S, 256, 192).output_size == (128, 96)
    assert Architecture(ANCESTOR, 256, 192, head_layers=2).output_size == (32, 24)
    assert walk(Architecture(ANCESTOR, 64, 32, head_layers=0))[-1].out_size == (2, 1)


@pytest.mark.parametrize(
    ("size", "nearest"), [((256, 190), "256x192"), ((250, 192), "256x192"), ((100, 64), "96x64"), ((16, 32), "32x32")]
)
def test_sides_must_be_divisible_by_the_overall_stride(size, nearest):
    with pytest.raises(ConfigError, match=f"{size[0]}x{size[1]} .* overall stride 32; .* {nearest}"):
        Architecture(ANCESTOR, *size)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"genotype": ANCESTOR * 0}, "genotype .*positive"),
        ({"genotype": ANCESTOR[:6]}, "7 rows"),
        ({"keypoints": 0}, "keypoints 0: a positive number"),
        ({"keypoints": "17"}, "keypoints '17': an integer"),
        ({"expansion": (1, 6)}, "expansion"),
        ({"expansion": (1, 6, 6, 0, 6, 6, 6)}, "expansion .*positive"),
        ({"stem": 0}, "stem 0: a positive number"),
        ({"head": 0}, "head 0: a positive number"),
        ({"final_kernel": 0}, "final_kernel 0: a positive number"),
        ({"head_layers": -1}, "head_layers -1: 0 or more"),
        ({"height": 0}, "input 0x64"),
        ({"width": 64.0}, r"width 64\.0: an integer"),
        ({"scale": (0, 1)}, r"scale \(0\.0, 1\.0\): a positive number"),
    ],
)
def test_impossible_architectures(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Architecture(**({"genotype": ANCESTOR, "height": 64, "width": 64} | wrong))


def test_counts_are_plain_integers_whatever_sizes_are():
    counted = count(ANCESTOR, np.int64(64), np.int64(64))
    assert counted == count(ANCESTOR, 64, 64)
    assert {type(value) for value in counted.values()} == {int}


def test_json_round_trip():
    architecture = Architecture.from_space(
        EVOPOSE2D_S, SearchSpace(stem=16, expansion=4, head=24, head_layers=2, final_kernel=3), 384, 288, 15,
        coefficients(384, 288)[1:],
    )  # fmt: skip
    restored = Architecture.from_json(architecture.to_json())
    assert restored == architecture
    assert hash(restored) == hash(architecture)
    assert (restored.stem, restored.head, restored.head_layers, restored.final_kernel) == (16, 24, 2, 3)
    assert restored.expansion == (4,) * 7
    assert (restored.height, restored.width) == (384, 288)
    assert restored.keypoints == 15


@pytest.mark.parametrize("text", ["", "{}", "null", '{"layers": 3}', TINY.to_json()[:-1] + ',"new":1}'])
def test_other_json_is_refused(text):
    with pytest.raises(ArtifactError, match="architecture"):
        Architecture.from_json(text)


def test_scaled_blocks_and_channels():
    architecture = Architecture(ANCESTOR, 384, 288, scale=(1.7, 1.32))
    assert architecture.blocks() == (2, 4, 4, 6, 6, 7, 2)
    channels = {layer.name: layer.out_channels for layer in walk(architecture)}
    assert channels["stem_conv"] == 40
    assert channels["m5_b6_project_conv"] == 144
    assert channels["head1_tconv"] == 168
    assert channels["final_conv"] == 17
    assert block_name((4, 5)) == "m5_b6"


def test_neither_keras_nor_tensorflow_is_imported():
    code = """
import sys
import pipeline_lib.nets.inherit
import pipeline_lib.search.breed, pipeline_lib.search.fitness, pipeline_lib.search.selection, pipeline_lib.search.space
print(sorted({"keras", "tensorflow", "cv2", "jax"} & sys.modules.keys()))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_json_of_an_architecture_that_cannot_be_is_a_damaged_artifact():
    text = TINY.to_json().replace(f'"height":{TINY.height}', '"height":7')
    with pytest.raises(ArtifactError, match=r"not as written by this version .*input 7x"):
        Architecture.from_json(text)
