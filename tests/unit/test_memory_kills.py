"""A training whose process the system kills for want of memory, for real: in a control group of its own, if that may be made."""

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_lib.train import memory

ROOT = Path(__file__).parents[2]
LIMIT = 1500 * 2**20
GROUPS = Path("/sys/fs/cgroup")

PROGRAM = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from pipeline_lib.config import TrainSettings
    from pipeline_lib.train import memory, state

    folder, hungry = Path(sys.argv[1]), sys.argv[2].split(",")
    (folder / "begun").touch()

    def attempt(settings):
        with (folder / "tried").open("a") as stream:
            stream.write(f"{settings.accumulation} ")
        if str(settings.accumulation) in hungry:
            kept = [bytearray(os.urandom(2**20)) * 64 for _ in range(64)]
        return settings.accumulation

    with state.opened(folder / "w", "key") as store:
        print("ended with", memory.within(attempt, TrainSettings(batch=4), store, "child"))
        store.remove()
""")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of little memory and no swap."""
    old = (GROUPS / "memory/memory.limit_in_bytes").exists()
    made = GROUPS / ("memory" if old else "") / f"evopose-{uuid.uuid4().hex}"
    try:
        made.mkdir()
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if old else ("memory.max",):
            (made / name).write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"this system lets nobody limit the memory of a process for real ({error})")
    yield made
    made.rmdir()


def run(group: Path, folder: Path, hungry: str) -> subprocess.CompletedProcess[str]:
    """The program with attempts that take too much when `hungry` has their accumulation."""
    limited = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    command = ["sh", "-c", limited, "sh", sys.executable, "-c", PROGRAM, str(folder), hungry]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (folder / "begun").exists(), done.stderr[-2000:]
    return done


def tried(folder: Path) -> str:
    return (folder / "tried").read_text().strip()


@pytest.mark.slow
def test_a_training_that_the_system_killed_is_tried_with_half_as_many_persons_at_once(
    group: Path, tmp_path: Path
) -> None:
    assert run(group, tmp_path, "1").returncode == -signal.SIGKILL
    assert tried(tmp_path) == "1"
    done = run(group, tmp_path, "1")
    assert (done.returncode, done.stdout) == (0, "ended with 2\n"), done.stderr[-2000:]
    assert "child: the system killed the attempt before this one for want of memory" in done.stderr
    assert tried(tmp_path) == "1 2"


@pytest.mark.slow
def test_a_training_that_the_system_killed_twice_failed(group: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert run(group, tmp_path, "1,2").returncode == -signal.SIGKILL
    done = run(group, tmp_path, "1,2")
    assert done.returncode == 1 and tried(tmp_path) == "1 2"
    message = "TrainingFailed: child: out of memory with 2 persons at once (killed by the system); lower train.batch"
    assert message in done.stderr
    # There may be more memory now.
    done = run(group, tmp_path, "")
    assert (done.returncode, done.stdout) == (0, "ended with 2\n")


@pytest.mark.slow
def test_a_kill_that_has_nothing_to_do_with_memory_changes_nothing(group: Path, tmp_path: Path) -> None:
    killing = PROGRAM.replace("return settings.accumulation", "os.kill(os.getpid(), 9)")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", killing, str(tmp_path), ""], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    done = run(group, tmp_path, "")
    assert (done.returncode, done.stdout) == (0, "ended with 1\n")


NOW = {"boot": "a", "oom_kills": 3}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"boot": "a", "oom_kills": 2}, NOW, True),
        ({"boot": "a", "oom_kills": 3}, NOW, False),
        ({"boot": "b", "oom_kills": 2}, NOW, False),
        ({"boot": "a", "oom_kills": "2"}, NOW, False),
        ({"boot": "a"}, NOW, False),
        ({"boot": "a", "oom_kills": 2}, {}, False),
        ({}, NOW, False),
        (None, NOW, False),
    ],
)
def test_what_two_answers_of_the_system_say(before: dict | None, now: dict, expected: bool) -> None:
    assert memory.killed(before, now) is expected


def test_nothing_is_left_of_an_attempt_that_ended(tmp_path: Path) -> None:
    from pipeline_lib.config import TrainSettings
    from pipeline_lib.train import state

    def breaks(settings: TrainSettings) -> None:
        assert list(tmp_path.glob(".training/key/running.json"))
        raise ValueError("a bug")

    with state.opened(tmp_path / "w", "key") as store:
        with pytest.raises(ValueError, match="a bug"):
            memory.within(breaks, TrainSettings(), store, "child")
        assert not list(tmp_path.glob(".training/key/running.json"))
