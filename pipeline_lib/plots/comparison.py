"""What weight transfer is worth: generation 1 beside its twins from scratch and the ancestor trained on."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_lib.plots import style
from pipeline_lib.plots.tables import Comparison, markdown

ROW_HEIGHT = 0.62  # inches
APART = 0.17  # between the two arrows of a child, in rows
HEADER = (
    *("child", "mutation", "inherited", "transfer: start", "transfer: end", "scratch: start", "scratch: end"),
    "control: end",
)


@style.styled
def draw(rows: Sequence[Comparison]) -> Figure:
    """Per child an arrow from the validation loss before its training to that after it, with transfer and from scratch.

    Vertical lines are the control's: the ancestor before and after as many further steps.
    """
    figure = Figure(figsize=(8.6, 1.9 + ROW_HEIGHT * len(rows)))
    axes = figure.subplots()
    place = np.arange(len(rows))
    control = (rows[0].control_initial, ":", "ancestor"), (rows[0].control_final, "-", "ancestor trained on (control)")
    for loss, line, label in control:
        if loss is not None:
            axes.axvline(loss, color=style.GREY, linestyle=line, linewidth=1.4, label=label)
    _arrows(axes, place - APART, rows, "transferred", style.BLUE, "weight transfer")
    _arrows(axes, place + APART, rows, "scratch", style.VERMILLION, "from scratch")
    axes.set_yticks(place, [_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.set_xscale("log")
    axes.margins(x=0.06)
    style.plain_log_labels(axes.xaxis)
    axes.set_xlabel("validation loss (mean squared error, peak 255; log scale)\nhollow: before training, filled: after")
    style.legend_below(axes, columns=2, offset=-0.75 / (ROW_HEIGHT * len(rows)))
    return figure


def _arrows(axes: Axes, place: np.ndarray, rows: Sequence[Comparison], kind: str, color: str, label: str) -> None:
    # What is not a number is not drawn: a training that failed has no arrow.
    before, after = (
        np.array([getattr(row, f"{kind}_{end}") for row in rows], dtype=float) for end in ("initial", "final")
    )
    axes.hlines(place, after, before, color=color, linewidth=1.8, alpha=0.6)
    axes.scatter(
        before, place, s=52, facecolors="white", edgecolors=color, linewidths=1.8, zorder=3, gid=f"{kind}_initial"
    )
    axes.scatter(after, place, s=58, color=color, zorder=4, label=label, gid=f"{kind}_final")


def _label(row: Comparison) -> str:
    return f"{row.mutation.replace('; ', chr(10))}\nchild {row.child}, {row.inherited:.0%} inherited"


def cells(rows: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """The comparison as text, in the columns of `HEADER`."""
    return [
        (
            *(str(row.child), row.mutation, f"{row.inherited:.0%}"),
            *(_loss(row.transferred_initial), _loss(row.transferred_final)),
            *(_loss(row.scratch_initial), _loss(row.scratch_final)),
            _loss(row.control_final),
        )
        for row in rows
    ]


def summary_text(rows: Sequence[Comparison]) -> str:
    """The comparison as a table (Markdown that reads well in a terminal) and one sentence on its outcome."""
    return f"{markdown(HEADER, cells(rows), left=2)}\n\n{outcome(rows)}"


def outcome(rows: Sequence[Comparison]) -> str:
    """How the means of the children whose trainings did not fail compare, in words."""
    pairs = [
        (row.transferred_final, row.scratch_final)
        for row in rows
        if row.transferred_final is not None and row.scratch_final is not None
    ]
    failed = len(rows) - len(pairs)
    note = f" {failed} of {len(rows)} children are left out: a training failed." if failed else ""
    if not pairs:
        return f"Nothing can be compared.{note}"
    transferred, scratch = (float(np.mean(values)) for values in zip(*pairs, strict=True))
    lower = sum(own < twin for own, twin in pairs)
    return (
        f"Mean validation loss after equally many steps: {transferred:.1f} with weight transfer, {scratch:.1f} from "
        f"scratch, {_loss(rows[0].control_final)} for the ancestor trained on (from {_loss(rows[0].control_initial)}); "
        f"lower with transfer for {lower} of {len(pairs)} children.{note}"
    )


def _loss(value: float | None) -> str:
    return "failed" if value is None else f"{value:.1f}"
