"""A few kills of many (`make chaos`)."""

from pathlib import Path

import pytest

from tests.chaos import harness


def test_every_phase_gets_its_share_of_kills() -> None:
    kills = harness.plan(100, 1)
    counted = [sum(kill.phase == phase for kill in kills) for phase in harness.PHASES]
    assert sum(counted) == 100 and min(counted) >= 3
    assert {kill.victim for kill in kills} == set(harness.VICTIMS)
    files = {(kill.program, kill.moment.partition(":")[2]) for kill in harness.plan(1000, 1) if ":" in kill.moment}
    assert files == {(program, name) for program, names in harness.WRITES.items() for name in names}
    assert kills == harness.plan(100, 1) != harness.plan(100, 2)
    assert len({kill.phase for kill in harness.plan(5, 3)}) == 5


def test_the_histogram_counts_kills() -> None:
    lines = harness.histogram(["train.py writing", "train.py writing", harness.BETWEEN]).splitlines()
    assert len(lines) == len(harness.PHASES)
    counted = {" ".join(line.split()[:-2]): line.split()[-2:] for line in lines if line.endswith("#")}
    assert counted == {"train.py writing": ["2", "##"], harness.BETWEEN: ["1", "#"]}


@pytest.mark.slow
def test_a_search_that_is_killed_comes_to_the_same_end(tmp_path: Path) -> None:
    calm = harness.Search(tmp_path / "calm", 1)
    calm.finish()
    expected = calm.outcome()
    assert {"champion.safetensors", "search/gen_002/population.csv"} <= set(expected)
    killed = harness.Search(tmp_path / "killed", 2)
    for kill in (
        harness.Kill("transfer.py", "inside:initial.safetensors", "child"),
        harness.Kill("train.py", "before:state", "machine"),
        harness.Kill("train.py", "after:state", "controller"),
        harness.Kill("select_parents.py", "before:parents.json", "machine"),
    ):
        assert killed.run(kill) != 0
        assert killed.kills[-1] == kill.phase
    killed.finish()
    assert killed.outcome() == expected
    assert len(killed.kills) == 4
