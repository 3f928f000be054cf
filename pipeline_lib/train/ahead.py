"""The training step compiled for TPUs ahead of time, without one: the compiler's own word on time, memory and cost.

Only for a process of its own, whose Keras runs on JAX.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from pipeline_lib import devices
from pipeline_lib.config import TrainSettings
from pipeline_lib.errors import ConfigError
from pipeline_lib.nets.layers import Network
from pipeline_lib.nets.precision import precision
from pipeline_lib.train import trainer
from pipeline_lib.train.model import PoseModel
from pipeline_lib.train.schedule import warmup_cosine

log = logging.getLogger(__name__)

GIB = 2**30
HBM = {"TPU v3": 16 * GIB, "TPU v4": 16 * GIB, "TPU v5 lite": 16 * GIB, "TPU v5": 95 * GIB, "TPU v6 lite": 32 * GIB}
"""Memory of what JAX calls a device (of v3 and v4, a core: two of them are a chip)."""

STEPS = 100
"""Of an epoch, which only the learning rate's constants depend on."""


@dataclass(frozen=True)
class Cost:
    """One compiled program: times in seconds; memory (HBM), operations and bytes of one chip.

    `arguments` are variables, moments and the batch, `output` those that replace them (of which `aliased` take no room
    of their own), `temporaries` everything else at once.
    """

    chips: int
    batch: int
    lower_seconds: float
    compile_seconds: float
    arguments: int
    temporaries: int
    output: int
    aliased: int
    flops: float
    bytes_accessed: float
    all_reduces: int

    @property
    def memory(self) -> int:
        """Bytes of HBM at the peak."""
        return self.arguments + self.temporaries + self.output - self.aliased


class DoesNotFit(Exception):
    """The compiler found that the program needs more memory than the chip has; the message says how much."""


class Target:
    """The chips of `topology`, such as v5e:2x2, that programs are compiled for. Raises `ConfigError` if there is none."""

    def __init__(self, topology: str) -> None:
        try:
            self.devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
        except Exception as error:  # of many classes, among them those of the library that is loaded
            raise ConfigError(f"topology {topology}: {str(error).splitlines()[0]}; v5e:2x2 is one") from None
        self.kind = str(self.devices[0].device_kind)
        self.hbm = HBM.get(self.kind)

    def shardings(self, chips: int) -> tuple[Sharding, Sharding]:
        """Of the variables, which every one of `chips` holds, and of the batch, which is split among them."""
        if chips == 1:
            single = SingleDeviceSharding(self.devices[0])
            return single, single
        mesh = Mesh(np.array(self.devices[:chips]), ("batch",))
        return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))


class Step:
    """The training step of `network` as `trainer` compiles it for JAX, with `settings` but whatever batch is asked for."""

    def __init__(self, network: Network, settings: TrainSettings) -> None:
        strategy = devices.strategy("cpu")
        with precision(settings.precision):
            keras_network = trainer.build(network, settings, seed=0)
        rate = warmup_cosine(settings.base_rate, settings.batch, settings.epochs, STEPS, settings.warmup_epochs)
        self._model = trainer.compiled(keras_network, rate, settings, STEPS, strategy, network.supervised())
        self._shape = (network.height, network.width, network.keypoints)

    def cost(self, target: Target, batch: int, chips: int = 1) -> Cost:
        """Compile for `chips` of `target`, which share `batch`. Raises `DoesNotFit`."""
        everywhere, split = target.shardings(chips)
        model = self._model
        state = tuple(
            [jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=everywhere) for each in group]
            for group in variables(model)
        )
        height, width, keypoints = self._shape
        data = tuple(
            jax.ShapeDtypeStruct((batch, *shape), dtype, sharding=split)
            for shape, dtype in (((height, width, 3), "uint8"), ((keypoints, 3), "float32"), ((), "float32"))
        )
        log.info("batch %d on %d chips: lowering and compiling, minutes for a large network", batch, chips)
        started = time.monotonic()
        lowered = jax.jit(model.train_step, donate_argnums=0).lower(state, data)
        lowered_at = time.monotonic()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise DoesNotFit(shortage(str(error))) from None
        memory, analysis = compiled.memory_analysis(), compiled.cost_analysis()
        found = Cost(
            chips=chips,
            batch=batch,
            lower_seconds=lowered_at - started,
            compile_seconds=time.monotonic() - lowered_at,
            arguments=memory.argument_size_in_bytes,
            temporaries=memory.temp_size_in_bytes,
            output=memory.output_size_in_bytes,
            aliased=memory.alias_size_in_bytes,
            flops=analysis["flops"],
            bytes_accessed=analysis["bytes accessed"],
            all_reduces=len(re.findall(r" all-reduce(?:-start)?\(", compiled.as_text())),
        )
        log.info(
            "batch %d on %d chips: compiled in %.0f s, %.2f GiB",
            batch,
            chips,
            found.compile_seconds,
            found.memory / GIB,
        )
        return found


def variables(model: PoseModel) -> tuple[list[Any], ...]:
    """The variables whose values are the state that Keras' training step under JAX takes and returns, in its order."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def shortage(message: str) -> str:
    """How much memory is needed and how much there is, of a compiler's long message; or its first line."""
    found = re.search(r"total memory required .*? exceeds available HBM \([^)]*\)|Used \S+ of \S+ hbm", message)
    return found[0] if found else message.splitlines()[0]


def largest_batch(
    fits: Callable[[int], Cost], first: int, known: Cost | None = None, hbm: int | None = None
) -> tuple[Cost | None, int, str]:
    """The largest first * 2^n that fits, by compiling it and its double.

    The search begins where the memory of `known` (what `fits(first)` gave) says that `hbm` is full.

    Args:
        fits: the cost of a batch; raises `DoesNotFit`.
        first: a batch.
        known: its cost, if it fits.
        hbm: memory of a chip; None: unknown.

    Returns:
        Its cost (None: not even one person fits), the smallest batch that was refused, and how the compiler said so.
    """
    batch, best, refused, why = first, known, 0, ""
    if known is not None:
        # Variables are counted as if they grew with the batch: the guess is rather too small.
        batch *= 2 ** max(1, int(np.log2(hbm / known.memory))) if hbm else 2
    while batch and batch != refused:
        try:
            best = fits(batch)
        except DoesNotFit as problem:
            refused, why = batch, str(problem)
            if best is not None and best.batch * 2 >= batch:
                break
            batch //= 2
        else:
            batch *= 2
    return best, refused, why
