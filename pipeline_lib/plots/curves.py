"""Training curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline_lib.plots import style
from pipeline_lib.plots.tables import Epoch


@style.styled
def draw(histories: Mapping[str, Sequence[Epoch]], title: str = "") -> Figure:
    """Training loss (thin), validation loss (thick, with markers) and learning rate per epoch of each named history.

    The training loss is without L2 and averaged over the epoch. Epoch 0 is before the first step.
    """
    figure = Figure(figsize=(8.2, 6.0))
    losses, rates = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    for (name, history), color in zip(histories.items(), _colors(len(histories)), strict=True):
        # A line through a single point would not be seen.
        alone = "x" if sum(row.data_loss is not None for row in history) == 1 else ""
        _line(losses, history, "data_loss", name, color=color, linewidth=1.1, linestyle="--", marker=alone)
        _line(losses, history, "val_loss", name, color=color, linewidth=2, marker="o", markersize=4.5)
        _line(rates, history, "learning_rate", name, color=color, linewidth=1.6, marker=".", markersize=7)
    losses.set_yscale("log")
    style.plain_log_labels(losses.yaxis)
    losses.set_ylabel("loss\n(mean squared error, peak 255; log scale)")
    losses.set_title(title)
    rates.set_ylabel("learning rate")
    rates.set_ylim(bottom=0)
    rates.set_xlabel("epoch")
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    single = "x" if all(sum(row.data_loss is not None for row in rows) == 1 for rows in histories.values()) else ""
    handles = [
        Line2D([], [], color=style.GREY, linestyle="--", linewidth=1.1, marker=single, label="training data"),
        Line2D([], [], color=style.GREY, marker="o", linewidth=2, label="validation"),
        *(
            Line2D([], [], color=color, linewidth=5, label=name)
            for name, color in zip(histories, _colors(len(histories)), strict=True)
        ),
    ]
    style.legend_right(losses, handles=handles, ncols=1 + (len(handles) - 1) // 18)
    return figure


def _line(axes: Axes, history: Sequence[Epoch], column: str, name: str, **options: Any) -> None:
    measured = [(row.epoch, value) for row in history if (value := getattr(row, column)) is not None]
    axes.plot([epoch for epoch, _ in measured], [value for _, value in measured], gid=f"{column}:{name}", **options)


def _colors(number: int) -> list[Any]:
    if number <= len(style.SERIES):
        return list(style.SERIES[:number])
    return list(matplotlib.colormaps[style.SEQUENTIAL](np.linspace(0, 0.95, number)))
