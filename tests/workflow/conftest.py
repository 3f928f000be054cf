"""Snakemake, run for real in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]

TINY = {
    "experiment": "tiny",
    "seed": 3,
    "dataset": {
        "name": "tiny",
        "synthetic": {"train_images": 14, "val_images": 8, "height": 96, "width": 128},
        "train": {
            "images": "results/data/tiny/source/images/train",
            "annotations": "results/data/tiny/source/annotations/person_keypoints_train.json",
        },
        "val": {
            "images": "results/data/tiny/source/images/val",
            "annotations": "results/data/tiny/source/annotations/person_keypoints_val.json",
            "detections": "results/data/tiny/source/annotations/person_detections_val.json",
        },
    },
    "input": {"height": 32, "width": 32},
    "train": {"batch": 8, "batch_norm_momentum": 0.9},
    "search": {
        "generations": 1,
        "children": 2,
        "parents": 2,
        "compare_scratch": True,
        "ancestor_epochs": 1,
        "ancestor": [[1, 3, 1, 1], [1, 3, 1, 2], [1, 3, 1, 2], [1, 3, 1, 1], [1, 3, 1, 1], [1, 3, 2, 1], [1, 3, 2, 1]],
        "space": {"max_blocks": 2, "stride_limit": 8, "stem": 8, "head": 8, "head_layers": 1, "expansion": 1},
        "train": {"epochs": 1, "evaluate_initial": True},
    },
    "final": {"models": {"big": {"height": 40, "width": 40, "initial": "champion"}}, "train": {"epochs": 1}},
}


class Workplace:
    """A folder with links to the checkout's sources, in which Snakemake is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scripts", "config", "profiles", "tpu", "pipeline_lib"):
            (folder / name).symlink_to(ROOT / name)
        self.configure(TINY)

    def configure(self, config: dict) -> None:
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config))))

    def command(self, *options: str, profile: str = "profiles/local") -> list[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
        return [*command, "--profile", profile, "--configfile", "tiny.yaml", "--cores", "2", *options]

    def snakemake(self, *options: str, profile: str = "profiles/local") -> subprocess.CompletedProcess[str]:
        command = Workplace.command(self, *options, profile=profile)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE")}
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, env=environment, timeout=900, check=False
        )


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The tiny experiment, run to its end once for all tests that look at its results; they must not change it."""
    place = Workplace(tmp_path_factory.mktemp("finished"))
    done = place.snakemake()
    assert done.returncode == 0, done.stderr[-6000:]
    return place
