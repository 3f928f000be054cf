"""A few kills of many (`make chaos`)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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


@pytest.mark.parametrize("moment", ["inside", "before", "after"])
def test_a_kill_waits_for_the_process_that_writes_its_file(tmp_path: Path, moment: str) -> None:
    """Of two processes of a program that run side by side, the other one may begin first."""
    (tmp_path / "scripts").mkdir()
    program = tmp_path / "scripts" / "write.py"
    program.write_text("import os, sys\nopen('new', 'w').write('1234')\nos.replace('new', sys.argv[1])\n")
    plan = {"program": "write.py", "moment": f"{moment}:b.json", "victim": "child", "phase": "here", "log": "kills.log"}
    (tmp_path / "chaos.json").write_text(json.dumps(plan))
    environment = {**os.environ, "EVOPOSE_CHAOS": "chaos.json", "PYTHONPATH": str(harness.INJECT)}

    def written(name: str) -> int:
        return subprocess.run(
            [sys.executable, "scripts/write.py", name], cwd=tmp_path, env=environment, check=False
        ).returncode

    assert [written("a.json"), written("b.json"), written("b.json")] == [0, -signal.SIGKILL, 0]
    assert (tmp_path / "kills.log").read_text() == "here\n"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The end of a search that nobody disturbs."""
    calm = harness.Search(tmp_path_factory.mktemp("calm") / "search", 1)
    calm.finish()
    found = calm.outcome()
    assert {"champion.safetensors", "search/gen_002/population.csv"} <= set(found)
    return found


@pytest.mark.slow
def test_a_search_that_is_killed_comes_to_the_same_end(expected: dict[str, bytes], tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_a_search_that_is_asked_to_end_comes_to_the_same_end(expected: dict[str, bytes], tmp_path: Path) -> None:
    """SIGTERM: to the whole process group, as preemptible machines and schedulers do, and to Snakemake alone."""
    search = harness.Search(tmp_path / "asked", 3)
    ancestor, child = (search.place.folder / f"results/tiny/search/gen_{g:03d}/child_00" for g in (0, 1))
    with search.started() as process:
        _until(lambda: any(ancestor.glob(".training/*/attempts.json")), process)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(120) != 0
    (attempts,) = ancestor.glob(".training/*/attempts.json")
    assert json.loads(attempts.read_text()) == {"started": 1, "preempted": 1}
    assert not (ancestor / "weights.safetensors").exists()
    with search.started() as process:
        _until(lambda: any(child.glob(".training/*/attempts.json")), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) != 0
    # Snakemake lets the jobs that run come to their end, and begins no other.
    assert (child / "weights.safetensors").exists() and not (child / ".training").exists()
    assert not (child.parent / "population.csv").exists()
    search.finish()
    assert search.outcome() == expected


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, "Snakemake ended before"
        time.sleep(0.05)
    raise AssertionError("it did not happen within 5 minutes")
