"""Accelerators: what is there, what was asked for, and the distribution strategy that uses it.

`available`, `check`, `accelerators` and `lease` look at the machine only, so that a workflow starts without TensorFlow; the
other functions load it. Nothing here falls back to the CPU when another device was asked for by name. Under KERAS_BACKEND=jax
the devices are JAX's (`jax_devices`), and TensorFlow, which reads the data, gets none but the CPU.
"""

import importlib.metadata
import importlib.util
import logging
import math
import os
from typing import TYPE_CHECKING, TypeAlias

from pipeline_lib import hardware
from pipeline_lib.errors import EvoPoseError

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline_lib.jax_devices import JaxStrategy

    Strategy: TypeAlias = tf.distribute.Strategy | JaxStrategy

log = logging.getLogger(__name__)

# TensorFlow's C++ code reads it when it is first imported: warnings and errors, no information.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

CHOICES = ("auto", "cpu", "gpu", "tpu")
TPU_PACKAGES = {"tensorflow": ("tensorflow-tpu", "libtpu"), "jax": ("jax", "libtpu")}
INSTALLATION = {"tensorflow": "tpu", "jax": "jax"}
ON_CPU = "train on the CPU instead with --config device=cpu (snakemake) or --device cpu (scripts)"


def available() -> list[str]:
    """The kinds of devices that this machine and installation offer, best first, the CPU always last."""
    kinds = []
    if hardware.names("tpu") and not _missing_packages():
        kinds.append("tpu")
    if hardware.names("gpu"):
        kinds.append("gpu")
    return [*kinds, "cpu"]


def check(device: str) -> None:
    """Raise `EvoPoseError`, saying what is missing and what to do, when `device` (auto, cpu, gpu, tpu) is not there."""
    if device in ("auto", *available()):
        if importlib.util.find_spec(backend()) is None:
            raise EvoPoseError(
                f"KERAS_BACKEND={backend()}: it is not installed here; run `make install ACCELERATOR={backend()} "
                f"VENV=.venv-{backend()}` and use the programs of .venv-{backend()}/bin, or unset the variable"
            )
        return
    if device == "tpu":
        if not hardware.names("tpu"):
            raise EvoPoseError(
                "device tpu: no TPU here (no /dev/accel*, no /dev/vfio/<number>, TPU_NAME is not set); "
                f"run on a TPU VM, or {ON_CPU}"
            )
        raise EvoPoseError(
            f"device tpu: there is a TPU, but {' and '.join(_missing_packages())} is not installed; "
            f"run `make install ACCELERATOR={INSTALLATION[backend()]}`, or {ON_CPU}"
        )
    if device == "gpu":
        raise EvoPoseError(
            "device gpu: no GPU here (no /dev/nvidia<number>, or CUDA_VISIBLE_DEVICES hides it); "
            f"run on a machine with an NVIDIA driver, or {ON_CPU}"
        )
    raise EvoPoseError(f"device {device!r}: one of {', '.join(CHOICES)} is expected")


def backend() -> str:
    """What Keras computes with, tensorflow or jax; any other is an `EvoPoseError`. Keras is not loaded."""
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if name not in TPU_PACKAGES:
        raise EvoPoseError(
            f"KERAS_BACKEND={name}: networks run on {' or '.join(TPU_PACKAGES)}; unset it or name one of these"
        )
    return name


def accelerators(device: str, cores: int = 1, each: int | None = None) -> int:
    """How many accelerators of a pool a training takes that shares its batch among `cores` of `device`; 0 on the CPU.

    An accelerator has `each` of them, by default what those of this machine have.
    """
    kind = _best(device)
    return 0 if kind == "cpu" else math.ceil(cores / (each or hardware.cores(kind)))


def check_number(device: str, number: int) -> None:
    """Raise `EvoPoseError` when one process can never have `number` accelerators of `device`, of which there is one."""
    if (kind := _best(device)) != "cpu":
        hardware.check(kind, number)


def lease(device: str, number: int | None, title: str, cores: int = 1) -> None:
    """Have `number` accelerators of the kind `device` (auto, cpu, gpu, tpu) for this process alone, until it ends.

    To be called before TensorFlow is loaded, which then sees no others. It waits until they are free; `title` says to others
    what they wait for. None: as many as `cores` need. On the CPU nothing is leased.

    Raises:
        EvoPoseError: the device is missing or there are not so many.
    """
    check(device)
    kind = _best(device)
    if kind != "cpu":
        # Planned on a machine that has none, the number may be 0.
        hardware.lease(kind, number or accelerators(kind, cores), title)


def _best(device: str) -> str:
    return available()[0] if device == "auto" else device


def _missing_packages() -> list[str]:
    missing = []
    for package in TPU_PACKAGES[backend()]:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    return missing


def configure(threads: int, deterministic: bool) -> None:
    """Set TensorFlow's CPU threads and deterministic ops; to be called before its first operation.

    In a process where TensorFlow runs already with other threads, these stay, with a warning.
    """
    import tensorflow as tf

    threading = tf.config.threading
    if (threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()) != (threads,) * 2:
        try:
            threading.set_intra_op_parallelism_threads(threads)
            threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:
            log.warning("TensorFlow has started already: its CPU threads stay as they are, not %d", threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    if backend() == "jax":
        from pipeline_lib import jax_devices

        jax_devices.configure(deterministic)


def select(device: str) -> str:
    """Decide between cpu, gpu and tpu for `device` (auto: the best that works) and hide the GPUs from a CPU training.

    Raises `EvoPoseError` when a device that was asked for by name is missing or the backend cannot use it.
    """
    check(device)
    kind = _best(device)
    if backend() == "jax":
        from pipeline_lib import jax_devices

        return jax_devices.select(kind, device)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if kind == "gpu" and not gpus:
        problem = "there is a GPU, but TensorFlow cannot use it: CUDA libraries are missing (`tensorflow[and-cuda]`)"
        if device == "gpu":
            raise EvoPoseError(f"device gpu: {problem}; install them, or {ON_CPU}")
        log.warning("%s; going on with the CPU", problem)
        kind = "cpu"
    if kind == "cpu" and gpus:
        tf.config.set_visible_devices([], "GPU")
    return kind


def strategy(device: str, count: int = 1) -> "Strategy":
    """The distribution strategy that trains on `count` devices of the kind `device` (auto, cpu, gpu, tpu).

    One CPU or GPU is TensorFlow's default strategy, several are a `MirroredStrategy`, TPU cores a `TPUStrategy`; JAX's are
    a `JaxStrategy`.

    Raises:
        EvoPoseError: the device is missing or there are fewer than `count`.
    """
    kind = select(device)
    if backend() == "jax":
        from pipeline_lib import jax_devices

        return jax_devices.JaxStrategy(kind, count)
    import tensorflow as tf

    if kind == "tpu":
        return _tpu_strategy(count)
    if count == 1:
        return tf.distribute.get_strategy()
    names = [each.name for each in tf.config.list_logical_devices(kind.upper())]
    if len(names) < count:
        raise EvoPoseError(
            f"{count} devices asked for (train.devices), but TensorFlow sees {len(names)} of kind {kind}; "
            "lower train.devices or run where there are more"
        )
    return tf.distribute.MirroredStrategy(names[:count])


def _tpu_strategy(count: int) -> "tf.distribute.TPUStrategy":
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(hardware.remote_name() or "local")
        if hardware.remote_name():
            tf.config.experimental_connect_to_cluster(resolver)
        topology = tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise EvoPoseError(
            f"device tpu: the TPU cannot be started ({str(error).splitlines()[0]}); is another process using it, and is "
            f"TensorFlow the one of `make install ACCELERATOR=tpu`? Otherwise {ON_CPU}"
        ) from None
    cores = len(tf.config.list_logical_devices("TPU"))
    if cores < count:
        raise EvoPoseError(f"{count} devices asked for (train.devices), but the TPU has {cores} cores; lower it")
    if cores == count:
        return tf.distribute.TPUStrategy(resolver)
    assignment = tf.tpu.experimental.DeviceAssignment.build(topology, num_replicas=count)
    return tf.distribute.TPUStrategy(resolver, experimental_device_assignment=assignment)


def ahead(data: "tf.data.Dataset", chosen: "Strategy") -> "tf.data.Dataset":
    """`data`, whose next batch is copied to the one GPU of `chosen` while a step runs.

    The strategies of several devices and JAX do so themselves, and a CPU has nothing to copy. How many batches there are
    is not known of the result.
    """
    if (device := _one_gpu(chosen)) is None:
        return data
    import tensorflow as tf

    return data.apply(tf.data.experimental.prefetch_to_device(device))


def _one_gpu(chosen: "Strategy") -> str | None:
    if backend() == "jax" or count(chosen) > 1:
        return None
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return gpus[0].name if gpus and not isinstance(chosen, tf.distribute.TPUStrategy) else None


def count(chosen: "Strategy") -> int:
    """The number of devices that `chosen` trains on."""
    return chosen.num_replicas_in_sync if backend() == "tensorflow" else len(chosen.devices)


def name(chosen: "Strategy") -> str:
    """What `chosen` trains on, for people: CPU, TPU v3-8, or the GPU's name."""
    if backend() == "jax":
        return chosen.name
    import tensorflow as tf

    if isinstance(chosen, tf.distribute.TPUStrategy):
        return f"TPU {os.environ.get('TPU_ACCELERATOR_TYPE', '')}".strip()
    gpus = tf.config.get_visible_devices("GPU")
    ours: tf.distribute.Strategy = chosen
    used = ours.extended.worker_devices if ours.num_replicas_in_sync > 1 else ()
    if not gpus or any("CPU" in device for device in used):
        return "CPU"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
