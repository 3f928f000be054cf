"""The conversion on a real Dask cluster, one worker of which is killed, and on Dataflow as far as that can be looked at here."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline_lib.config import ConversionSettings, KeypointSchema, ValidationConfig
from pipeline_lib.data import beam
from pipeline_lib.data.convert import convert
from pipeline_lib.data.validation import validate
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import ConfigError
from tests.cluster.conftest import need_package
from tests.cluster.emulator import HOST, await_port, free_port
from tests.workflow.conftest import ROOT

POINTS = KeypointSchema(names=("a", "b"), sigmas=(0.1, 0.1))
IMAGES, SHARDS = 24, 12
DATAFLOW = ("--project=my-project", "--region=europe-west4", "--temp_location=gs://evo/tmp")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen images with a person each."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    images, people = [], []
    for number in range(IMAGES):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (30, 40, 3), np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "height": 30, "width": 40})
        person = {"id": 1 + number, "image_id": number, "bbox": [1.25, 2, 11, 12], "area": 100.0, "iscrowd": 0}
        people.append({**person, "num_keypoints": 1, "keypoints": [5, 6, 2, 0, 0, 0]})
    (folder / "annotations.json").write_text(json.dumps({"images": images, "annotations": people}))
    return folder


@pytest.fixture(scope="module")
def verdict(source: Path) -> Verdict:
    return validate(source / "annotations.json", POINTS, ValidationConfig(), images=source)


def converted(source: Path, output: Path, verdict: Verdict, **settings: Any) -> dict[str, bytes]:
    """The files that a conversion writes."""
    convert(
        output / "manifest.json",
        annotations=source / "annotations.json",
        images=source,
        split="train",
        purpose="training",
        schema=POINTS,
        settings=ConversionSettings(shard_size=IMAGES // SHARDS, **settings),
        verdict=verdict,
    )
    return {path.name: path.read_bytes() for path in output.iterdir()}


@pytest.fixture(scope="module")
def expected(source: Path, verdict: Verdict, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the conversion writes without a cluster."""
    files = converted(source, tmp_path_factory.mktemp("expected"), verdict)
    assert len(files) == SHARDS + 1
    return files


@contextmanager
def clustered(folder: Path) -> Iterator[tuple[str, list["subprocess.Popen[Any]"]]]:
    """A scheduler and two workers as processes: its address, and the workers."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    address = f"tcp://{HOST}:{port}"
    processes: list[subprocess.Popen[Any]] = []

    def start(name: str, *words: str) -> "subprocess.Popen[Any]":
        command = [sys.executable, "-m", "dask", name, *words, "--no-dashboard"]
        with (folder / f"{name}-{len(processes)}.log").open("w") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder))
        return processes[-1]

    try:
        await_port(port, start("scheduler", "--host", HOST, "--port", str(port)))
        options = ("--nthreads", "1", "--no-nanny", "--host", HOST, "--local-directory", str(folder))
        workers = [start("worker", address, "--name", str(number), *options) for number in range(2)]
        from distributed import Client

        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, workers
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(30)


@pytest.fixture
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list["subprocess.Popen[Any]"]]]:
    need_package("distributed")
    with clustered(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def test_the_same_bytes_from_dask_though_one_of_its_workers_is_killed(
    source: Path,
    verdict: Verdict,
    expected: dict[str, bytes],
    dask: tuple[str, list["subprocess.Popen[Any]"]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, workers = dask
    monkeypatch.setattr("pipeline_lib.data.convert.PROGRESS_SECONDS", 0.1)
    caplog.set_level("INFO")
    runner = {"runner": "DaskRunner", "options": (f"--dask_client_address={address}",)}
    assert converted(source, tmp_path / "calm", verdict, **runner) == expected

    # Who reads this image of the last shard but one waits in the middle of that shard.
    pipe = source / f"{IMAGES - 3}.png"
    picture = pipe.read_bytes()
    pipe.unlink()
    os.mkfifo(pipe)
    files: list[dict[str, bytes]] = []
    output = tmp_path / "killed"
    work = threading.Thread(target=lambda: files.append(converted(source, output, verdict, **runner)))
    try:
        work.start()
        killed = writer_of(f".{SHARDS - 2:05d}-of-{SHARDS:05d}.tfrecord", output, work)
        assert killed in [worker.pid for worker in workers]
        os.kill(killed, signal.SIGKILL)
        next(worker for worker in workers if worker.pid == killed).wait(30)
        # The other worker comes to it, and may read on.
        while work.is_alive():
            try:
                descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads it yet
                time.sleep(0.05)
                continue
            os.set_blocking(descriptor, True)
            os.write(descriptor, picture)
            os.close(descriptor)
            break
        work.join(120)
    finally:
        pipe.unlink()
        pipe.write_bytes(picture)
    assert files == [expected], "the same files, and none that the killed worker left"
    assert [worker.poll() is None for worker in workers].count(True) == 1
    assert any(" of 12 shards" in record.getMessage() for record in caplog.records), "it shows how far it is"


def writer_of(prefix: str, folder: Path, work: threading.Thread) -> int:
    """The process that writes a shard, by the name of its temporary file."""
    while work.is_alive():
        for path in folder.glob(f"{prefix}.*.tmp"):
            return int(path.name.rpartition(".tmp")[0].rpartition(".")[2])
        time.sleep(0.02)
    raise AssertionError("the conversion ended without its shard")


def test_several_processes_of_this_machine(
    source: Path, verdict: Verdict, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert converted(source, tmp_path, verdict, mode="multi_processing", workers=2) == expected


def test_a_cluster_that_is_not_there(source: Path, verdict: Verdict, tmp_path: Path) -> None:
    need_package("distributed")
    options = (f"--dask_client_address=tcp://{HOST}:{free_port()}", "--dask_connection_timeout=2")
    with pytest.raises(ConfigError, match=r"conversion\.runner: dask cannot be reached .*check its address"):
        converted(source, tmp_path, verdict, runner="dask", options=options)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith("tfrecord")]


def test_the_options_of_dataflow() -> None:
    settings = ConversionSettings(runner="DataflowRunner", options=(*DATAFLOW, "--max_num_workers=20"))
    runner, options = beam.check(settings)
    found = options.get_all_options(drop_default=True)
    assert type(runner).__name__ == "DataflowRunner"
    assert {name: found[name] for name in ("project", "region", "temp_location", "max_num_workers")} == {
        "project": "my-project",
        "region": "europe-west4",
        "temp_location": "gs://evo/tmp",
        "max_num_workers": 20,
    }
    assert not options.get_all_options()["save_main_session"]
    # The job's description has the plans of shards, and none of their records.
    shards = [("0.tfrecord", "gs://evo/plans", "gs://evo/images", "gs://evo/shards", "")]
    offline = settings.model_copy(update={"options": (*settings.options, "--dry_run=True")})
    description = beam.pipeline(shards, offline).to_runner_api()
    steps = [step.unique_name for step in description.components.transforms.values()]
    assert "Plan" in steps and any(step.startswith("Write") for step in steps)
    assert description.ByteSize() < 100_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Dataflow needs --temp_location=gs://"),
        (DATAFLOW[1:], "Missing required option: project"),
        (("--project=P_", *DATAFLOW[1:]), r"Invalid Project ID \(P_\)"),
        ((*DATAFLOW[:2], "--temp_location=/tmp"), "--temp_location=/tmp: gs://<bucket>/<folder> is needed"),
        ((*DATAFLOW, "--regoin=x"), "Beam has no option --regoin; correct it"),
        ((*DATAFLOW, "--max_num_workers=many"), "Beam does not understand .*--max_num_workers=many"),
    ],
)
def test_options_that_dataflow_would_refuse(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^conversion\.options: .*{message}"):
        beam.check(ConversionSettings(runner="dataflow", options=options))
