"""The resident memory of a real training does not depend on the size of its data set."""

from pathlib import Path

import pytest

from tests.benchmarks import memory

LEAST = 100
"""Megabytes that the larger data set's records have beyond the smaller one's: what a training would have that kept them."""


@pytest.mark.slow
def test_a_training_needs_no_more_memory_for_more_data(tmp_path: Path) -> None:
    fewer, more = (memory.training(tmp_path / str(persons), persons) for persons in memory.PERSONS)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / str(persons)).glob("*.tfrecord")) for persons in memory.PERSONS
    ]
    assert sizes[1] - sizes[0] > LEAST * memory.MEGA
    assert more - fewer < LEAST / 4 * memory.MEGA
