"""A child whose training fails does not stop its search; too many do."""

import copy
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib import artifacts
from pipeline_lib.nets import files
from tests.workflow.conftest import TINY, Workplace

pytestmark = pytest.mark.slow


def another(finished: Workplace, folder: Path) -> Workplace:
    """A copy of a finished run, with its times."""
    shutil.copytree(finished.folder, folder, symlinks=True)
    place = Workplace.__new__(Workplace)
    place.folder = folder
    return place


def spoil(path: Path) -> None:
    """Make the weights of a file nonsense, as of a time before."""
    times = path.stat()
    network, weights = files.load(path)
    files.save(path, network, {name: np.full_like(array, np.nan) for name, array in weights.items()})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_child_that_diverges_is_ranked_last_and_too_many_stop_the_search(finished: Workplace, tmp_path: Path) -> None:
    place = another(finished, tmp_path / "copy")
    search = place.folder / "results/tiny/search"
    child = search / "gen_001/child_00"
    spoil(child / "initial.safetensors")
    for name in ("child_00/weights.safetensors", "child_00/history.csv", "child_00/score.json", "population.csv"):
        (child.parent / name).unlink()
    done = place.snakemake("search")
    assert done.returncode == 0, done.stderr[-3000:]
    *others, last = artifacts.read_csv(search / "gen_001/population.csv")
    assert (last["generation"], last["child"], last["status"], last["loss"]) == ("1", "0", "failed", "")
    assert last["reason"] == "the loss is nan in epoch 1"
    assert {row["status"] for row in others} == {"ok"} and {row["reason"] for row in others} == {""}

    # Half of the children failed. Another limit has nothing done again, and holds where something is.
    config = copy.deepcopy(TINY)
    config["search"]["max_failed"] = 0.4
    place.configure(config)
    done = place.snakemake("search", "-n")
    assert "Nothing to be done" in done.stdout + done.stderr, done.stderr[-3000:]
    (search / "gen_001/population.csv").unlink()
    done = place.snakemake("search")
    assert done.returncode != 0
    assert "generation 1: 1 of 2 trainings failed, more than search.max_failed (0.4) allows" in done.stderr
    assert "child_00: the loss is nan in epoch 1" in done.stderr and "Traceback" not in done.stderr
    assert (child / "score.json").exists() and (search / "gen_001/child_01/weights.safetensors").exists()


def test_without_an_ancestor_there_is_no_search(finished: Workplace, tmp_path: Path) -> None:
    place = another(finished, tmp_path / "copy")
    search = place.folder / "results/tiny/search"
    spoil(search / "gen_000/child_00/initial.safetensors")
    for name in ("gen_000/child_00/weights.safetensors", "gen_000/population.csv"):
        (search / name).unlink()
    done = place.snakemake("results/tiny/search/gen_000/population.csv")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "1 of 1 trainings failed" in done.stderr and "child_00: the loss is nan in epoch 1" in done.stderr
