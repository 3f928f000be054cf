"""Leases among real processes: never two on one, all or none, nobody waits for ever, nothing is lost with a holder."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_lib import leases
from pipeline_lib.errors import EvoPoseError

ROOT = Path(__file__).parents[2]

# Leases so many, says which, and works on each: a file with its number, which nobody else may have made and left there.
WORKER = """
import logging, os, subprocess, sys, time
from pathlib import Path
from pipeline_lib import hardware

kind, number, seconds, title, folder = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], Path(sys.argv[5])
logging.basicConfig(level=logging.INFO)
taken = hardware.lease(kind, number, title)
assert len(taken) == number == len(set(taken))
if kind == "tpu":
    chips = os.environ["TPU_VISIBLE_CHIPS"].split(",")
    assert [f"tpu:{chip}" for chip in chips] == taken and int(chips[0]) % number == 0
for name in taken:
    place = folder / name
    if place.exists():
        owner = int(place.read_text())
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            place.unlink()
        else:
            sys.exit(f"{name} is {owner}'s")
    with place.open("x") as stream:
        stream.write(str(os.getpid()))
print(title, *taken, flush=True)
if seconds < 0:  # until it is killed; what it has started goes on
    subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("started", flush=True)
    time.sleep(60)
time.sleep(seconds)
for name in taken:
    (folder / name).unlink()
"""


class Machine:
    """Fake accelerators and the processes that want them."""

    def __init__(self, folder: Path, names: str) -> None:
        self.folder = folder / "places"
        self.folder.mkdir()
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("TPU_", "CUDA_"))
        }
        self._environment |= {
            "EVOPOSE_ACCELERATORS": names,
            "EVOPOSE_LEASES": str(folder / "leases"),
            "PYTHONPATH": str(ROOT),
        }
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, kind: str, number: int, seconds: float, title: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, kind, str(number), str(seconds), title, str(self.folder)]
        process = subprocess.Popen(
            command, env=self._environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def waiting(self, process: subprocess.Popen[str]) -> str:
        """The line with which a process says that it waits."""
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "waits; " in line
        return line

    def leased(self, process: subprocess.Popen[str]) -> list[str]:
        """What a process has leased, as soon as it has."""
        assert process.stdout is not None
        return process.stdout.readline().split()[1:]


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def gpus(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, "gpu:0,gpu:1,gpu:2,gpu:3")
    yield machine
    for process in machine.processes:
        end(process)


@pytest.fixture
def tpus(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, ",".join(f"tpu:{chip}" for chip in range(8)))
    yield machine
    for process in machine.processes:
        end(process)


def test_forty_jobs_share_eight_chips_though_holders_are_killed(tpus: Machine) -> None:
    """Ten of the forty want four chips. Of both kinds some are killed while they hold theirs."""
    rng = random.Random(1)
    wanted = [4] * 10 + [1] * 30
    rng.shuffle(wanted)
    victims = {wanted.index(4), wanted.index(1), 39 - wanted[::-1].index(4)}
    jobs = []
    for index, number in enumerate(wanted):
        jobs.append(tpus.start("tpu", number, -1 if index in victims else rng.uniform(0.02, 0.2), f"job{index}"))
    for index in sorted(victims):
        assert len(tpus.leased(jobs[index])) == wanted[index]
        jobs[index].send_signal(signal.SIGKILL)
        jobs[index].wait()
    ended = [job.communicate(timeout=120) for job in jobs]
    for index, (job, (printed, log)) in enumerate(zip(jobs, ended, strict=True)):
        if index not in victims:
            assert job.returncode == 0, log
            assert printed.split()[0] == f"job{index}"
    assert any("held by process" in log for _, log in ended), "nobody had to wait"
    # None is lost: all of them can be had at once.
    assert tpus.leased(tpus.start("tpu", 8, 0, "all")) == [f"tpu:{chip}" for chip in range(8)]


def test_one_that_wants_all_is_not_overtaken(gpus: Machine) -> None:
    """Three of four are free all the time, and there are takers for them; still the one before them is served first."""
    first = gpus.start("gpu", 1, -1, "first")
    assert gpus.leased(first) == ["gpu:0"]
    large = gpus.start("gpu", 4, 1, "large")
    gpus.waiting(large)
    small = [gpus.start("gpu", 1, 0, f"small{number}") for number in range(3)]
    before = [re.search(r"(\d) in the queue before us", gpus.waiting(process)) for process in small]
    assert all(line and int(line[1]) >= 1 for line in before)
    assert all(process.poll() is None for process in (large, *small))
    end(first)
    assert gpus.leased(large) == [f"gpu:{number}" for number in range(4)]
    assert all(process.poll() is None for process in small)
    assert large.wait(60) == 0
    assert [process.wait(60) for process in small] == [0, 0, 0]


def test_nobody_waits_behind_those_who_want_other_ones(gpus: Machine) -> None:
    """Two searches on one machine, each with a GPU of its own; one of them has more trainings at once than it has GPUs."""
    holder = gpus.start("gpu", 1, -1, "holder", CUDA_VISIBLE_DEVICES="0")
    assert gpus.leased(holder) == ["gpu:0"]
    waiting = gpus.start("gpu", 1, 0, "waiting", CUDA_VISIBLE_DEVICES="0")
    gpus.waiting(waiting)
    other = gpus.start("gpu", 1, 0, "other", CUDA_VISIBLE_DEVICES="1")
    assert other.stderr is not None and "takes gpu:1" in other.stderr.readline()
    # Who could have the one or the other waits for his turn.
    both = gpus.start("gpu", 2, 0, "both", CUDA_VISIBLE_DEVICES="0,1")
    assert "1 in the queue before us" in gpus.waiting(both)
    assert waiting.poll() is None
    end(holder)
    assert gpus.leased(waiting) == ["gpu:0"]
    assert gpus.leased(both) == ["gpu:0", "gpu:1"]


def test_who_waits_says_for_whom(gpus: Machine) -> None:
    holder = gpus.start("gpu", 3, -1, "generation 3, child_02")
    assert gpus.leased(holder)[-3:] == ["gpu:0", "gpu:1", "gpu:2"]
    line = gpus.waiting(gpus.start("gpu", 2, 0, "another"))
    assert re.search(
        rf"another: waits; gpu:0, gpu:1, gpu:2 held by process {holder.pid} on \S+ since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(generation 3, child_02\); 0 in the queue before us",
        line,
    )


def test_a_place_in_the_queue_dies_with_its_process(gpus: Machine) -> None:
    holder = gpus.start("gpu", 2, -1, "holder")
    gpus.leased(holder)
    impatient = gpus.start("gpu", 4, 0, "impatient")
    gpus.waiting(impatient)
    modest = gpus.start("gpu", 2, 0, "modest")
    assert "1 in the queue before us" in gpus.waiting(modest)
    end(impatient)
    assert gpus.leased(modest) == ["gpu:2", "gpu:3"]


def test_a_lease_ends_with_its_process_whatever_that_has_started(gpus: Machine) -> None:
    holder = gpus.start("gpu", 4, -1, "holder")
    assert len(gpus.leased(holder)) == 4
    assert holder.stdout is not None and holder.stdout.readline() == "started\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert len(gpus.leased(gpus.start("gpu", 4, 0, "next"))) == 4


def test_a_lease_is_given_back_at_the_end_of_its_block(tmp_path: Path) -> None:
    def first(free):
        return free[:1] or None

    with leases.leased(["a", "b"], first, folder=tmp_path, title="one") as one:
        with leases.leased(["a", "b"], first, folder=tmp_path, title="two") as two:
            assert (one, two) == (["a"], ["b"])
        with leases.leased(["a", "b"], first, folder=tmp_path, title="three") as three:
            assert three == ["b"]
    assert list((tmp_path / "queue").iterdir()) == []


def test_who_gives_up_leaves_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with (
        pytest.raises(KeyboardInterrupt),
        leases.leased(["a"], lambda free: None, folder=tmp_path, title="never"),
    ):
        pass
    assert list((tmp_path / "queue").iterdir()) == []


def test_names_are_no_paths(tmp_path: Path) -> None:
    name = "tpu:grpc://10.0.0.2:8470"
    with leases.leased([name], lambda free: free or None, folder=tmp_path / "new", title="one") as taken:
        assert taken == [name]
        assert "(one)" in (tmp_path / "new" / "tpu:grpc:%2F%2F10.0.0.2:8470.lease").read_text()


def test_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EvoPoseError, match=r"file/leases: leases of accelerators cannot be kept .* EVOPOSE_LEASES"),
        leases.leased(["a"], lambda free: free, folder=tmp_path / "file" / "leases", title="one"),
    ):
        pass
