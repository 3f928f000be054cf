"""The input pipeline: images/s and bytes an image, beside the paper's form with the same threads, batch and prefetch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_lib.config import FLIP_ONLY, Augmentation
from pipeline_lib.data import records
from tests.benchmarks import paper_pipeline, pictures
from tests.benchmarks.measure import Row, Settings, rate, rates

HEIGHT, WIDTH = 256, 192
WORKLOADS = {"search (flip)": FLIP_ONLY, "training (scale, rotation, flip)": Augmentation()}
FOREVER = 10**6


def measure(settings: Settings, folder: Path) -> list[Row]:
    manifest = records.read_manifest(pictures.records(folder, settings.images))
    rows = []
    for workload, augmentation in WORKLOADS.items():
        shared: dict[str, Any] = {
            "height": HEIGHT,
            "width": WIDTH,
            "batch": min(settings.batch, manifest.examples),
            "augmentation": augmentation,
            "seed": 0,
            "epochs": FOREVER,
            "threads": settings.threads,
        }
        forms = {
            "paper's form": paper_pipeline.dataset(manifest, **shared),
            "records: images": records.dataset(manifest, shuffle=True, drop_remainder=True, **shared),
        }
        sizes = {name: sum(tensor.numpy().nbytes for tensor in next(iter(form))) for name, form in forms.items()}
        found = rates({name: _images(form, shared["batch"]) for name, form in forms.items()}, settings.seconds)
        first = found["paper's form"]
        for name, value in found.items():
            rows.append(Row(f"pipeline, {workload}", name, value, "images/s", value / first))
            rows.append(
                Row(f"pipeline, {workload}", f"{name}, to the device", sizes[name] / shared["batch"] / 1e6, "MB/image")
            )
    return rows


def _images(form: Any, batch: int) -> Callable[[float], float]:
    """A variant that reads batches, and goes on where it stopped when its turn comes again."""
    iterator = iter(form)

    def step() -> int:
        next(iterator)
        return batch

    def run(seconds: float) -> float:
        for _ in range(4):  # what was prefetched while others were measured
            step()
        return rate(step, seconds)

    return run
