"""Whether a network learns: its data loss after a short training beside that of the best constant heat maps."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts import read_csv
from pipeline_lib.config import COCO_KEYPOINTS, Augmentation, ConversionSettings, SyntheticConfig, TrainSettings
from pipeline_lib.data import records
from pipeline_lib.data.convert import convert
from pipeline_lib.data.synthetic import synthesize
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import initial_weights
from pipeline_lib.train import trainer
from tests.unit import restated

SIDE = 64
PICTURES = SyntheticConfig(train_images=60, val_images=4, height=160, width=200)
EPOCHS, RATE = 60, 2e-3
STILL = Augmentation(flip=0, scale_std=0, scale_limit=0, rotation_probability=0)


@dataclass(frozen=True)
class Learned:
    """Data losses of the training persons: in the first and in the last epoch, and of the best constant heat maps."""

    network: str
    first: float
    last: float
    constant: float
    steps: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Of the last to the constant one."""
        return self.last / self.constant


def persons(folder: Path) -> Path:
    """Make the synthetic pictures in `folder`, convert them, and return the manifest of the training split."""
    synthesize(PICTURES, 0, folder)
    manifest = folder / "records" / "manifest.json"
    convert(
        manifest,
        annotations=folder / "annotations" / "person_keypoints_train.json",
        images=folder / "images" / "train",
        split="train",
        purpose="training",
        schema=COCO_KEYPOINTS,
        settings=ConversionSettings(),
    )
    return manifest


def settings(epochs: int, rate: float, threads: int) -> TrainSettings:
    """A training that fits what it sees: no augmentation, no stochastic depth."""
    return TrainSettings(
        epochs=epochs,
        batch=16,
        base_rate=rate,
        scale_rate=False,
        batch_norm_momentum=0.9,
        stochastic_depth=0.0,
        augmentation=STILL,
        cpu_threads=threads,
        keep="last",
    )


def learn(network: str, manifest: Path, folder: Path, training: TrainSettings) -> Learned:
    """Train `network` from new weights on the persons of `manifest`, 64x64 pixels each; writes into `folder`."""
    begun = time.perf_counter()
    architecture = registry.architecture(network, SIDE, SIDE, len(COCO_KEYPOINTS.names))
    files.save(folder / "initial.safetensors", architecture, initial_weights(architecture, 1))
    trainer.train(
        initial=folder / "initial.safetensors",
        train_manifest=manifest,
        val_manifest=manifest,
        weights=folder / "weights.safetensors",
        history=folder / "history.csv",
        settings=training,
        seed=1,
        device="cpu",
        title=network,
    )
    history = read_csv(folder / "history.csv")
    rows, columns = architecture.layers()[-1].out_size
    constant = constant_loss(keypoints(manifest), (rows, columns), training.heatmap_sigma * rows / SIDE)
    return Learned(
        network,
        first=float(history[0]["data_loss"]),
        last=float(history[-1]["data_loss"]),
        constant=constant,
        steps=int(history[-1]["step"]),
        seconds=time.perf_counter() - begun,
    )


def keypoints(manifest: Path) -> NDArray[np.float32]:
    """(N, K, 3) of x, y in pixels of the 64x64 crops, and v."""
    batches = records.dataset(manifest, height=SIDE, width=SIDE, batch=32).as_numpy_iterator()
    return np.concatenate([points[weight > 0] for _, points, weight in batches])


def constant_loss(points: NDArray[np.float32], size: tuple[int, int], sigma: float) -> float:
    """The data loss (paper, Eq. 2) of the constant heat maps that have the smallest one: the mean targets of visible keypoints."""
    targets = restated.heatmaps(points, (SIDE, SIDE), size, sigma)
    visible = (points[..., 2] > 0)[:, None, None, :]
    mean = (targets * visible).sum(0) / np.maximum(visible.sum(0), 1)
    return float((np.square(targets - mean) * visible).mean())


def table(rows: Sequence[Learned]) -> str:
    """The measurements as a table of Markdown."""
    lines = ["| network | first epoch | last epoch | constant | last / constant | steps | seconds |", "|---" * 7 + "|"]
    lines += [
        f"| {row.network} | {row.first:.1f} | {row.last:.1f} | {row.constant:.1f} | {row.ratio:.2f} "
        f"| {row.steps} | {row.seconds:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)
