"""A training that only takes its time: it goes through the files, states and signals of a real one, without TensorFlow."""

import logging
import os
import signal
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from pipeline_lib import artifacts
from pipeline_lib.config import Simulation, TrainSettings
from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets import files
from pipeline_lib.nets.layers import count_network
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.search.simulation import COLUMNS, TIMELINE, killed_at, outcome, read_table
from pipeline_lib.train import state
from pipeline_lib.train.history import History

log = logging.getLogger(__name__)

DEVICE = "simulated"
START = 1.5
"""The loss of the first epoch is so many times that of the last."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(
    *,
    initial: str | PathLike[str],
    weights: str | PathLike[str],
    history: str | PathLike[str],
    settings: TrainSettings,
    simulation: Simulation,
    seed: int,
    title: str = "training",
    sleep: Callable[[float], None] = time.sleep,
    die: Callable[[], None] = _die,
) -> None:
    """Write the initial weights as trained ones, and a history whose smallest loss is that of the simulation.

    An epoch takes its share of the time; after each one a state is saved, from which a later process goes on. An attempt that
    is drawn to be killed calls `die` in between. Raises `ArtifactError` for files that are missing or damaged.
    """
    network, tensors = files.load(initial)
    if not isinstance(network, Architecture):
        raise ArtifactError(f"{initial}: a search network is expected; only searches are simulated")
    known = read_table(simulation.table) if simulation.table else None
    result = outcome(network.genotype, count_network(network)["multiply_adds"], simulation, seed, known)
    inputs = {
        "initial": state.digest(tensors),
        "settings": settings.model_dump(mode="json"),
        "simulation": simulation.model_dump(mode="json"),
        "seed": seed,
    }
    with state.opened(weights, state.key(inputs)) as store:
        saved = store.load()
        store.count("started")
        written = History(history, DEVICE, 1)
        if saved:
            written.restore(saved.rows)
        timeline = _Timeline(Path(weights).with_name(TIMELINE), store.attempts["started"], result.seconds)
        epoch_seconds = result.seconds / settings.epochs
        done = saved.epoch if saved else 0
        end = killed_at(network.genotype, simulation, seed, store.attempts["started"])
        left = None if end is None else end * (settings.epochs - done) * epoch_seconds
        for epoch in range(done, settings.epochs):
            if left is not None and left < epoch_seconds:
                sleep(left)
                timeline.write(killed=True)
                log.warning("%s: killed in epoch %d, as drawn", title, epoch + 1)
                die()
                return
            sleep(epoch_seconds)
            left = None if left is None else left - epoch_seconds
            share = 1 - (epoch + 1) / settings.epochs
            loss = result.loss * (1 + (START - 1) * share)
            written.add(epoch=epoch + 1, step=epoch + 1, val_loss=loss, seconds=round(epoch_seconds, 3))
            store.save(state.State(epoch + 1, 0, {}, rows=written.rows))
            timeline.write(saved=True)
            log.info("%s: epoch %d/%d, simulated validation loss %.2f", title, epoch + 1, settings.epochs, loss)
        files.save(weights, network, tensors)
        timeline.write(saved=True)
        store.remove()


class _Timeline:
    """The attempts of a training so far, as a CSV file; the clock is the system's."""

    def __init__(self, path: Path, attempt: int, needed: float) -> None:
        self._path = path
        now = time.time()
        earlier = artifacts.read_csv(path) if attempt > 1 and path.exists() else []
        self._row: dict[str, Any] = {"attempt": attempt, "begun": now, "saved": now, "ended": now, "killed": 0}
        self._row["needed"] = needed
        self._rows: list[dict[str, Any]] = [*earlier, self._row]
        self.write()

    def write(self, *, saved: bool = False, killed: bool = False) -> None:
        """Note the time, at which a state may have been saved or the process ends."""
        self._row["ended"] = time.time()
        if saved:
            self._row["saved"] = self._row["ended"]
        self._row["killed"] = int(killed)
        artifacts.write_csv(self._path, self._rows, COLUMNS)
