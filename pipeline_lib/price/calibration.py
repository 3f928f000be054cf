"""How fast this device is: a training step, a validation step and the start of a training, measured on the networks of a run.

The real step of the real network is run on one batch in memory. Where the records are there already, reading them is measured
too, since the slower of both decides.
"""

import logging
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline_lib import devices
from pipeline_lib.data import records
from pipeline_lib.nets import registry
from pipeline_lib.nets.layers import count_network
from pipeline_lib.nets.precision import precision
from pipeline_lib.price.speed import Speed
from pipeline_lib.price.work import SEARCH, Training
from pipeline_lib.train import memory, trainer

log = logging.getLogger(__name__)

CPU_PART = 16
"""Persons at most in a step that is measured on a CPU, which larger ones keep no busier."""

LEAST_STEPS, MOST_BATCHES = 3, 100
_FOREVER = 10**6


def measure(
    trainings: Sequence[Training], device: str, seconds: float, manifests: Mapping[str, Path] | None = None
) -> list[Speed]:
    """The speed of one `device` on the networks of `trainings`, as many as `seconds` allow, at least that of one.

    First comes the ancestor's (children are as it is, but for their size), then those that take most. `manifests`: of the
    training records, by the name of the training; what is not there is not measured. Refiners, whose inputs are others, are
    not measured. Raises `EvoPoseError` for a device that is not there, and `TrainingFailed` where no part of a batch fits.
    """
    networks = _in_order(trainings)
    settings = networks[0].settings
    devices.configure(settings.cpu_threads, settings.deterministic)
    strategy = devices.strategy(device, 1)
    begun = time.perf_counter()
    found: list[Speed] = []
    for number, training in enumerate(networks):
        left = seconds - (time.perf_counter() - begun)
        if found and left < found[-1].start + LEAST_STEPS * found[-1].train * found[-1].part:
            log.info("no time is left to measure %s", ", ".join(one.name for one in networks[number:]))
            break
        log.info("measuring %s (%.3g G multiply-adds)", training.name, training.multiply_adds / 1e9)
        share = max(left, 0.0) / (len(networks) - number)
        found.append(_measure(training, device, strategy, share, (manifests or {}).get(training.name)))
    return found


def _in_order(trainings: Iterable[Training]) -> list[Training]:
    """One of each network and settings, searched ones first; what is measured is the network that the training has."""
    found: dict[Any, Training] = {}
    for one in trainings:
        if registry.is_refiner(one.network):
            continue
        # Children differ in size alone.
        what = one.part if one.part == SEARCH else (one.network, one.settings)
        found.setdefault(what, one)
    searched = [one for one in found.values() if one.part == SEARCH]
    others = [one for one in found.values() if one.part != SEARCH]
    return searched + sorted(others, key=lambda one: -one.multiply_adds * one.images)


def part(settings: Any, device: str) -> int:
    """Persons that one device has in a step at once."""
    own = max(1, settings.batch // settings.devices // settings.accumulation)
    return min(own, CPU_PART) if device == "cpu" else own


def _measure(training: Training, device: str, strategy: Any, seconds: float, manifest: Path | None) -> Speed:
    kind = devices.select(device)
    persons = part(training.settings, kind)
    while True:
        try:
            return _step(training, strategy, persons, seconds, kind, manifest)
        except Exception as error:
            if not memory.exhausted(error) or persons == 1:
                raise
            problem = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        persons = (persons + 1) // 2
        log.warning("%s: does not fit into memory (%s); %d persons at once are tried", training.name, problem, persons)
        keras.utils.clear_session()


def _step(training: Training, strategy: Any, persons: int, seconds: float, kind: str, manifest: Path | None) -> Speed:
    import tensorflow as tf

    # A call has many steps only where a device waits for its host otherwise.
    steps = 1 if kind == "cpu" else training.settings.steps_per_execution
    settings = training.settings.model_copy(
        update={"batch": persons, "accumulation": 1, "devices": 1, "steps_per_execution": steps}
    )
    begun = time.perf_counter()
    with strategy.scope(), precision(settings.precision):
        network = trainer.build(training.network, settings, seed=0)
    rate = keras.optimizers.schedules.CosineDecay(1e-6, _FOREVER)
    model = trainer.compiled(network, rate, settings, steps, strategy, training.network.supervised())
    data = tf.data.Dataset.from_tensors(_batch(training, persons)).repeat()
    times = _Times(begun, seconds, steps)
    model.fit(data, steps_per_epoch=steps, epochs=_FOREVER, callbacks=[times], shuffle=False, verbose=0)
    step = statistics.median(times.steps)
    # A pass has its own fixed costs; forward steps are at least as fast as training steps.
    batches = min(MOST_BATCHES, max(LEAST_STEPS, int(seconds / 4 / step)))
    model.evaluate(data.take(1), verbose=0)  # traced
    begun = time.perf_counter()
    model.evaluate(data.take(batches), verbose=0)
    validate = (time.perf_counter() - begun) / batches
    read = None if manifest is None else _read(manifest, training, seconds / 4)
    found = Speed(
        network=training.name,
        multiply_adds=count_network(training.network)["multiply_adds"],
        train=step / persons,
        validate=validate / persons,
        read=read,
        start=max(0.0, times.first - step * steps),
        part=persons,
    )
    log.info(
        "%s: %.1f images/s in training (%d at once), start %.1f s%s",
        *(training.name, 1 / found.train, persons, found.start),
        "" if read is None else f"; {1 / read:.1f} images/s are read",
    )
    keras.utils.clear_session()
    return found


def _batch(training: Training, persons: int) -> tuple[Any, Any, Any]:
    network, rng = training.network, np.random.default_rng(0)
    images = rng.integers(0, 256, (persons, network.height, network.width, 3), np.uint8)
    keypoints = rng.uniform(0, network.width, (persons, network.keypoints, 3)).astype(np.float32)
    keypoints[..., 2] = 2
    return images, keypoints, np.ones(persons, np.float32)


class _Times(keras.callbacks.Callback):
    """Seconds of each step, and of the first one with all that is done before it; ends when the time is over."""

    def __init__(self, begun: float, seconds: float, steps: int) -> None:
        super().__init__()
        self._last, self._end, self._number = begun, begun + seconds, steps
        self.first = 0.0
        self.steps: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        if epoch == 0:
            self.first = now - self._last
        else:
            self.steps.append((now - self._last) / self._number)
        self._last = now
        if now >= self._end and len(self.steps) >= LEAST_STEPS:
            self.model.stop_training = True


def _read(manifest: Path, training: Training, seconds: float) -> float:
    """Seconds an image of the input pipeline, the start aside."""
    settings, found = training.settings, records.read_manifest(manifest)
    data = records.dataset(
        found,
        height=training.network.height,
        width=training.network.width,
        batch=min(settings.batch, found.examples),
        seed=0,
        threads=settings.cpu_threads,
        augmentation=settings.augmentation,
        epochs=_FOREVER,
        shuffle=True,
        drop_remainder=True,
    )
    batches = iter(data)
    next(batches)
    begun, number = time.perf_counter(), 0
    while not number or time.perf_counter() - begun < seconds:
        number += len(next(batches)[0])
    return (time.perf_counter() - begun) / number


def name(device: str) -> str:
    """The kind of device that is measured for `device`, and how Keras computes."""
    return f"{devices.select(device)}, {keras.backend.backend()}"
