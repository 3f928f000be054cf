"""The training step of networks at the paper's sizes on one accelerator, in bfloat16 under JAX, its batch in memory.

The share of the peak is that of 2 operations for each multiply-add of a convolution, three times for forward and backward
pass, among what the device does in a product of two large bfloat16 matrices.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_lib import devices
from pipeline_lib.config import TrainSettings
from pipeline_lib.errors import ConfigError
from pipeline_lib.nets import registry
from pipeline_lib.nets.layers import Network, count_network
from tests.benchmarks.measure import ROUNDS, Row, Settings

log = logging.getLogger(__name__)

NETWORKS = (("evopose2d_s", 256, 192), ("evopose2d_m", 384, 288), ("simple_baseline_r50", 256, 192))
KEYPOINTS = 17
SIDE = {"cpu": 1024}
"""Of the matrices, where it is not 8192."""


def measure(settings: Settings, folder: Path) -> list[Row]:
    if devices.backend() != "jax":
        raise ConfigError(
            "benchmark device: it measures JAX; run KERAS_BACKEND=jax .venv-jax/bin/python -m tests.benchmarks device "
            "--batch 512 (make install ACCELERATOR=jax VENV=.venv-jax makes the environment)"
        )
    strategy = devices.strategy("auto", 1)
    title = f"training step on {devices.name(strategy)}, bfloat16, batch {settings.batch}"
    peak = matrix_rate(SIDE.get(devices.select("auto"), 8192), settings.seconds)
    rows = [Row(title, "product of bfloat16 matrices", peak / 1e12, "TFLOP/s")]
    for name, height, width in NETWORKS:
        network = registry.architecture(name, height, width, KEYPOINTS)
        log.info("%s %dx%d: compiling, minutes for a large network", name, height, width)
        rate, compile_seconds = step_rate(network, settings.batch, settings.seconds, strategy)
        share = 6 * count_network(network)["multiply_adds"] * rate / peak
        variant = f"{name} {height}x{width}"
        rows += [
            Row(title, variant, rate, "images/s"),
            Row(title, f"{variant}, of the peak", 100 * share, "%"),
            Row(title, f"{variant}, building and compiling", compile_seconds, "s"),
        ]
        log.info("%s: %.0f images/s, %.1f %% of the peak", variant, rate, 100 * share)
    return rows


def matrix_rate(side: int, seconds: float) -> float:
    """Operations a second in products of two random bfloat16 matrices."""
    import jax

    left, right = (jax.random.normal(jax.random.key(seed), (side, side), "bfloat16") for seed in (0, 1))
    product = jax.jit(lambda a, b: a @ b)

    def run(number: int) -> Any:
        results = [product(left, right) for _ in range(number)]
        return results[-1]

    return 2 * side**3 * _rate(run, seconds)


def step_rate(network: Network, batch: int, seconds: float, strategy: Any) -> tuple[float, float]:
    """Images a second of the training step that `trainer` compiles, and the seconds that its making takes."""
    import jax
    import numpy as np

    from pipeline_lib.nets.precision import precision
    from pipeline_lib.train import ahead, trainer
    from pipeline_lib.train.schedule import warmup_cosine

    settings = TrainSettings(batch=batch, precision="bfloat16")
    begun = time.perf_counter()
    with precision(settings.precision):
        keras_network = trainer.build(network, settings, seed=0)
    rate = warmup_cosine(settings.base_rate, batch, settings.epochs, ahead.STEPS, 0)
    model = trainer.compiled(keras_network, rate, settings, ahead.STEPS, strategy, network.supervised())
    # Copies: the step takes the memory of what it is given.
    state = tuple([jax.numpy.array(each.value) for each in group] for group in ahead.variables(model))
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, network.width, (batch, network.keypoints, 3)).astype(np.float32)
    keypoints[..., 2] = 2
    images = rng.integers(0, 256, (batch, network.height, network.width, 3), np.uint8)
    data = tuple(map(jax.device_put, (images, keypoints, np.ones(batch, np.float32))))
    step = jax.jit(model.train_step, donate_argnums=0).lower(state, data).compile()
    made = time.perf_counter() - begun

    def run(number: int) -> Any:
        nonlocal state
        for _ in range(number):
            _, state = step(state, data)
        return state

    return batch * _rate(run, seconds), made


def _rate(run: Callable[[int], Any], seconds: float) -> float:
    """How often a second `run` does something, the median of rounds that wait for the device at their end only."""
    import jax

    jax.block_until_ready(run(2))
    begun = time.perf_counter()
    jax.block_until_ready(run(2))
    number = max(1, int(2 * seconds / ROUNDS / (time.perf_counter() - begun)))
    seen = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        jax.block_until_ready(run(number))
        seen.append(number / (time.perf_counter() - begun))
    return sorted(seen)[ROUNDS // 2]
