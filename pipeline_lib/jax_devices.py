"""Devices under KERAS_BACKEND=jax: JAX has them all, TensorFlow only reads the data."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext

import jax
import keras

from pipeline_lib.errors import EvoPoseError

log = logging.getLogger(__name__)

PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}
"""What JAX is to start, best first; without a choice it would take the GPU of a training on the CPU."""


def configure(deterministic: bool) -> None:
    """Forbid TensorFlow every accelerator, and have XLA take deterministic operations; before the first operation."""
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        try:
            tf.config.set_visible_devices([], kind)
        except RuntimeError:
            if tf.config.list_logical_devices(kind):
                raise EvoPoseError(
                    f"TensorFlow has taken the {kind} already, which JAX is to train on; begin in a new process"
                ) from None
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        if "xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def select(kind: str, asked: str) -> str:
    """Have JAX use `kind` (cpu, gpu, tpu) and return it; `asked` auto may end up on the CPU, with a warning.

    Raises `EvoPoseError` when JAX cannot use a device that was asked for by name.
    """
    try:
        _start(kind)
    except RuntimeError as error:
        problem = f"there is a {kind.upper()}, but JAX cannot use it ({str(error).splitlines()[0]})"
        remedy = (
            "install the `jax[cuda13]` of your jax, or" if kind == "gpu" else "is another process using it? Otherwise"
        )
        if asked == kind:
            raise EvoPoseError(f"device {kind}: {problem}; {remedy} use --device cpu") from None
        log.warning("%s; going on with the CPU", problem)
        kind = "cpu"
        _start(kind)
    return kind


def _start(kind: str) -> None:
    jax.config.update("jax_platforms", PLATFORMS[kind])
    jax.config.update("jax_default_device", jax.local_devices(backend=kind)[0])


class JaxStrategy:
    """One device, or several among which every batch is split while each holds all variables.

    The step is one program over the whole batch: gradients, batch statistics and losses are those of one device.

    Attributes:
        devices: those that are used.
        num_replicas_in_sync: 1: what a step sees is never a part of the batch.

    Raises:
        EvoPoseError: there are fewer than `count`.
    """

    num_replicas_in_sync = 1

    def __init__(self, kind: str, count: int = 1) -> None:
        there = jax.local_devices(backend=kind)
        if len(there) < count:
            raise EvoPoseError(
                f"{count} devices asked for (train.devices), but JAX sees {len(there)} of kind {kind}; "
                "lower train.devices or run where there are more"
            )
        self.devices = there[:count]
        parallel = keras.distribution.DataParallel(devices=keras.distribution.list_devices(kind)[:count])
        # For good: batches are split by it when they are read, long after the variables were made in `scope`.
        keras.distribution.set_distribution(parallel if count > 1 else None)

    def scope(self) -> AbstractContextManager[None]:
        """Where variables are made; the process is in it from the start."""
        return nullcontext()

    @property
    def name(self) -> str:
        """CPU, or what JAX calls the device."""
        device = self.devices[0]
        return "CPU" if device.platform == "cpu" else str(device.device_kind)
