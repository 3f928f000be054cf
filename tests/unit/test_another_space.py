"""A whole search, without trainings, in a space that is not the paper's: kernels 3 and 7, stride limit 16."""

import numpy as np

from pipeline_lib.config import SearchSpace
from pipeline_lib.nets.inherit import inherit
from pipeline_lib.nets.layers import count_network
from pipeline_lib.nets.spec import Architecture, initial_weights, tensors
from pipeline_lib.search.breed import breed
from pipeline_lib.search.fitness import fitness
from pipeline_lib.search.genotype import KERNEL, STRIDE, key, validate
from pipeline_lib.search.selection import select

SPACE = SearchSpace(
    kernels=(3, 7), max_blocks=2, max_channels=(2,) * 7, free_stride_modules=(3, 4, 6), stride_limit=16, expansion=2,
    stem=8, head=8, head_layers=2,
)  # fmt: skip
ANCESTOR = [[1, 3, 1, 1], [1, 7, 1, 2], [1, 3, 2, 2], [1, 3, 1, 1], [1, 7, 2, 1], [2, 3, 1, 2], [1, 3, 2, 1]]
GENERATIONS, CHILDREN, PARENTS = 12, 8, 3


def test_the_search_stays_in_its_space_and_reaches_all_of_it() -> None:
    validate(ANCESTOR, SPACE, ANCESTOR)
    first = Architecture.from_space(ANCESTOR, SPACE, 32, 32, 5)
    parents = [(first, initial_weights(first, 0))]
    sampled = [first.genotype]
    for generation in range(1, GENERATIONS + 1):
        offspring = breed(
            [architecture.genotype for architecture, _ in parents], ANCESTOR, sampled, CHILDREN, 5, generation, SPACE
        )
        pool = []
        for child in offspring:
            validate(child.genotype, SPACE, ANCESTOR)
            donor, donated = parents[child.parent_rank]
            network = Architecture.from_space(child.genotype, SPACE, 32, 32, 5)
            weights, _ = inherit(donor, donated, network, generation)
            assert {tensor.name: tensor.shape for tensor in tensors(network)} == {
                n: w.shape for n, w in weights.items()
            }
            for module in range(7):  # a larger kernel holds the smaller one in its centre
                name, was, now = f"m{module + 1}_b1_depthwise_conv/kernel", *(
                    genotype[module][KERNEL] for genotype in (donor.genotype, network.genotype)
                )  # fmt: skip
                if (was, now) == (3, 7):
                    width = min(donated[name].shape[2], weights[name].shape[2])
                    np.testing.assert_array_equal(weights[name][2:5, 2:5, :width], donated[name][:, :, :width])
            pool.append((network, weights))
            sampled.append(key(child.genotype))
        pool += parents
        # Losses that favour large kernels let the search move.
        values = [
            fitness(10 - sum(row[KERNEL] for row in network.genotype) / 10, count_network(network)["parameters"], 1e4, -0.07)
            for network, _ in pool
        ]  # fmt: skip
        parents = [pool[index] for index in select(values, PARENTS)]
    assert len(set(sampled)) == 1 + GENERATIONS * CHILDREN
    found = np.array(sampled)
    for module in range(7):
        assert set(found[:, module, KERNEL]) == {3, 7}
    overall = 2 * found[:, :, STRIDE].prod(axis=1)
    assert overall.max() == 16 > overall.min()
    assert (found[:, [0, 1, 4, 6], STRIDE] == [1, 2, 1, 1]).all(), "these strides are not searched"
    assert parents[0][0].genotype != first.genotype
