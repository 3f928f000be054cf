"""The input pipeline: images/s and bytes an image, beside the paper's form with the same threads, batch and prefetch.

Of crop records also how far their pixels are from those of whole images, for the same augmentation.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.config import FLIP_ONLY, Augmentation, ConversionSettings
from pipeline_lib.data import records
from tests.benchmarks import paper_pipeline, pictures
from tests.benchmarks.measure import Row, Settings, rate, rates

HEIGHT, WIDTH = 256, 192
WORKLOADS = {"search (flip)": FLIP_ONLY, "training (scale, rotation, flip)": Augmentation()}
FOREVER = 10**6
COMPARED = 128
"""People, of the same pictures, whose pixels are compared."""

CROPS = {
    "records: crops, JPEG": ConversionSettings(records="crops"),
    "records: crops, raw": ConversionSettings(records="crops", crop_encoding="raw"),
}
REDUCED = {
    f"records: crops, raw, crop_resolution {resolution}": ConversionSettings(
        records="crops", crop_encoding="raw", crop_resolution=resolution
    )
    for resolution in (1, 1.5)
}
"""Records of crops that are neither scaled nor turned have no such resolution."""


def measure(settings: Settings, folder: Path) -> list[Row]:
    pictures.make(folder, settings.images)
    whole = records.read_manifest(pictures.converted(folder, "whole", ConversionSettings()))
    rows = []
    for number, (workload, augmentation) in enumerate(WORKLOADS.items()):
        shared: dict[str, Any] = {
            "height": HEIGHT,
            "width": WIDTH,
            "batch": min(settings.batch, whole.examples),
            "augmentation": augmentation,
            "seed": 0,
            "epochs": FOREVER,
            "threads": settings.threads,
        }
        manifests = {"paper's form": whole, "records: images": whole}
        reach = augmentation.reach(HEIGHT, WIDTH)
        for name, conversion in (CROPS if reach.is_final else CROPS | REDUCED).items():
            place = f"{conversion.crop_encoding}_{conversion.crop_resolution}_{number}"
            made = pictures.converted(folder, place, conversion, reach)
            manifests[name] = records.read_manifest(made)
        forms = {
            name: paper_pipeline.dataset(manifest, **shared)
            if name == "paper's form"
            else records.dataset(manifest, shuffle=True, drop_remainder=True, **shared)
            for name, manifest in manifests.items()
        }
        sizes = {name: sum(tensor.numpy().nbytes for tensor in next(iter(form))) for name, form in forms.items()}
        found = rates({name: _images(form, shared["batch"]) for name, form in forms.items()}, settings.seconds)
        group, first = f"pipeline, {workload}", found["paper's form"]
        for name, value in found.items():
            stored = sum(shard.path.stat().st_size for shard in manifests[name].shards) / manifests[name].examples
            rows.append(Row(group, name, value, "images/s", value / first))
            rows.append(Row(group, f"{name}, to the device", sizes[name] / shared["batch"] / 1e6, "MB/image"))
            rows.append(Row(group, f"{name}, stored", stored / 1e6, "MB/person"))
        persons = {
            name: _persons(manifests[name], augmentation) for name, each in manifests.items() if each is not whole
        }
        expected = _persons(whole, augmentation)
        for name, pixels in persons.items():
            away = float(np.abs(pixels.astype(np.int16) - expected).mean())
            rows.append(Row(group, f"{name}, from whole images", away, "levels of 255"))
    return rows


def _persons(manifest: records.Manifest, augmentation: Augmentation) -> Any:
    """Crops uint8 (N, H, W, 3) of some people."""
    data = records.dataset(
        manifest, height=HEIGHT, width=WIDTH, batch=min(COMPARED, manifest.examples), augmentation=augmentation
    )
    return next(iter(data))[0].numpy()


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
