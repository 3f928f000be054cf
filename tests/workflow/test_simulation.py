"""A simulated search through Snakemake: kills and retries are real, and change no population."""

import copy

import pytest

from pipeline_lib import artifacts
from pipeline_lib.search import simulation
from tests.workflow.conftest import TINY, Workplace


@pytest.mark.slow
def test_killed_trainings_are_tried_again_and_change_nothing(workplace: Workplace) -> None:
    config = copy.deepcopy(TINY)
    config["search"] |= {"generations": 1, "children": 4, "compare_scratch": False, "train": {"epochs": 2}}
    populations = {}
    for name, killed in (("calm", 0.0), ("killed", 0.5)):
        config["experiment"] = name
        # Some tenths of a second each.
        config["search"]["simulation"] = {"seconds": 300.0, "killed": killed}
        workplace.configure(config)
        done = workplace.snakemake("search", "--retries", "8", "--resources", "accelerator=4")
        assert done.returncode == 0, done.stderr[-3000:]
        folder = workplace.folder / "results" / name
        populations[name] = [path.read_bytes() for path in sorted(folder.glob("search/gen_*/population.csv"))]
        attempts = simulation.attempts(folder / "search")
        found = simulation.utilisation(attempts, 4)
        assert found.trainings == 5
        assert any(one.killed for one in attempts) is bool(killed)
        assert found.attempts == found.trainings + sum(one.killed for one in attempts)
        assert 0 < found.useful < found.busy < 4 * found.makespan
    assert populations["calm"] == populations["killed"] and len(populations["calm"]) == 2
    # Nothing was trained.
    histories = (folder / "search").glob("gen_*/*/history.csv")
    assert {row["device"] for path in histories for row in artifacts.read_csv(path)} == {"simulated"}
