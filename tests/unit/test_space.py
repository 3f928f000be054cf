import itertools
import math

import pytest

from pipeline_lib.config import PAPER_SPACE, SearchSpace
from pipeline_lib.errors import ConfigError
from pipeline_lib.search.genotype import ANCESTOR, validate
from pipeline_lib.search.space import size, size_within_stride_limit


def test_size_of_the_paper_space():
    channels = 2 * 3 * 5 * 10 * 14 * 24 * 40
    assert size(ANCESTOR, PAPER_SPACE) == 2**7 * 4**7 * channels * 2**3
    assert f"{size(ANCESTOR, PAPER_SPACE):.1e}" == "6.8e+13"
    # Modules 2 to 4 halve the resolution, one of modules 5 to 7 may: 4 of 8 combinations.
    assert size_within_stride_limit(ANCESTOR, PAPER_SPACE) * 2 == size(ANCESTOR, PAPER_SPACE)
    assert f"{size_within_stride_limit(ANCESTOR, PAPER_SPACE):.1e}" == "3.4e+13"


@pytest.mark.parametrize(
    ("limit", "free"),
    [(8, (2, 5)), (16, (2, 5)), (32, (2, 5)), (16, (1, 5)), (64, (5, 6, 7)), (32, ()), (32, (5, 6, 5))],
)
def test_size_equals_the_number_of_valid_genotypes(limit, free):
    space = SearchSpace(
        kernels=(3, 5, 7),
        max_blocks=(1, 2, 1, 1, 1, 1, 1),
        max_channels=(1, 1, 1, 1, 3, 1, 1),
        free_stride_modules=free,
        stride_limit=limit,
    )
    ancestor = ANCESTOR.copy()
    ancestor[:, 0] = ancestor[:, 2] = 1
    ancestor[:, 1] = 3
    ancestor[5, 3] = 1
    columns = [
        itertools.product(*(range(1, most + 1) for most in space.max_blocks)),
        [(3,) * 7],  # kernels by arithmetic: 3 ** 7 would take long to enumerate
        itertools.product(*(range(1, most + 1) for most in space.max_channels)),
        itertools.product(*((1, 2) if module in free else (ancestor[module - 1, 3],) for module in range(1, 8))),
    ]
    genotypes = [list(zip(*chosen, strict=True)) for chosen in itertools.product(*columns)]
    assert size(ancestor, space) == len(genotypes) * 3**7

    def is_valid(genotype):
        try:
            validate(genotype, space, ancestor)
        except ConfigError:
            return False
        return True

    within = sum(map(is_valid, genotypes))
    assert size_within_stride_limit(ancestor, space) == within * 3**7
    assert within == sum(2 * math.prod(row[3] for row in genotype) <= limit for genotype in genotypes)
