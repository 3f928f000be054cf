"""Clusters that are started on this machine, and a search that was run on it without one."""

import copy
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import PATH, PROGRAMS, Slurm
from tests.workflow.conftest import TINY, Workplace

# Long enough to be killed in its middle.
CONFIG = copy.deepcopy(TINY)
CONFIG["search"] |= {"children": 3, "parents": 2, "compare_scratch": False, "train": {"epochs": 20}}
RESULTS = "results/tiny/search/gen_001"
CHILDREN = [f"{RESULTS}/child_{child:02d}/weights.safetensors" for child in range(3)]


def need(*programs: str) -> None:
    """Skip a test when a program or a plugin is missing; in CI, where all are to be there, it fails."""
    missing = [program for program in programs if not shutil.which(program, path=PATH)]
    for plugin in ("slurm", "cluster-generic"):
        try:
            importlib.metadata.version(f"snakemake-executor-plugin-{plugin}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"Snakemake's executor {plugin}")
    if missing:
        message = (
            f"{', '.join(missing)}: not installed; `make test-cluster` installs what it can, and says what to install"
        )
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def need_package(name: str) -> None:
    """Skip a test when a Python package is missing; in CI, where all are to be there, it fails."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        message = f"{name}: not installed; `make test-cluster` installs it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A running Slurm with two TPUs."""
    need(*PROGRAMS)
    with Slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The search, run to its end on this machine alone."""
    place = Workplace(tmp_path_factory.mktemp("searched"))
    place.configure(CONFIG)
    done = place.snakemake("search")
    assert done.returncode == 0, done.stderr[-6000:]
    return place


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def started(searched: Workplace, tmp_path: Path) -> Callable[[str], Workplace]:
    """A copy of the search without what was made from the generation that is named on."""

    def copied(generation: str) -> Workplace:
        place = Workplace(tmp_path)
        place.configure(CONFIG)
        for name in ("results", ".snakemake"):
            shutil.copytree(searched.folder / name, place.folder / name)
        for folder in (place.folder / "results/tiny/search").glob("gen_*"):
            if folder.name >= generation:
                shutil.rmtree(folder)
        for champion in (place.folder / "results/tiny").glob("champion.*"):
            champion.unlink()
        return place

    return copied


def same(place: Workplace, other: Workplace, *paths: str) -> None:
    """Nothing shows where a search was run."""
    for path in paths:
        assert (place.folder / path).read_bytes() == (other.folder / path).read_bytes(), path
