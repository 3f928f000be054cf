"""What holds for every test."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """A test that leaves a variable of ours behind changes what programs do in those that come after it."""
    before = _ours()
    yield
    assert _ours() == before, "the test has to restore the environment"


def _ours() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("EVOPOSE_", "SNAKEMAKE", "KERAS_"))}
