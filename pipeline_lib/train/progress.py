"""Progress of a training as log lines: how far, how fast, how long still."""

import logging
import time
from typing import Any

import keras

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two lines within an epoch."""


class Progress(keras.callbacks.Callback):
    """Logs a line every 5 seconds and at the end of each epoch, and measures speed.

    Args:
        title: what is trained; begins every line.
        epochs, steps, batch: length of the training: epochs of `steps` steps with `batch` images.
    """

    def __init__(self, title: str, epochs: int, steps: int, batch: int) -> None:
        super().__init__()
        self.title = title
        self.epochs, self.steps, self.batch = epochs, steps, batch
        self.images_per_second: float | None = None
        self.seconds = 0.0
        self._epoch = 0
        self._begun = (0, 0)
        # (time, steps done) from which on time left and speed are measured: the first step's end, since it is compiled in it
        self._origin: tuple[float, int] | None = None
        self._mark: tuple[float, int] | None = None

    def begin_at(self, epoch: int, step: int) -> None:
        """Training goes on after `epoch` epochs and `step` steps of the next one."""
        self._begun = (epoch, step)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._begin = self._spoken = time.monotonic()
        if self._origin is not None:
            self._mark = (self._begin, epoch * self.steps)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        epoch, skipped = self._begun
        now, done = time.monotonic(), self._epoch * self.steps + batch + 1 + (skipped if self._epoch == epoch else 0)
        if self._origin is None or self._mark is None:
            self._origin = self._mark = (now, done)
            log.info("%s: the first step is compiled and done, %.1f s", self.title, now - self._begin)
        if done > self._mark[1]:
            self.images_per_second = (done - self._mark[1]) * self.batch / (now - self._mark[0])
        if now - self._spoken >= INTERVAL:
            self._say(f"loss {float(logs['loss']):.2f}", done)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._spoken >= INTERVAL:
            self._say(f"validation, batch {batch + 1}", (self._epoch + 1) * self.steps)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds = time.monotonic() - self._begin
        self._say(f"loss {logs['loss']:.2f}, validation loss {logs['val_loss']:.2f}", (epoch + 1) * self.steps)

    def _say(self, what: str, done: int) -> None:
        self._spoken = time.monotonic()
        total = self.epochs * self.steps
        parts = [f"{self.title}: {100 * done // total} %, epoch {self._epoch + 1}/{self.epochs}", what]
        if self.images_per_second:
            parts.append(f"{self.images_per_second:,.0f} images/s")
        if self._origin and done > self._origin[1]:
            left = (self._spoken - self._origin[0]) / (done - self._origin[1]) * (total - done)
            parts.append(f"{duration(left)} left")
        log.info("%s", ", ".join(parts))


def duration(seconds: float) -> str:
    """65 s -> 1:05; 3,700 s -> 1:01:40."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
