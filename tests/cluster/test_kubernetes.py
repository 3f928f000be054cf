"""The Jobs of the Kubernetes profile, with the real kubectl and what stands for a cluster."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import CHILDREN, RESULTS, need, same
from tests.cluster.slurm import wait_for
from tests.workflow.conftest import ROOT, Workplace

PROFILE = ROOT / "profiles/kubernetes"


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cluster"]:  # noqa: F821
    need("kubectl")
    from tests.cluster.kubernetes import Cluster

    with Cluster(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


def run(cluster, *command: str) -> str:
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def submit(cluster, script: Path, text: str, accelerators: int = 0) -> str:
    script.write_text(f"#!/bin/sh\n{text}\n")
    return run(cluster, str(PROFILE / "submit.sh"), "train_child", str(accelerators), "3", "500", "100", str(script))


def status(cluster, name: str) -> str:
    return run(cluster, str(PROFILE / "status.sh"), name)


def test_a_job_asks_for_what_snakemake_says(cluster, tmp_path: Path) -> None:
    with_tpu = submit(cluster, tmp_path / "tpu.sh", "exit 0", accelerators=2)
    without = submit(cluster, tmp_path / "cpu.sh", "exit 0")
    assert with_tpu.startswith("evopose-train-child-") and with_tpu != without
    first, second = (job.spec for job in cluster.jobs)
    requests = {"cpu": "3", "memory": "500M", "ephemeral-storage": "100M"}
    assert first["containers"][0]["resources"] == {"requests": requests, "limits": {"google.com/tpu": "2"}}
    assert set(first["nodeSelector"]) == {"cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"}
    assert second["containers"][0]["resources"] == {"requests": requests}
    assert "nodeSelector" not in second
    for spec in (first, second):
        assert spec["restartPolicy"] == "Never"
        assert [volume["name"] for volume in spec["volumes"]] == [
            mount["name"] for mount in spec["containers"][0]["volumeMounts"]
        ]
    assert all(job.body["spec"]["backoffLimit"] == 0 for job in cluster.jobs)


def test_how_a_job_ends_is_how_its_script_does(cluster, tmp_path: Path) -> None:
    good = submit(cluster, tmp_path / "good.sh", "sleep 1")
    bad = submit(cluster, tmp_path / "bad.sh", "exit 3")
    assert status(cluster, good) == "running"
    wait_for(lambda: status(cluster, good) == "success" and status(cluster, bad) == "failed", "two jobs")
    assert [job.process.returncode for job in cluster.jobs] == [0, 3]
    assert status(cluster, "evopose-nobody-knows") == "failed"
    # A cluster that does not answer says nothing of the job.
    cluster.silent = 20
    assert status(cluster, bad) == "running"


def test_who_is_deleted_hears_it_and_is_running_until_it_has_ended(cluster, tmp_path: Path) -> None:
    trap = (
        f"trap 'sleep 3; touch {tmp_path}/saved; exit 9' TERM; touch {tmp_path}/ready; while true; do sleep 0.1; done"
    )
    name = submit(cluster, tmp_path / "long.sh", f'bash -c "{trap}"')
    wait_for((tmp_path / "ready").exists, "the job")
    run(cluster, str(PROFILE / "cancel.sh"), name, "evopose-nobody-knows")
    (job,) = cluster.jobs
    wait_for(lambda: job.deleted, "the deletion")
    assert status(cluster, name) == "running"
    wait_for(lambda: status(cluster, name) == "failed", "its end")
    assert (tmp_path / "saved").exists() and not job.runs
    assert job.process.returncode


def test_a_search_goes_on_after_a_training_was_evicted(
    cluster, searched: Workplace, started: Callable[[str], Workplace]
) -> None:
    place = started("gen_001")
    resources = ("device='cpu'", "accelerator=0", "mem_mb=200", "disk_mb=100")
    command = place.command(
        *("search", "--config", "device=cpu", "--default-resources", *resources),
        *("--set-resources", "train_child:accelerator=1", "--seconds-between-status-checks", "1"),
        *("--latency-wait", "10"),
        profile="profiles/kubernetes",
    )
    driver = subprocess.Popen(
        command, cwd=place.folder, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        states = place.folder / RESULTS
        wait_for(lambda: list(states.glob("child_*/.training/*/000003_*")), "a training", seconds=240)
        (child, *_) = {path.parts[-4] for path in states.glob("child_*/.training/*/000003_*")}
        (victim,) = [job for job in cluster.jobs if job.runs and child in Path(job.command[-1].split()[3]).read_text()]
        run(cluster, "kubectl", "delete", "job", victim.name, "--wait=false")
        output = driver.communicate(timeout=400)[0]
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 0, output[-6000:]
    assert len(cluster.jobs) == 4 and cluster.most == 2
    assert [job.process.returncode == 0 for job in cluster.jobs if job is not victim] == [True] * 3
    assert "goes on after" in (place.folder / f"logs/tiny/search/gen_001/{child}/train.log").read_text()
    same(place, searched, *CHILDREN, f"{RESULTS}/population.csv", "results/tiny/champion.safetensors")
