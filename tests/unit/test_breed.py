from collections import Counter

import numpy as np
import pytest

from pipeline_lib.config import SearchSpace
from pipeline_lib.errors import EvoPoseError
from pipeline_lib.search.breed import breed
from pipeline_lib.search.genotype import ANCESTOR, EVOPOSE2D_S, EVOPOSE2D_XS, key
from pipeline_lib.search.mutation import describe, mutate, neighbours

PARENTS = [EVOPOSE2D_S, EVOPOSE2D_XS, ANCESTOR]


def keys(offspring):
    return [key(child.genotype) for child in offspring]


def test_children_are_shared_out_and_new():
    offspring = breed(PARENTS, ANCESTOR, [], 11, seed=1, generation=2)
    assert Counter(child.parent_rank for child in offspring) == {0: 4, 1: 4, 2: 3}
    assert len(set(keys(offspring))) == 11
    for child in offspring:
        assert len(child.mutations) == 1
        assert child.mutations == describe(PARENTS[child.parent_rank], child.genotype)
        assert child.fallback is None


def test_every_child_has_its_own_stream_and_knows_its_elders():
    cache = neighbours(EVOPOSE2D_S, ANCESTOR)[::2]
    offspring = breed(PARENTS, ANCESTOR, iter(cache), 7, seed=3, generation=4)
    known = [*cache, *PARENTS]
    for index, child in enumerate(offspring):
        rng = np.random.default_rng([3, 4, index])
        expected = mutate(PARENTS[child.parent_rank], ANCESTOR, known, rng)
        np.testing.assert_array_equal(child.genotype, expected)
        known.append(child.genotype)


def test_more_children_leave_the_first_ones_as_they_are():
    few, many = (breed(PARENTS, ANCESTOR, [], count, seed=1, generation=1) for count in (5, 12))
    assert keys(few) == keys(many)[:5]
    assert keys(few) != keys(breed(PARENTS, ANCESTOR, [], 5, seed=2, generation=1))
    assert keys(few) != keys(breed(PARENTS, ANCESTOR, [], 5, seed=1, generation=2))


def test_nobody_is_born_twice_where_hardly_anything_is_left():
    everything = neighbours(ANCESTOR, ANCESTOR)
    cache = everything[3:]
    offspring = breed([ANCESTOR], ANCESTOR, cache, 3, seed=0, generation=1)
    assert set(keys(offspring)) == set(map(key, everything[:3]))
    assert len(cache) == len(everything) - 3


SPACE = SearchSpace(kernels=(3,), max_blocks=1, max_channels=(1, 2, 2, 2, 1, 1, 1), free_stride_modules=())


def tiny(second, third, fourth=1):
    """A genotype of a space with nothing but the channels of modules 2 to 4."""
    genotype = np.ones((7, 4), int)
    genotype[:, 1] = 3
    genotype[1:4, 2] = second, third, fourth
    return genotype


def test_next_parent_takes_over():
    parents = [tiny(1, 1), tiny(1, 2), tiny(2, 2, 2)]
    cache = [tiny(2, 1), tiny(1, 1, 2), tiny(1, 2, 2)]  # nothing is left of the first parent
    first, *_ = breed(parents, tiny(1, 1), cache, 1, seed=0, generation=1, space=SPACE)
    assert (first.parent_rank, first.fallback) == (1, "next_parent")
    np.testing.assert_array_equal(first.genotype, tiny(2, 2))
    assert first.mutations == [{"kind": "channels", "module": 2, "before": 1, "after": 2}]


def test_the_next_parent_by_rank_takes_over_not_the_best():
    parents = [tiny(1, 1), tiny(2, 2, 2), tiny(2, 2)]
    cache = [tiny(1, 2, 2), tiny(2, 1, 2)]  # nothing is left of the second parent; the others have something new
    for seed in range(5):
        offspring = breed(parents, tiny(1, 1), cache, 2, seed, generation=1, space=SPACE)
        assert [(child.parent_rank, child.fallback) for child in offspring] == [(0, None), (2, "next_parent")]


def test_the_last_parent_hands_over_to_the_first():
    parents = [tiny(2, 2, 2), tiny(1, 1)]
    cache = [tiny(2, 1), tiny(1, 2), tiny(1, 1, 2)]
    offspring = breed(parents, tiny(1, 1), cache, 2, seed=0, generation=1, space=SPACE)
    assert [(child.parent_rank, child.fallback) for child in offspring] == [(0, None), (0, "next_parent")]
    assert len(set(keys(offspring))) == 2


def test_two_mutations_when_no_parent_has_anything_new():
    parents = [tiny(1, 1), tiny(2, 1)]
    cache = [tiny(1, 2), tiny(1, 1, 2), tiny(2, 2), tiny(2, 1, 2)]
    offspring = breed(parents, tiny(1, 1), cache, 2, seed=0, generation=1, space=SPACE)
    # The first child can be (1, 2, 2) alone; (2, 2, 2) is two mutations away from the second parent.
    assert [(child.parent_rank, child.fallback) for child in offspring] == [(0, "two_mutations"), (1, "two_mutations")]
    np.testing.assert_array_equal(offspring[0].genotype, tiny(1, 2, 2))
    np.testing.assert_array_equal(offspring[1].genotype, tiny(2, 2, 2))
    assert [change["module"] for change in offspring[0].mutations] == [3, 4]


def test_two_mutations_of_the_next_parent():
    parents = [tiny(1, 1), tiny(2, 1)]
    cache = [tiny(1, 2), tiny(1, 1, 2), tiny(2, 2), tiny(2, 1, 2), tiny(1, 2, 2)]
    (only_child,) = breed(parents, tiny(1, 1), cache, 1, seed=0, generation=1, space=SPACE)
    assert (only_child.parent_rank, only_child.fallback) == (1, "two_mutations")
    with pytest.raises(EvoPoseError, match="generation 1, child 2"):
        breed(parents, tiny(1, 1), cache, 2, seed=0, generation=1, space=SPACE)
