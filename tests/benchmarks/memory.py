"""Resident memory: of Snakemake over a search of 200 children, and of trainings on data sets of different sizes."""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from pipeline_lib import artifacts
from pipeline_lib.config import COCO_KEYPOINTS
from pipeline_lib.data.tfrecord import encode_example, write_record
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import Architecture, initial_weights
from tests.benchmarks.measure import Row, Settings
from tests.workflow.conftest import ROOT, TINY, Workplace

MEGA = 2**20
CHILDREN, GENERATIONS = 40, 5
SHARD = 100
PERSONS = (200, 1600)
"""Of the smaller and of the larger data set; the larger one's records have 190 MB."""

EVERY = 0.5
"""Seconds between two looks at a process."""

NETWORK = Architecture(
    genotype=[[1, 3, 1, 1], [1, 3, 1, 2], [1, 3, 1, 2], *[[1, 3, 1, 1]] * 4], height=32, width=32, expansion=(1,) * 7,
    stem=8, head=8, head_layers=1,
)  # fmt: skip


def measure(settings: Settings, folder: Path) -> list[Row]:
    found = controller(folder / "search", CHILDREN, GENERATIONS)
    name = f"Snakemake, {CHILDREN * GENERATIONS} children"
    after, at_end = found[len(found) // 10], found[-1]
    rows = [
        Row(name, "after a tenth", after / MEGA, "MB"),
        Row(name, "at the end", at_end / MEGA, "MB", at_end / after),
    ]
    sizes = {persons: training(folder / str(persons), persons) / MEGA for persons in PERSONS}
    first = sizes[PERSONS[0]]
    return rows + [Row("training", f"{persons} persons", size, "MB", size / first) for persons, size in sizes.items()]


def controller(folder: Path, children: int, generations: int) -> list[int]:
    """Bytes of Snakemake, again and again from its first job to its last one; the trainings are simulated."""
    folder.mkdir()
    place = Workplace(folder)
    config = copy.deepcopy(TINY)
    config["search"] |= {"generations": generations, "children": children, "parents": 4, "compare_scratch": False}
    config["search"]["simulation"] = {"seconds": 1e-3}
    place.configure(config)
    log = folder / "said.txt"
    sizes = []
    with log.open("w") as stream:
        process = subprocess.Popen(place.command("search"), cwd=folder, stdout=stream, stderr=stream)
        seen = psutil.Process(process.pid)
        while process.poll() is None:
            size = _size(seen)
            if size and any(folder.glob("results/tiny/search/gen_001/child_*/score.json")):
                sizes.append(size)
            time.sleep(EVERY)
    if process.returncode:
        raise RuntimeError(log.read_text()[-3000:])
    return sizes


def _size(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def training(folder: Path, persons: int) -> int:
    """The largest resident memory in bytes of a real training of a tiny network for one epoch of so many persons."""
    records(folder, persons)
    files.save(folder / "initial.safetensors", NETWORK, initial_weights(NETWORK, 1))
    small = folder.with_name(f"{folder.name}_validation")
    records(small, 16)
    command = [
        *(
            sys.executable,
            str(ROOT / "scripts/train.py"),
            "--initial",
            "initial.safetensors",
            "--seed",
            "1",
            "--device",
            "cpu",
        ),
        *("--train-manifest", "manifest.json", "--val-manifest", str(small / "manifest.json")),
        *("--settings", json.dumps({"epochs": 1, "batch": 16, "warmup_epochs": 0, "cpu_threads": 2})),
        *("--weights", "out/weights.safetensors", "--history", "out/history.csv"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    log = folder / "said.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=stream)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(log.read_text()[-3000:])
    return used.ru_maxrss * 1024


def records(folder: Path, persons: int) -> None:
    """Records of whole images of noise, 640 x 480, which do not compress."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    pictures = [
        cv2.imencode(".jpg", rng.integers(0, 256, (480, 640, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes()
        for _ in range(8)
    ]
    count = -(-persons // SHARD)
    shards: list[dict[str, Any]] = []
    for number in range(count):
        name = f"{number:05d}-of-{count:05d}.tfrecord"
        members = range(number * SHARD, min(persons, (number + 1) * SHARD))
        with (folder / name).open("wb") as stream:
            for person in members:
                numbers = {"image_id": person, "annotation_id": person + 1, "height": 480, "width": 640}
                features: dict[str, Any] = {key: np.array([value], np.int64) for key, value in numbers.items()}
                features |= {
                    "image": pictures[person % len(pictures)],
                    "box": np.array([100, 100, 200, 300], np.float32),
                    "keypoints": np.tile(np.array([200, 200, 2], np.float32), len(COCO_KEYPOINTS.names)),
                    "score": np.ones(1, np.float32),
                }
                write_record(stream, encode_example(features))
        shards.append({"file": name, "examples": len(members), "bytes": (folder / name).stat().st_size})
    content = {
        "records": "images",
        "boxes": "ground_truth",
        "keypoints": COCO_KEYPOINTS.model_dump(mode="json"),
        "examples": persons,
        "shards": shards,
    }
    artifacts.write_document(folder / "manifest.json", content)
