"""history.csv: what was measured in each epoch."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import write_csv

COLUMNS = (
    "epoch",
    "step",
    "loss",
    "data_loss",
    "val_loss",
    "learning_rate",
    "seconds",
    "images_per_second",
    "device",
    "devices",
)


class History:
    """The rows so far; the whole file is written, atomically, with every row.

    Columns: epoch (0: before the first step), step (steps done), loss (with L2), data_loss (without), val_loss,
    learning_rate (of the epoch's last step), seconds (of training and validation), images_per_second (of training), device,
    devices. What was not measured is empty.
    """

    def __init__(self, path: str | os.PathLike[str], device: str, devices: int) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        self._device = {"device": device, "devices": devices}

    def add(self, **measured: Any) -> None:
        """Add a row of the named columns and write the file."""
        self.restore([*self.rows, {**measured, **self._device}])

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Have these rows, and write the file: of a training that is over but for its weights, nobody else would."""
        self.rows = [dict(row) for row in rows]
        write_csv(self.path, self.rows, COLUMNS)
