"""Fig. 4: training and validation loss of the batch sizes of Table 1."""

from matplotlib.figure import Figure

from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots import curves, style
from pipeline_lib.plots.paper import results
from pipeline_lib.plots.paper.results import Place, Status


def draw(place: Place) -> Figure:
    """The curves of every training of Table 1 that exists at `place`; the legend names those that do not."""
    histories = {}
    for row in paper.table1():
        run = results.training(place, experiments.of_batch_size(row))
        label = run.experiment if run.status is Status.COMPARABLE else f"{run.experiment} ({run.label})"
        histories[style.wrapped(label)] = run.history
    figure = curves.draw(histories, "Fig. 4: loss with different batch sizes")
    if not any(histories.values()):
        for axes in figure.axes:
            style.nothing_yet(axes)
    return figure
