import dataclasses

import numpy as np
import pytest

from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets.inherit import check_weights, inherit
from pipeline_lib.nets.spec import Architecture, initial_weights, tensors

BLOCKS = (1, 2, 2, 3, 3, 2, 1)
PARENT = Architecture(
    [[blocks, 3, 2, 1 + (module == 1)] for module, blocks in enumerate(BLOCKS)], 32, 32, stem=16, head=8
)
SEED = 7


def trained(architecture):
    """Weights without two equal or zero entries, as after training."""
    rng = np.random.default_rng(1)
    return {tensor.name: rng.normal(size=tensor.shape).astype(np.float32) for tensor in tensors(architecture)}


def changed(module, column, value):
    genotype = np.array(PARENT.genotype)
    genotype[module, column] = value
    return dataclasses.replace(PARENT, genotype=genotype)


def of_block(names, block):
    return [name for name in names if name.startswith(f"{block}_")]


WEIGHTS = trained(PARENT)


def test_same_network_inherits_everything():
    weights, report = inherit(PARENT, WEIGHTS, PARENT, SEED)
    assert list(weights) == [tensor.name for tensor in tensors(PARENT)]
    for name, array in weights.items():
        np.testing.assert_array_equal(array, WEIGHTS[name])
        assert not np.shares_memory(array, WEIGHTS[name])
    assert report["fraction"] == 1
    assert report["initial"] == []
    assert report["parameters"] == report["inherited"] == sum(array.size for array in WEIGHTS.values())
    assert report["blocks"]["m4_b3"] == "m4_b3"


@pytest.mark.parametrize("module", range(1, 7))
def test_new_block_inherits_from_the_last_of_its_module(module):
    weights, report = inherit(PARENT, WEIGHTS, changed(module, 0, BLOCKS[module] + 1), SEED)
    new, last = f"m{module + 1}_b{BLOCKS[module] + 1}", f"m{module + 1}_b{BLOCKS[module]}"
    assert report["blocks"][new] == last
    assert report["fraction"] == 1
    copied = of_block(weights, new)
    assert len(copied) == 19
    for name in copied:  # all blocks have 16 channels in and out
        np.testing.assert_array_equal(weights[name], WEIGHTS[name.replace(new, last)])
    for name in WEIGHTS:
        np.testing.assert_array_equal(weights[name], WEIGHTS[name])


def test_new_block_of_the_published_program_inherits_from_the_last_of_the_network():
    weights, report = inherit(PARENT, WEIGHTS, changed(2, 0, 3), SEED, donor="network")
    assert report["blocks"]["m3_b3"] == "m7_b1" and report["blocks"]["m3_b2"] == "m3_b2"
    for name in of_block(weights, "m3_b3"):  # all blocks have 16 channels in and out
        np.testing.assert_array_equal(weights[name], WEIGHTS[name.replace("m3_b3", "m7_b1")])


def test_depthwise_kernels_of_another_size_stay_new_in_the_published_program():
    child = changed(3, 1, 5)
    weights, report = inherit(PARENT, WEIGHTS, child, SEED, kernels=False)
    new = [f"m4_b{block}_depthwise_conv/kernel" for block in (1, 2, 3)]
    assert report["initial"] == new
    fresh = initial_weights(child, SEED)
    for name in weights:
        np.testing.assert_array_equal(weights[name], (fresh if name in new else WEIGHTS)[name])
    # Another number of channels is not another kernel size.
    wider = changed(3, 2, 3)
    _, report = inherit(PARENT, WEIGHTS, wider, SEED, kernels=False)
    assert report == inherit(PARENT, WEIGHTS, wider, SEED)[1] and report["initial"] == []


def test_new_block_in_module_1_where_blocks_do_not_expand():
    weights, report = inherit(PARENT, WEIGHTS, changed(0, 0, 3), SEED)
    assert report["blocks"] | {"m1_b2": "m1_b1", "m1_b3": "m1_b1"} == report["blocks"]
    assert report["initial"] == []
    for block in ("m1_b2", "m1_b3"):
        names = of_block(weights, block)
        assert len(names) == 14
        for name in names:
            np.testing.assert_array_equal(weights[name], WEIGHTS[name.replace(block, "m1_b1")])


@pytest.mark.parametrize("module", range(1, 6))
def test_removed_block_leaves_the_others(module):
    weights, report = inherit(PARENT, WEIGHTS, changed(module, 0, BLOCKS[module] - 1), SEED)
    gone = f"m{module + 1}_b{BLOCKS[module]}"
    assert set(WEIGHTS) - set(weights) == set(of_block(WEIGHTS, gone))
    assert report["fraction"] == 1
    assert gone not in report["blocks"]
    for name in weights:
        np.testing.assert_array_equal(weights[name], WEIGHTS[name])


def test_larger_kernel_keeps_its_centre_and_the_initial_border():
    child = changed(3, 1, 5)
    weights, report = inherit(PARENT, WEIGHTS, child, SEED)
    initial = initial_weights(child, SEED)
    for block in ("m4_b1", "m4_b2", "m4_b3"):
        name = f"{block}_depthwise_conv/kernel"
        np.testing.assert_array_equal(weights[name][1:4, 1:4], WEIGHTS[name])
        border = np.ones((5, 5), bool)
        border[1:4, 1:4] = False
        np.testing.assert_array_equal(weights[name][border], initial[name][border])
    others = [name for name in weights if not (name.startswith("m4") and "depthwise_conv" in name)]
    for name in others:
        np.testing.assert_array_equal(weights[name], WEIGHTS[name])
    size = sum(array.size for array in weights.values())
    assert report["fraction"] == pytest.approx(1 - 3 * 96 * (25 - 9) / size)
    assert report["initial"] == []


def test_more_channels():
    child = changed(4, 2, 3)
    weights, _ = inherit(PARENT, WEIGHTS, child, SEED)
    initial = initial_weights(child, SEED)
    name = "m5_b1_project_conv/kernel"
    np.testing.assert_array_equal(weights[name][..., :16], WEIGHTS[name])
    np.testing.assert_array_equal(weights[name][..., 16:], initial[name][..., 16:])
    name = "m6_b1_expand_conv/kernel"  # the next module's input
    np.testing.assert_array_equal(weights[name][:, :, :16, :96], WEIGHTS[name])
    np.testing.assert_array_equal(weights[name][:, :, 16:], initial[name][:, :, 16:])
    for variable in ("gamma", "beta", "moving_mean", "moving_variance"):
        name = f"m5_b1_project_bn/{variable}"
        np.testing.assert_array_equal(weights[name][:16], WEIGHTS[name])
        np.testing.assert_allclose(weights[name][16:], WEIGHTS[name].mean(dtype=float), rtol=1e-6)
    name = "m6_b1_se_reduce/bias"
    np.testing.assert_array_equal(weights[name][:4], WEIGHTS[name])
    np.testing.assert_array_equal(weights[name][4:], 0)


def test_fewer_channels_into_the_head():
    weights, report = inherit(PARENT, WEIGHTS, changed(6, 2, 1), SEED)
    np.testing.assert_array_equal(weights["head1_tconv/kernel"], WEIGHTS["head1_tconv/kernel"][..., :8])
    assert report["fraction"] == 1


def test_stride_changes_no_tensor():
    weights, report = inherit(PARENT, WEIGHTS, changed(5, 3, 2), SEED)
    assert report["fraction"] == 1
    for name in WEIGHTS:
        np.testing.assert_array_equal(weights[name], WEIGHTS[name])


def test_layers_that_the_donor_does_not_have_stay_initial():
    child = dataclasses.replace(PARENT, expansion=(6,) * 7, head_layers=4)
    weights, report = inherit(PARENT, WEIGHTS, child, SEED)
    initial = initial_weights(child, SEED)
    expected = {name for name in weights if name.startswith(("m1_b1_expand_", "head4_"))}
    assert len(expected) == 10
    assert set(report["initial"]) == expected
    for name in expected:
        np.testing.assert_array_equal(weights[name], initial[name])
    np.testing.assert_array_equal(weights["m1_b1_project_conv/kernel"][:, :, :16], WEIGHTS["m1_b1_project_conv/kernel"])
    inherited = sum(min(array.size, WEIGHTS[name].size) for name, array in weights.items() if name in WEIGHTS)
    assert report["inherited"] == inherited
    assert report["fraction"] == inherited / sum(array.size for array in weights.values())


def test_scaled_network_inherits_from_the_searched_one():
    child = dataclasses.replace(PARENT, scale=(1.7, 1.5))
    weights, report = inherit(PARENT, WEIGHTS, child, SEED)
    assert report["blocks"]["m4_b6"] == "m4_b3"
    assert report["blocks"]["m4_b2"] == "m4_b2"
    np.testing.assert_array_equal(weights["stem_conv/kernel"][..., :16], WEIGHTS["stem_conv/kernel"])
    _, back = inherit(child, weights, PARENT, SEED)
    assert back["fraction"] == 1
    _, scaled = inherit(child, weights, dataclasses.replace(changed(3, 0, 4), scale=(1.7, 1.5)), SEED)
    assert (scaled["blocks"]["m4_b6"], scaled["blocks"]["m4_b7"]) == ("m4_b6", "m4_b6")


def test_seed_is_used():
    child = changed(3, 1, 5)
    (first, _), (second, _) = (inherit(PARENT, WEIGHTS, child, seed) for seed in (1, 2))
    name = "m4_b1_depthwise_conv/kernel"
    assert not np.array_equal(first[name], second[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_conv/kernel": None}, "stem_conv/kernel is missing"),
        ({"stem_conv/bias": np.zeros(16)}, "stem_conv/bias is unknown"),
        ({"final_conv/bias": np.zeros(16)}, r"final_conv/bias has shape \(16,\), \(17,\) is expected"),
    ],
)
def test_weights_of_another_network_are_refused(change, message):
    wrong = {name: array for name, array in (WEIGHTS | change).items() if array is not None}
    with pytest.raises(ArtifactError, match=message):
        inherit(PARENT, wrong, PARENT, SEED)
    check_weights(PARENT, WEIGHTS)
