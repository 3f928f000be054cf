"""Where a search ends, from the best J of its generations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.search.convergence import end

FALLING = (100.0, 90.0, 89.5, 89.4, 80.0, 80.0, 80.0, 80.0)


@pytest.mark.parametrize(
    ("best", "patience", "min_gain", "expected"),
    [
        ((), 3, 0.01, 3),  # nobody has waited before generation 1
        ((100.0,), 3, 0.01, 3),
        ((100.0, 99.5), 1, 0.01, 1),
        ((100.0, 99.0), 1, 0.01, 2),  # exactly one percent is a gain
        (FALLING, 1, 0.0, 5),
        (FALLING, 2, 0.0, 6),
        (FALLING, 3, 0.0, 7),
        (FALLING, 4, 0.0, 8),  # not among them
        (FALLING, 1, 0.01, 2),
        (FALLING, 2, 0.01, 3),
        (FALLING, 3, 0.01, 7),
        # Small steps that together are a gain since the last one.
        ((100.0, 99.4, 98.8, 98.2), 2, 0.01, 4),
        ((100.0, 99.4, 98.8, 98.2), 1, 0.01, 1),
        # Failed generations gain nothing; the first one with a J is what others are compared with.
        ((100.0, None, None, 50.0), 2, 0.0, 2),
        ((None, 100.0, 100.0), 2, 0.0, 3),
        ((None, None, 1.0), 2, 0.0, 4),
        ((None, None, None), 2, 0.0, 2),
        # Without selection of parents J may rise: that is no gain, and neither is coming back.
        ((100.0, 120.0, 100.0, 99.9), 2, 0.0, 2),
        ((100.0, 120.0, 100.0, 99.9), 3, 0.0, 6),
    ],
)
def test_end(best, patience, min_gain, expected):
    assert end(best, patience, min_gain) == expected


HISTORIES = st.lists(st.none() | st.floats(0.1, 1000), max_size=12)


@given(HISTORIES, HISTORIES, st.integers(1, 6), st.sampled_from([0.0, 0.01, 0.3]))
def test_what_comes_later_changes_no_decision(first, later, patience, min_gain):
    decided = end(first, patience, min_gain)
    longer = end(first + later, patience, min_gain)
    if decided < len(first):
        assert longer == decided
    else:
        assert longer >= decided >= patience


@given(HISTORIES, st.integers(1, 6), st.sampled_from([0.0, 0.01, 0.3]))
def test_more_patience_or_a_smaller_gain_never_ends_a_search_earlier(best, patience, min_gain):
    assert end(best, patience + 1, min_gain) >= end(best, patience, min_gain)


@given(HISTORIES.filter(lambda best: None not in best), st.integers(1, 6))
def test_without_a_threshold_it_is_the_plain_rule(best, patience):
    """Restated: the first generation whose last `patience` ones all are no better than the best before them."""
    fitting = [
        g for g in range(patience, len(best)) if min(best[g - patience + 1 : g + 1]) >= min(best[: g - patience + 1])
    ]
    found = end(best, patience, 0.0)
    assert found == fitting[0] if fitting else found >= len(best)
