"""The training step of EvoPose2D-S at 256x192 and of the demo's ancestor, in float32 on the CPU, input in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib import config
from pipeline_lib.nets import build, build_architecture
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.plan import load
from pipeline_lib.train.model import PoseModel
from pipeline_lib.train.optimizer import Adam
from tests.benchmarks.measure import Row, Settings, rate, rates

ROOT = Path(__file__).resolve().parents[2]


def measure(settings: Settings, folder: Path) -> list[Row]:
    demo = demo_config()
    ancestor = Architecture.from_space(demo.search.ancestor, demo.search.space, demo.input.height, demo.input.width)
    variants = {
        "EvoPose2D-S 256x192, batch 16": step(build("evopose2d_s", 256, 192, 17, l2=1e-5), 16),
        f"demo's ancestor {ancestor.height}x{ancestor.width}, batch 64": step(
            build_architecture(ancestor, l2=1e-5), 64
        ),
    }
    found = rates(variants, settings.seconds)
    return [Row("training step, float32", name, value, "images/s") for name, value in found.items()]


def demo_config() -> config.Config:
    import yaml

    return load(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")), ROOT)


def step(network: Any, batch: int) -> Callable[[float], float]:
    """A variant that trains `network` on the same batch again and again."""
    rng = np.random.default_rng(0)
    height, width = network.input_shape[1:3]
    model = PoseModel(network, sigma=2.0)
    model.compile(Adam(1e-4), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    images = rng.integers(0, 256, (batch, height, width, 3), np.uint8)
    keypoints = rng.uniform(0, width, (batch, network.output_shape[-1], 3)).astype(np.float32)
    weight = np.ones(batch, np.float32)

    def once() -> int:
        model.train_on_batch(images, keypoints, weight)
        return batch

    def run(seconds: float) -> float:
        once()
        return rate(once, seconds)

    once()
    return run
