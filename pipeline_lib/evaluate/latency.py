"""Frame rate: how long the forward pass alone of a network takes, pass by pass (paper, section V-C and Table 3)."""

import logging
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib import devices
from pipeline_lib.artifacts import SCHEMA_VERSION, provenance
from pipeline_lib.errors import ConfigError
from pipeline_lib.nets.layers import Network, Weights, count_network

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0
CPU_INFO = Path("/proc/cpuinfo")

Pass = Callable[[], None]


@dataclass(frozen=True)
class Protocol:
    """How is measured; the defaults are the paper's where it says so.

    Attributes:
        passes: measured forward passes (the paper's 1,000).
        warm_up: passes before these: compilation, memory, caches, clocks.
        batch: images in a pass (the paper's 1).
        dtype: arithmetic of all but the final convolutions, float32 or bfloat16.
        xla: compile with XLA; a TPU does so anyway.
        threads: TensorFlow's CPU threads.
        device: auto, cpu, gpu or tpu.
    """

    passes: int = 1000
    warm_up: int = 50
    batch: int = 1
    dtype: str = "float32"
    xla: bool = False
    threads: int = 1
    device: str = "auto"


def benchmark(name: str, network: Network, weights: Weights | None, protocol: Protocol) -> dict[str, Any]:
    """The content of a latency.json: what was measured (`summarize`) of `network`, called `name`, and how, and on what.

    `weights` None: new ones. To be called before TensorFlow's first operation, since it sets its threads and devices.
    """
    if devices.backend() != "tensorflow":
        raise ConfigError(f"frame rates are measured with TensorFlow; unset KERAS_BACKEND={devices.backend()}")
    from pipeline_lib.nets.building import build_architecture
    from pipeline_lib.nets.precision import precision

    devices.configure(protocol.threads, deterministic=False)
    strategy = devices.strategy(protocol.device)
    with strategy.scope(), precision(protocol.dtype):
        model = build_architecture(network, weights=weights)
    run = forward(model, batch=protocol.batch, strategy=strategy, xla=protocol.xla)
    seconds = measure(run, passes=protocol.passes, warm_up=protocol.warm_up)
    kind = devices.name(strategy)
    return {
        "schema_version": SCHEMA_VERSION,
        "network": name,
        "height": network.height,
        "width": network.width,
        "parameters": count_network(network)["parameters"],
        **summarize(seconds, protocol.batch),
        "passes": protocol.passes,
        "warm_up": protocol.warm_up,
        "batch": protocol.batch,
        "dtype": protocol.dtype,
        "xla": protocol.xla or kind.startswith("TPU"),
        "threads": protocol.threads,
        "device": device_name(kind),
        **provenance(),
    }


def forward(model: "keras.Model", *, batch: int, strategy: "tf.distribute.Strategy", xla: bool = False) -> Pass:
    """A compiled forward pass of `model` on `batch` random images; a call returns when the heat maps are computed.

    The images are on the device before, and all that comes back is one number: on an accelerator, calls return before
    the work is done, and reading a number of the result waits for it. A TPU compiles with XLA whatever `xla` says.
    """
    import tensorflow as tf

    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    images = np.random.default_rng(0).standard_normal((batch, *model.input_shape[1:]), np.float32)

    def network(given: Any) -> tuple[Any, Any]:
        maps = model(given, training=False)
        return maps, maps[0, 0, 0, 0]

    compiled = tf.function(network, jit_compile=xla and not on_tpu)
    if on_tpu:
        compiled = tf.function(lambda given: strategy.run(network, args=(given,)))
    with strategy.scope():
        given = tf.constant(images)

    def run() -> None:
        _, number = compiled(given)
        number.numpy()

    return run


def measure(run: Pass, *, passes: int, warm_up: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each of `passes` calls of `run`, after `warm_up` calls that are not measured."""
    log.info("warming up: %d passes", warm_up)
    for _ in range(warm_up):
        run()
    seconds: list[float] = []
    started = reported = clock()
    for _ in range(passes):
        before = clock()
        run()
        after = clock()
        seconds.append(after - before)
        if after - reported >= PROGRESS_SECONDS:
            reported = after
            left = (after - started) / len(seconds) * (passes - len(seconds))
            log.info("measured %d of %d passes, %.0f s left", len(seconds), passes, left)
    return seconds


def summarize(seconds: Sequence[float], batch: int) -> dict[str, float]:
    """{fps, mean_ms, median_ms, p90_ms}: images a second over all passes, and milliseconds of a pass."""
    milliseconds = 1e3 * np.asarray(seconds, np.float64)
    return {
        "fps": float(1e3 * batch / milliseconds.mean()),
        "mean_ms": float(milliseconds.mean()),
        "median_ms": float(np.median(milliseconds)),
        "p90_ms": float(np.percentile(milliseconds, 90)),
    }


def as_text(result: Mapping[str, Any]) -> str:
    """What `benchmark` returned, in a sentence."""
    return (
        f"{result['network']} {result['height']}x{result['width']}: {result['fps']:.1f} frames a second; a pass takes "
        f"{result['mean_ms']:.2f} ms on average, {result['median_ms']:.2f} at the median, {result['p90_ms']:.2f} at 90 % "
        f"({result['passes']} passes, batch {result['batch']}, {result['dtype']}, {result['device']})"
    )


def device_name(kind: str) -> str:
    """`kind`, which is what `devices.name` calls a device, or for a CPU the processor's own name where it is known."""
    if kind != "CPU":
        return kind
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, names), platform.processor() or platform.machine() or kind)
