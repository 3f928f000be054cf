"""A training that does not fit into memory is tried once more, with parts of the batch half as large."""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

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


def within(attempt: Callable[[TrainSettings], Result], settings: TrainSettings, store: Store, title: str) -> Result:
    """What `attempt` gives, if need be for `halved` settings; a later process begins with those.

    Batch statistics are then those of the smaller parts. Raises `TrainingFailed` when they do not fit into memory either.
    """
    smaller = halved(settings)
    tries = [settings, *([smaller] if smaller else [])]
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
        part = tried.batch // tried.devices // tried.accumulation
        if number < len(tries):
            log.warning(
                "%s: %d persons at once do not fit into memory (%s); half as many are tried", title, part, problem
            )
            keras.utils.clear_session()
            gc.collect()
    raise TrainingFailed(
        f"{title}: out of memory with {part} persons at once ({problem}); lower train.batch, or raise train.accumulation"
    )
