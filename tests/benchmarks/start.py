"""The fixed cost of a child: from the start of its process to the end of its first step, for EvoPose2D-S at 256x192."""

import json
import subprocess
import sys
from pathlib import Path

from pipeline_lib.errors import EvoPoseError
from pipeline_lib.nets import files
from pipeline_lib.nets.registry import architecture
from pipeline_lib.nets.spec import initial_weights
from tests.benchmarks import pictures
from tests.benchmarks.measure import Row, Settings

ROOT = Path(__file__).resolve().parents[2]
BATCH = 16


def measure(settings: Settings, folder: Path) -> list[Row]:
    manifest = pictures.records(folder, settings.images)
    small = architecture("evopose2d_s", 256, 192, 17)
    files.save(folder / "initial.safetensors", small, initial_weights(small, 1))
    arguments = [str(folder / "initial.safetensors"), str(manifest), str(settings.threads), str(BATCH)]
    phases, plain = _phases(arguments), _phases([*arguments, "plain"])
    name, whole = f"start of a child, S 256x192, batch {BATCH}", sum(phases.values())
    return [
        *(Row(name, phase, seconds, "s") for phase, seconds in phases.items()),
        Row(name, "all", whole, "s", 1.0),
        Row(name, "all, Keras' own layers and optimizer", sum(plain.values()), "s", sum(plain.values()) / whole),
    ]


def _phases(arguments: list[str]) -> dict[str, float]:
    """Seconds of each phase, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.start_probe", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EvoPoseError(f"the child ended with exit code {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    phases: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return phases
