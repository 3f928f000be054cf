from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from pipeline_lib.config import SearchSpace
from pipeline_lib.search.genotype import ANCESTOR, EVOPOSE2D_S, key
from pipeline_lib.search.mutation import NeighbourhoodExhausted, describe, mutate, mutate_twice, neighbours


def replaced(parent, module, column, value):
    child = np.array(parent)
    child[module, column] = value
    return key(child)


def algorithm_1(parent, ancestor):
    """Probability of each outcome of one pass of the loop of Algorithm 1, written down from the paper."""
    outcome = defaultdict(float)
    for i in range(7):
        for j in range(4):
            gene, share = parent[i][j], 1 / 28
            if j == 0 and gene == 1:
                outcome[replaced(parent, i, j, 2)] += share
            elif j == 0 and gene == 4:
                outcome[replaced(parent, i, j, 3)] += share
            elif j == 0:
                outcome[replaced(parent, i, j, gene + 1)] += share / 2
                outcome[replaced(parent, i, j, gene - 1)] += share / 2
            elif j == 1:
                outcome[replaced(parent, i, j, 3)] += share / 2
                outcome[replaced(parent, i, j, 5)] += share / 2
            elif j == 2:
                for channels in range(1, ancestor[i][j] + 1):
                    outcome[replaced(parent, i, j, channels)] += share / ancestor[i][j]
            elif i >= 4:
                total = sum(row[3] - 1 for row in parent)
                if gene == 2 and total == 4:
                    outcome[replaced(parent, i, j, 1)] += share
                elif gene == 1 and total < 4:
                    outcome[replaced(parent, i, j, 2)] += share
    outcome.pop(key(parent))
    return outcome


@pytest.mark.parametrize("parent", [ANCESTOR, EVOPOSE2D_S])
def test_neighbourhood_is_that_of_algorithm_1(parent):
    found = [key(neighbour) for neighbour in neighbours(parent, ANCESTOR)]
    assert len(set(found)) == len(found)
    assert set(found) == set(algorithm_1(parent.tolist(), ANCESTOR.tolist()))


@pytest.mark.parametrize("parent", [ANCESTOR, EVOPOSE2D_S])
def test_distribution_is_that_of_algorithm_1(parent):
    draws = 3000
    probabilities = algorithm_1(parent.tolist(), ANCESTOR.tolist())
    cache = list(islice(probabilities, 0, None, 5))
    for cached in cache:
        del probabilities[cached]
    rng = np.random.default_rng(5)
    seen = Counter(key(mutate(parent, ANCESTOR, cache, rng)) for _ in range(draws))
    assert set(seen) <= set(probabilities)
    scale = draws / sum(probabilities.values())

    def chi_squared_is_small(cells):
        groups = defaultdict(lambda: [0, 0.0])
        for child, probability in probabilities.items():
            groups[cells(child)][0] += seen[child]
            groups[cells(child)][1] += probability * scale
        statistic = sum((count - expected) ** 2 / expected for count, expected in groups.values())
        return statistic < len(groups) + 4 * np.sqrt(2 * len(groups))

    assert chi_squared_is_small(lambda child: child)
    assert chi_squared_is_small(lambda child: tuple(np.argwhere(np.array(child) != parent)[0]))
    assert chi_squared_is_small(lambda child: np.argwhere(np.array(child) != parent)[0][1])


def test_equal_streams_give_equal_children():
    first, second = (mutate(ANCESTOR, ANCESTOR, [], np.random.default_rng([1, 2, 3])) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len({key(mutate(ANCESTOR, ANCESTOR, [], np.random.default_rng(seed))) for seed in range(20)}) > 10


def test_child_is_a_new_integer_array():
    parent = ANCESTOR.copy()
    child = mutate(parent, ANCESTOR, [], np.random.default_rng(0))
    assert child.shape == (7, 4)
    assert child.dtype == np.int64
    child[:] = 0
    np.testing.assert_array_equal(parent, ANCESTOR)
    assert neighbours(parent, ANCESTOR)[0].flags.writeable


def test_only_new_genotypes_and_exhaustion():
    everything = neighbours(EVOPOSE2D_S, ANCESTOR)
    for missing in (0, 17, len(everything) - 1):
        cache = everything[:missing] + everything[missing + 1 :]
        child = mutate(EVOPOSE2D_S, ANCESTOR, cache, np.random.default_rng(missing))
        np.testing.assert_array_equal(child, everything[missing])
    with pytest.raises(NeighbourhoodExhausted, match=r"1\.3\.2\.1-3\.3\.3\.2"):
        mutate(EVOPOSE2D_S, ANCESTOR, everything, np.random.default_rng(0))


@pytest.mark.parametrize(
    "form", [list, tuple, iter, np.array, lambda cache: [genotype.tolist() for genotype in cache], lambda cache: {*map(key, cache)}]
)  # fmt: skip
def test_cache_may_be_any_iterable(form):
    everything = neighbours(ANCESTOR, ANCESTOR)
    child = mutate(ANCESTOR, ANCESTOR, form(everything[1:]), np.random.default_rng(0))
    np.testing.assert_array_equal(child, everything[0])


def test_cache_is_not_changed():
    cache = [ANCESTOR.tolist()]
    as_set = {key(ANCESTOR)}
    mutate(ANCESTOR, ANCESTOR, cache, np.random.default_rng(0))
    mutate_twice(ANCESTOR, ANCESTOR, as_set, np.random.default_rng(0))
    assert cache == [ANCESTOR.tolist()]
    assert as_set == {key(ANCESTOR)}


def test_parent_is_refused_though_not_in_the_cache():
    space = only(channels={1: 2})
    base = tiny(1, 1)
    children = {key(mutate(base, base, [], np.random.default_rng(seed), space)) for seed in range(10)}
    assert children == {key(tiny(2, 1))}


def genes(parent, column, space, module, ancestor=ANCESTOR):
    """What the gene can become."""
    found = (neighbour[module, column] for neighbour in neighbours(parent, ancestor, space))
    return sorted({int(gene) for gene in found} - {int(parent[module, column])})


def test_blocks_and_kernels_follow_the_space():
    space = SearchSpace(kernels=(3, 5, 7), max_blocks=(1, 2, 6, 3, 4, 4, 3))
    assert [genes(ANCESTOR, 0, space, module) for module in range(7)] == [[], [1], [1, 3], [2], [2, 4], [3], [2]]
    assert genes(ANCESTOR, 1, space, 0) == [5, 7]
    assert genes(ANCESTOR, 1, space, 2) == [3, 7]
    assert genes(ANCESTOR, 1, SearchSpace(kernels=(3,)), 0) == []


def test_channels_follow_the_ancestor_or_the_space():
    assert genes(EVOPOSE2D_S, 2, SearchSpace(), 6) == [*range(1, 10), *range(11, 41)]
    assert genes(EVOPOSE2D_S, 2, SearchSpace(), 6, EVOPOSE2D_S) == [*range(1, 10)]
    assert genes(ANCESTOR, 2, SearchSpace(max_channels=(4, 1, 5, 10, 14, 24, 40)), 0) == [1, 3, 4]
    assert genes(ANCESTOR, 2, SearchSpace(max_channels=(4, 1, 5, 10, 14, 24, 40)), 1) == [1]


@pytest.mark.parametrize(
    ("limit", "free", "ancestor_strides", "champion_strides"),
    [
        # The ancestor halves the resolution in four modules, one of them searched; the champion in three, none searched.
        (32, (5, 6, 7), [[], [], [], [], [], [1], []], [[], [], [], [], [2], [2], [2]]),
        (64, (5, 6, 7), [[], [], [], [], [2], [], [2]], [[], [], [], [], [2], [2], [2]]),
        (16, (5, 6, 7), [[], [], [], [], [], [], []], [[], [], [], [], [], [], []]),
        (16, (1, 2), [[], [], [], [], [], [], []], [[], [1], [], [], [], [], []]),
        (32, (1, 2), [[], [1], [], [], [], [], []], [[2], [], [], [], [], [], []]),
    ],
)
def test_strides_follow_the_space(limit, free, ancestor_strides, champion_strides):
    space = SearchSpace(stride_limit=limit, free_stride_modules=free)
    assert [genes(ANCESTOR, 3, space, module) for module in range(7)] == ancestor_strides
    assert [genes(EVOPOSE2D_S, 3, space, module) for module in range(7)] == champion_strides


def test_another_space_is_searched():
    space = SearchSpace(kernels=(5, 7), stride_limit=64, max_blocks=2)
    children = [mutate(ANCESTOR, ANCESTOR, [], np.random.default_rng(seed), space) for seed in range(400)]
    changes = Counter((c["kind"], c["module"], c["after"]) for child in children for c in describe(ANCESTOR, child))
    assert {after for kind, _, after in changes if kind == "kernel"} == {5, 7}
    assert {module for kind, module, _ in changes if kind == "stride"} == {5, 7}
    # Modules 1, 4 and 6 have a kernel or a number of blocks that lies outside of this space: they can only come back.
    assert {after for kind, module, after in changes if kind == "blocks" and module == 6} == {3}


def test_describe():
    child = ANCESTOR.copy()
    child[0, 1], child[5, 2], child[6, 0], child[5, 3] = 5, 20, 2, 1
    assert describe(ANCESTOR, child) == [
        {"kind": "kernel", "module": 1, "before": 3, "after": 5},
        {"kind": "channels", "module": 6, "before": 24, "after": 20},
        {"kind": "stride", "module": 6, "before": 2, "after": 1},
        {"kind": "blocks", "module": 7, "before": 1, "after": 2},
    ]
    assert describe(ANCESTOR, ANCESTOR) == []


def tiny(second, third):
    """A genotype of a space with nothing but the channels of modules 2 and 3."""
    genotype = np.ones((7, 4), int)
    genotype[:, 1] = 3
    genotype[1, 2], genotype[2, 2] = second, third
    return genotype


def only(channels):
    most = [channels.get(module, 1) for module in range(7)]
    return SearchSpace(kernels=(3,), max_blocks=1, max_channels=most, free_stride_modules=())


def test_two_mutations_pass_through_known_genotypes():
    space, base = only({1: 2, 2: 2}), tiny(1, 1)
    cache = [tiny(2, 1), tiny(1, 2)]
    with pytest.raises(NeighbourhoodExhausted):
        mutate(base, base, cache, np.random.default_rng(0), space)
    for seed in range(10):
        child = mutate_twice(base, base, cache, np.random.default_rng(seed), space)
        np.testing.assert_array_equal(child, tiny(2, 2))
    with pytest.raises(NeighbourhoodExhausted):
        mutate_twice(base, base, [*cache, tiny(2, 2)], np.random.default_rng(0), space)


def test_two_mutations_leave_dead_ends():
    space, base = only({1: 2, 2: 3}), tiny(1, 1)
    cache = [tiny(2, 1), tiny(1, 2), tiny(1, 3), tiny(2, 2)]  # tiny(1, 2) leads to nothing new
    for seed in range(10):
        child = mutate_twice(base, base, iter(cache), np.random.default_rng(seed), space)
        np.testing.assert_array_equal(child, tiny(2, 3))
