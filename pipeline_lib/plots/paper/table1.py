"""Table 1: training time and AP of SimpleBaseline for batch sizes, with and without warm-up and scaling of the rate."""

from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots.pages import Table
from pipeline_lib.plots.paper import results
from pipeline_lib.plots.paper.results import Place, Training
from pipeline_lib.plots.paper.sheet import LEGEND, Sheet, noted, pair

HEADER = ("batch", "warm-up", "scaled rate", "training time (h)", "AP", "run here")
COLUMNS = (
    *("batch", "warmup", "scale_rate", "paper_hours", "hours", "paper_AP", "AP"),
    *("status", "described", "experiment"),
)


def sheet(place: Place) -> Sheet:
    """The table from the results at `place`."""
    runs = [(row, results.training(place, experiments.of_batch_size(row))) for row in paper.table1()]
    cells = [
        (
            *(f"{row.batch}", _word(row.warmup), _word(row.scale_rate)),
            pair(f"{row.hours:.2f}", run.cell(run.hours, hours)),
            pair(f"{row.AP:.1f}", run.cell(run.metrics.get("AP"), "{:.1f}".format)),
            run.described,
        )
        for row, run in runs
    ]
    return Sheet(
        title="Table 1: batch size",
        blocks=[
            "SimpleBaseline (ResNet-50) trained with different batch sizes; AP on the validation split with boxes of a person "
            "detector. Hours are those of all epochs, validation included; the paper's are of a TPU v3-8.",
            LEGEND,
            Table(HEADER, cells),
            *noted(results.notes([run for _, run in runs])),
        ],
        columns=COLUMNS,
        rows=[_row(row, run) for row, run in runs],
    )


def _row(row: paper.BatchSize, run: Training) -> dict[str, object]:
    return {
        "batch": row.batch,
        "warmup": _word(row.warmup),
        "scale_rate": _word(row.scale_rate),
        "paper_hours": row.hours,
        "hours": run.hours,
        "paper_AP": row.AP,
        "AP": run.metrics.get("AP"),
        "status": str(run.status),
        "described": run.described,
        "experiment": run.experiment,
    }


def hours(value: float) -> str:
    """Hours as the paper has them; those of a smoke run with digits that are not all zero."""
    return f"{value:.2f}" if value >= 1 else f"{value:.2g}"


def _word(yes: bool) -> str:
    return "yes" if yes else "no"
