"""Runs on a real Slurm."""

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import CHILDREN, RESULTS, same
from tests.cluster.slurm import PARTITION, TPUS, Slurm, at_once, wait_for
from tests.workflow.conftest import ROOT, Workplace

# What the profiles say, for a cluster that answers at once and has only CPUs behind its TPUs.
SMALL = ("mem_mb=200", "disk_mb=100", "runtime=10")
FAST = ("--latency-wait", "10", "--jobs", "20")


def test_accelerators_of_a_node_are_leased_by_its_jobs(slurm: Slurm, tmp_path: Path) -> None:
    """Slurm counts them, and lets no more jobs run than there are; which is whose, they settle among themselves."""
    program = tmp_path / "job.py"
    program.write_text(
        "import logging, os, time\n"
        "from pipeline_lib import hardware\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "print(*hardware.lease('tpu', 1, 'job'), os.environ['TPU_VISIBLE_CHIPS'], time.time(), flush=True)\n"
        "time.sleep(1)\n"
        "print(time.time())\n"
    )
    environment = f"PYTHONPATH={ROOT} EVOPOSE_LEASES={tmp_path}/leases EVOPOSE_ACCELERATORS=tpu:0,tpu:1"
    jobs = [
        slurm.submit(f"{environment} {sys.executable} {program}", "--gres=tpu:1", f"--output={tmp_path}/%j.txt")
        for _ in range(5)
    ]
    wait_for(lambda: {job.number for job in slurm.completed()} >= set(jobs), "five jobs", slurm.logs)
    texts = [(tmp_path / f"{job}.txt").read_text() for job in jobs]
    assert not any("waits" in text for text in texts)
    had = [re.search(r"^(tpu:\d) (\d) ([\d.]+)\n([\d.]+)$", text, re.MULTILINE) for text in texts]
    assert all(one and one[1] == f"tpu:{one[2]}" for one in had), texts
    for chip in ("tpu:0", "tpu:1"):
        mine = sorted((float(one[3]), float(one[4])) for one in had if one and one[1] == chip)
        assert len(mine) >= 2
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(mine))
    assert at_once([job for job in slurm.completed() if job.number in jobs]) == TPUS


def test_a_search_through_the_executor_of_slurm(
    slurm: Slurm, searched: Workplace, started: Callable[[str], Workplace]
) -> None:
    place, before = started("gen_000"), max([job.number for job in slurm.completed()], default=0)
    command = place.command(
        *("search", "--config", "device=cpu", "--default-resources", f"slurm_partition={PARTITION}", *SMALL),
        *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1", *FAST),
        profile="profiles/slurm",
    )
    done = subprocess.run(
        command, cwd=place.folder, env=slurm.environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:] + slurm.logs()
    same(place, searched, *CHILDREN, f"{RESULTS}/population.csv", "results/tiny/champion.safetensors")
    jobs = slurm.completed(before)
    # The ancestor and three children; the steps of seconds ran here.
    assert [(job.state, job.tpus) for job in jobs] == [("COMPLETED", 1)] * 4
    assert at_once(jobs) == TPUS


def test_a_cancelled_training_goes_on_where_it_was(
    slurm: Slurm,
    searched: Workplace,
    started: Callable[[str], Workplace],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Through cluster-generic, with accelerators that are leased on the node, of which TensorFlow finds none."""
    place, before = started("gen_001"), max([job.number for job in slurm.completed()], default=0)
    leases = tmp_path_factory.mktemp("leases")
    resources = ("device='auto'", "accelerator=0", f"slurm_options='--partition={PARTITION}'")
    command = place.command(
        "search", "--default-resources", *resources, *SMALL, *FAST, profile="profiles/slurm-generic"
    )
    environment = slurm.environment | {"EVOPOSE_ACCELERATORS": "gpu:0,gpu:1", "EVOPOSE_LEASES": str(leases)}
    driver = subprocess.Popen(
        command, cwd=place.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        states = place.folder / RESULTS
        wait_for(lambda: list(states.glob("child_*/.training/*/000003_*")), "a training", slurm.logs, seconds=240)
        (child, *_) = {path.parts[-4] for path in states.glob("child_*/.training/*/000003_*")}
        log = place.folder / f"logs/tiny/search/gen_001/{child}/train.log"
        taken = re.search(r"takes (gpu:\d)", log.read_text())
        assert taken
        holder = int(re.search(r"process (\d+)", (leases / f"{taken[1]}.lease").read_text())[1])
        (victim,) = [
            job for job in slurm.running() if str(holder) in slurm.ask("scontrol", "listpids", str(job)).split()
        ]
        slurm.ask("scancel", str(victim))
        output = driver.communicate(timeout=400)[0]
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 0, output[-6000:] + slurm.logs()
    jobs = slurm.completed(before)
    assert sorted(job.state for job in jobs) == ["CANCELLED", "COMPLETED", "COMPLETED", "COMPLETED"]
    assert {job.number for job in jobs if job.state == "CANCELLED"} == {victim}
    assert {job.name for job in jobs} == {"train_child"} and {job.tpus for job in jobs} == {1}
    assert at_once(jobs) == TPUS
    assert "asked to end; the state is saved" in (place.folder / f"logs/slurm/{victim}.log").read_text()
    # It did not begin anew, and nothing shows that it was ever cancelled.
    assert re.search(r"goes on after \d+ epochs and \d+ steps", log.read_text())
    same(place, searched, *CHILDREN, f"{RESULTS}/population.csv", "results/tiny/champion.safetensors")
