"""A training that does not fit into memory is tried once more, with parts of the batch half as large."""

import gc
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import keras

from pipeline_lib.config import TrainSettings
from pipeline_lib.errors import TrainingFailed
from pipeline_lib.train.state import Store

log = logging.getLogger(__name__)

OUT_OF_MEMORY = "out_of_memory"
"""What the attempts of a training count it as."""

# TensorFlow's and JAX's errors have no class in common; what CUDA, XLA and oneDNN (whose status 1 it is) say is in their text.
_SIGNS = (
    *("resource_exhausted", "out of memory", "oom when allocating", "failed to allocate"),
    "status: 1, message: could not",
)
_BRIEF = 200

Result = TypeVar("Result")


def exhausted(error: BaseException) -> bool:
    """Whether `error` says that memory, of a device or of the machine, did not suffice."""
    return isinstance(error, MemoryError) or (
        type(error).__name__ == "ResourceExhaustedError" or any(sign in str(error).lower() for sign in _SIGNS)
    )


def halved(settings: TrainSettings) -> TrainSettings | None:
    """The settings with twice as many parts of a batch, or None where a part cannot be halved (or the backend has none)."""
    accumulation = 2 * settings.accumulation
    if settings.batch // settings.devices % accumulation or keras.backend.backend() != "tensorflow":
        return None
    # A refiner's settings stay what they are.
    return settings.model_copy(update={"accumulation": accumulation})


def kills() -> dict[str, Any]:
    """How many processes this system has killed for want of memory since it was started; empty where it does not say."""
    with suppress(OSError):
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
        if found:
            return {"boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "oom_kills": int(found[1])}
    return {}


def killed(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Whether the system killed processes between two answers of `kills`, as far as it says."""
    if before is None or not now or before.get("boot") != now["boot"]:
        return False
    return isinstance(before.get("oom_kills"), int) and before["oom_kills"] < now["oom_kills"]


def within(attempt: Callable[[TrainSettings], Result], settings: TrainSettings, store: Store, title: str) -> Result:
    """What `attempt` gives, if need be for `halved` settings; a later process begins with those.

    A process that was killed while the system killed processes for want of memory did not fit into it: after the preemption
    of a machine its successor finds another boot, after one by signal no such kill. Batch statistics of `halved` settings are
    those of the smaller parts. Raises `TrainingFailed` when they do not fit into memory either.
    """
    now = kills()
    with store.running(now) as before:
        if killed(before, now):
            store.count(OUT_OF_MEMORY)
            log.warning("%s: the system killed the attempt before this one for want of memory", title)
            if store.attempts[OUT_OF_MEMORY] > 1:
                raise _failed(title, _part(_tries(settings)[-1]), "killed by the system")
        return _tried(attempt, settings, store, title)


def _tries(settings: TrainSettings) -> list[TrainSettings]:
    smaller = halved(settings)
    return [settings, *([smaller] if smaller else [])]


def _part(settings: TrainSettings) -> int:
    return settings.batch // settings.devices // settings.accumulation


def _failed(title: str, part: int, problem: str) -> TrainingFailed:
    return TrainingFailed(
        f"{title}: out of memory with {part} persons at once ({problem}); lower train.batch, or raise train.accumulation"
    )


def _tried(attempt: Callable[[TrainSettings], Result], settings: TrainSettings, store: Store, title: str) -> Result:
    tries = _tries(settings)
    if store.attempts.get(OUT_OF_MEMORY):
        tries = tries[-1:]
    for number, tried in enumerate(tries, start=1):
        try:
            return attempt(tried)
        except Exception as error:
            if not exhausted(error):
                raise
            problem = " ".join(str(error).split())[:_BRIEF] or type(error).__name__
        # Outside of the handler, whose traceback holds the network.
        store.count(OUT_OF_MEMORY)
        part = _part(tried)
        if number < len(tries):
            log.warning(
                "%s: %d persons at once do not fit into memory (%s); half as many are tried", title, part, problem
            )
            keras.utils.clear_session()
            gc.collect()
    raise _failed(title, part, problem)
