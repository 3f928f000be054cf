import numpy as np
import pytest

from pipeline_lib.config import PAPER_SPACE, SearchSpace
from pipeline_lib.errors import ConfigError
from pipeline_lib.search import genotype
from pipeline_lib.search.genotype import ANCESTOR, EVOPOSE2D_S, EVOPOSE2D_XS


def changed(module, column, value, base=ANCESTOR):
    copy = base.copy()
    copy[module, column] = value
    return copy


def test_published_genotypes():
    assert ANCESTOR[:, 0].tolist() == [1, 2, 2, 3, 3, 4, 1]
    assert ANCESTOR[:, 1].tolist() == [3, 3, 5, 3, 5, 5, 3]
    assert (ANCESTOR[:, 2] * 8).tolist() == [16, 24, 40, 80, 112, 192, 320]
    assert ANCESTOR[:, 3].tolist() == [1, 2, 2, 2, 1, 2, 1]
    assert EVOPOSE2D_S.tolist() == [
        [1, 3, 2, 1], [3, 3, 3, 2], [2, 5, 5, 2], [4, 3, 10, 2], [2, 5, 14, 1], [4, 5, 16, 1], [2, 3, 10, 1]
    ]  # fmt: skip
    assert np.argwhere(EVOPOSE2D_XS != EVOPOSE2D_S).tolist() == [[5, 3]]
    assert EVOPOSE2D_XS[5, 3] == 2


@pytest.mark.parametrize("constant", [ANCESTOR, EVOPOSE2D_S, EVOPOSE2D_XS])
def test_constants_are_integers_that_cannot_be_changed(constant):
    assert constant.shape == (7, 4)
    assert constant.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        constant[0, 0] = 9


def test_key_is_the_same_for_every_form():
    forms = [ANCESTOR, ANCESTOR.tolist(), tuple(map(tuple, ANCESTOR.tolist())), ANCESTOR.astype(np.int8)]
    assert len({genotype.key(form) for form in forms}) == 1
    assert genotype.key(ANCESTOR)[2] == (2, 5, 5, 2)
    assert all(type(gene) is int for row in genotype.key(ANCESTOR) for gene in row)


@pytest.mark.parametrize(
    "wrong", [ANCESTOR[:6], ANCESTOR[:, :3], ANCESTOR + 0.5, 7, ["3.5"] * 7, [[1, 3, 2, None]] * 7]
)
def test_key_refuses_what_is_not_7_by_4_integers(wrong):
    with pytest.raises(ConfigError, match="genotype"):
        genotype.key(wrong)


def test_as_array_is_a_copy():
    array = genotype.as_array(ANCESTOR)
    array[0, 0] = 2
    assert ANCESTOR[0, 0] == 1


def test_text_round_trip():
    assert genotype.encode(EVOPOSE2D_S) == "1.3.2.1-3.3.3.2-2.5.5.2-4.3.10.2-2.5.14.1-4.5.16.1-2.3.10.1"
    np.testing.assert_array_equal(genotype.decode_text(genotype.encode(EVOPOSE2D_S)), EVOPOSE2D_S)


@pytest.mark.parametrize(
    "text", ["", "1.3.2.1", "a.b.c.d", "1.3.2.1-3.3.3.2-2.5.5.2-4.3.10.2-2.5.14.1-4.5.16.1-2.3.10"]
)
def test_decode_refuses_other_text(text):
    with pytest.raises(ConfigError, match="genotype"):
        genotype.decode_text(text)


def test_published_genotypes_are_in_the_paper_space():
    for published in (ANCESTOR, EVOPOSE2D_S, EVOPOSE2D_XS):
        genotype.validate(published, PAPER_SPACE, ANCESTOR)


@pytest.mark.parametrize(
    ("module", "column", "value", "message"),
    [
        (1, 0, 0, "module 2 has 0 blocks, 1 to 4"),
        (1, 0, 5, "module 2 has 5 blocks, 1 to 4"),
        (6, 1, 7, r"module 7 has kernel 7, one of \(3, 5\)"),
        (0, 2, 0, "module 1 has 0 x 8 channels, 1 to 2"),
        (4, 2, 15, "module 5 has 15 x 8 channels, 1 to 14"),
        (0, 3, 2, "module 1 has stride 2, 1 is allowed"),
        (3, 3, 1, "module 4 has stride 1, 2 is allowed"),
        (5, 3, 3, "module 6 has stride 3, 1 or 2"),
        (4, 3, 2, "the strides reduce more than the limit of 32"),
    ],
)
def test_validate_names_what_is_outside(module, column, value, message):
    with pytest.raises(ConfigError, match=message):
        genotype.validate(changed(module, column, value), PAPER_SPACE, ANCESTOR)


def test_validate_reads_the_space():
    space = SearchSpace(
        kernels=(3, 5, 7),
        max_blocks=(1, 2, 3, 4, 5, 6, 7),
        max_channels=(9, 9, 9, 10, 14, 24, 40),
        free_stride_modules=(1,),
        stride_limit=64,
    )
    ancestor = changed(0, 3, 2)
    child = changed(6, 0, 7, changed(1, 2, 9, changed(2, 1, 7, ancestor)))
    genotype.validate(child, space, ANCESTOR)
    for module, column, value in [(0, 0, 2), (6, 0, 8), (2, 2, 10), (4, 3, 2)]:
        with pytest.raises(ConfigError, match=f"module {module + 1} "):
            genotype.validate(changed(module, column, value, child), space, ANCESTOR)


@pytest.mark.parametrize("stride", [3, 4])
def test_a_fixed_stride_is_one_or_two(stride):
    ancestor = changed(3, 3, stride)
    with pytest.raises(ConfigError, match=f"module 4 has stride {stride}, 1 or 2 is allowed"):
        genotype.validate(ancestor, PAPER_SPACE, ancestor)


def test_channel_limits_follow_the_given_ancestor():
    with pytest.raises(ConfigError, match="module 3 has 5 x 8 channels, 1 to 4"):
        genotype.validate(ANCESTOR, PAPER_SPACE, changed(2, 2, 4))
