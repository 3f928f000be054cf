import itertools

import numpy as np
import pytest

from pipeline_lib.search.transfer import block_source, transfer, transfer_array

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def by_definition(parent, child, spatial):
    """Section III, entry by entry: W[x + p, ..., c] with p = (k_p - k_c) / 2, for kernels that differ by an even number."""
    result = child.copy()
    for index in np.ndindex(*child.shape):
        source = [
            place + (parent.shape[axis] - child.shape[axis]) // 2 if axis < spatial else place
            for axis, place in enumerate(index)
        ]
        if all(0 <= place < size for place, size in zip(source, parent.shape, strict=True)):
            result[index] = parent[tuple(source)]
    return result


@pytest.mark.parametrize("kind", ["conv", "depthwise", "tconv"])
@pytest.mark.parametrize(
    ("k_p", "k_c"), [(3, 3), (3, 5), (5, 3), (5, 7), (7, 5), (3, 7), (7, 3), (1, 3), (4, 2), (2, 4)]
)
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_kernels_are_centred_and_channels_overlap_from_0(kind, k_p, k_c, spatial):
    for (i_p, o_p), (i_c, o_c) in [((4, 6), (2, 3)), ((2, 3), (4, 6)), ((2, 6), (4, 3)), ((5, 1), (3, 1))]:
        parent, child = random(*(k_p,) * spatial, i_p, o_p), random(*(k_c,) * spatial, i_c, o_c)
        np.testing.assert_array_equal(transfer_array(parent, child, kind), by_definition(parent, child, spatial))


def test_figure_2():
    parent = random(3, 3, 32, 8)
    wider = random(5, 5, 16, 8)
    expected = wider.copy()
    expected[1:4, 1:4] = parent[:, :, :16]
    np.testing.assert_array_equal(transfer_array(parent, wider, "conv"), expected)
    deeper = random(3, 3, 64, 8)
    expected = deeper.copy()
    expected[:, :, :32] = parent
    np.testing.assert_array_equal(transfer_array(parent, deeper, "conv"), expected)


def test_spatial_axes_may_differ_from_each_other():
    parent, child = random(3, 7, 2, 2), random(5, 3, 2, 2)
    expected = child.copy()
    expected[1:4] = parent[:, 2:5]
    np.testing.assert_array_equal(transfer_array(parent, child, "conv"), expected)


@pytest.mark.parametrize(
    ("k_p", "k_c", "source", "target"),
    [(3, 2, 0, 0), (2, 3, 0, 0), (5, 4, 0, 0), (4, 5, 0, 0), (5, 2, 1, 0), (2, 5, 0, 1)],
)
def test_odd_differences_round_down(k_p, k_c, source, target):
    parent, child = random(k_p, 2, 3), random(k_c, 2, 3)
    common = min(k_p, k_c)
    expected = child.copy()
    expected[target : target + common] = parent[source : source + common]
    np.testing.assert_array_equal(transfer_array(parent, child, "conv"), expected)


def test_transposed_kernels_are_height_width_out_in():
    parent, child = random(3, 3, 128, 320), random(3, 3, 96, 400)
    result = transfer_array(parent, child, "tconv")
    np.testing.assert_array_equal(result[:, :, :, :320], parent[:, :, :96])
    np.testing.assert_array_equal(result[:, :, :, 320:], child[:, :, :, 320:])


@pytest.mark.parametrize(("larger", "smaller"), [((4, 6), (2, 3)), ((4, 3), (2, 6))])
def test_dense_overlaps_from_0(larger, smaller):
    for shape_p, shape_c in itertools.permutations([larger, smaller]):
        parent, child = random(*shape_p), random(*shape_c)
        rows, columns = min(shape_p[0], shape_c[0]), min(shape_p[1], shape_c[1])
        expected = child.copy()
        expected[:rows, :columns] = parent[:rows, :columns]
        np.testing.assert_array_equal(transfer_array(parent, child, "dense"), expected)


def test_bias_keeps_the_childs_rest():
    parent, child = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    np.testing.assert_array_equal(transfer_array(parent, child, "bias"), [1, 2, 3, 40, 50])
    np.testing.assert_array_equal(transfer_array(child, parent, "bias"), [10, 20, 30])


def test_batch_norm_fills_with_the_mean_of_the_whole_parent():
    parent, child = np.array([1.0, 2.0, 6.0], np.float32), np.full(5, 100, np.float32)
    np.testing.assert_array_equal(transfer_array(parent, child, "bn"), [1, 2, 6, 3, 3])
    np.testing.assert_array_equal(transfer_array(parent, child[:2], "bn"), [1, 2])
    large = np.full(5000, 60000, np.float16)  # the sum overflows float16
    np.testing.assert_array_equal(transfer_array(large, np.zeros(5001, np.float16), "bn"), np.full(5001, 60000))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("conv", (3, 3, 4, 5)), ("depthwise", (3, 3, 4, 1)), ("tconv", (3, 3, 4, 5)), ("dense", (4, 5)), ("bias", (4,)), ("bn", (4,))],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_result_is_new_and_has_the_childs_dtype(kind, shape, dtype):
    parent, child = RNG.normal(size=shape), np.zeros(shape, dtype)
    kept = parent.copy()
    result = transfer_array(parent, child, kind)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, parent.astype(dtype))
    assert not np.shares_memory(result, parent)
    assert not np.shares_memory(result, child)
    result[...] = 7
    np.testing.assert_array_equal(parent, kept)
    np.testing.assert_array_equal(child, 0)


@pytest.mark.parametrize(
    ("kind", "parent", "child"),
    [
        ("conv", (3, 3, 2, 2), (3, 2, 2)),
        ("conv", (2, 2), (2, 2)),
        ("tconv", (3,) * 6, (3,) * 6),
        ("dense", (1, 2, 2), (1, 2, 2)),
        ("bias", (1, 2), (1, 2)),
        ("bn", (2,), (2, 2)),
        ("pool", (2,), (2,)),
    ],
)
def test_what_does_not_correspond_is_refused(kind, parent, child):
    with pytest.raises(ValueError, match=kind):
        transfer_array(random(*parent), random(*child), kind)


@pytest.mark.parametrize("module", range(7))
def test_block_source_of_an_added_and_a_removed_block(module):
    parent = [1, 2, 2, 3, 3, 4, 1]
    added, removed = parent.copy(), parent.copy()
    added[module] += 1
    removed[module] -= 1
    unchanged = {(place, block): (place, block) for place in range(7) for block in range(parent[place])}
    assert block_source(parent, parent) == unchanged
    assert block_source(parent, added) == unchanged | {(module, parent[module]): (module, parent[module] - 1)}
    expected = {key: value for key, value in unchanged.items() if key != (module, parent[module] - 1)}
    assert block_source(parent, removed) == expected


def test_block_source_of_several_new_blocks():
    assert block_source((2, 1), (4, 1)) == {
        (0, 0): (0, 0),
        (0, 1): (0, 1),
        (0, 2): (0, 1),
        (0, 3): (0, 1),
        (1, 0): (1, 0),
    }


def test_block_source_of_the_published_program_is_the_last_block_of_the_network():
    assert block_source((2, 1, 3), (3, 3, 4), donor="network") == {
        (0, 0): (0, 0),
        (0, 1): (0, 1),
        (0, 2): (2, 2),
        (1, 0): (1, 0),
        (1, 1): (2, 2),
        (1, 2): (2, 2),
        (2, 0): (2, 0),
        (2, 1): (2, 1),
        (2, 2): (2, 2),
        (2, 3): (2, 2),
    }


def test_block_source_needs_the_same_modules():
    with pytest.raises(ValueError, match="zip"):
        block_source((1, 2), (1, 2, 3))


def test_transfer_of_a_set():
    parent = {"a/kernel": random(3, 3, 2, 4), "a_bn/gamma": random(4), "other/bias": random(2)}
    child = {
        "b/kernel": random(5, 5, 3, 4),
        "b_bn/gamma": random(6),
        "new/kernel": random(2, 2),
        "new/bias": random(3),
    }
    kinds = {"b/kernel": "conv", "b_bn/gamma": "bn", "new/kernel": "dense", "new/bias": "bias"}
    donors = {"b/kernel": "a/kernel", "b_bn/gamma": "a_bn/gamma", "new/kernel": None}
    before = {name: array.copy() for name, array in (parent | child).items()}
    weights, report = transfer(parent, child, kinds, donors)
    assert list(weights) == list(child)
    np.testing.assert_array_equal(weights["b/kernel"][1:4, 1:4, :2], parent["a/kernel"])
    np.testing.assert_array_equal(weights["b/kernel"][:, :, 2], child["b/kernel"][:, :, 2])
    np.testing.assert_array_equal(weights["b_bn/gamma"][:4], parent["a_bn/gamma"])
    np.testing.assert_allclose(weights["b_bn/gamma"][4:], parent["a_bn/gamma"].mean(), rtol=1e-6)
    total, inherited = 5 * 5 * 3 * 4 + 6 + 4 + 3, 3 * 3 * 2 * 4 + 4
    assert report == {
        "parameters": total,
        "inherited": inherited,
        "fraction": inherited / total,
        "initial": ["new/kernel", "new/bias"],
        "part": {"b/kernel": 72 / 300, "b_bn/gamma": 4 / 6},
    }
    for name, array in weights.items():
        array[...] = 0
        np.testing.assert_array_equal((parent | child)[name], before[name])
    for name in parent:
        np.testing.assert_array_equal(parent[name], before[name])


def test_inherited_is_what_overlaps():
    """Of 3 x 3 x 2 x 6 parameters, 3 x 3 x 2 x 2 are the parent's, although that has 3 x 3 x 4 x 2."""
    parent, child = {"a/kernel": random(3, 3, 4, 2)}, {"a/kernel": random(3, 3, 2, 6)}
    _, report = transfer(parent, child, {"a/kernel": "conv"}, {"a/kernel": "a/kernel"})
    assert (report["parameters"], report["inherited"], report["fraction"]) == (108, 36, 1 / 3)
