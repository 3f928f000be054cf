"""Fig. 4: training and validation loss of the batch sizes of Table 1."""

from matplotlib.figure import Figure

from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots import curves
from pipeline_lib.plots.paper import results
from pipeline_lib.plots.paper.results import Place, Status


def draw(place: Place) -> Figure:
    """The curves of every training of Table 1 that exists at `place`; the legend names those that do not."""
    histories = {}
    for row in paper.table1():
        run = results.training(place, experiments.of_batch_size(row))
        comparable = run.status is Status.COMPARABLE
        label = f"{run.experiment}{'' if comparable else f' ({run.described})'}"
        histories[label] = run.history
    return curves.draw(histories, "Fig. 4: loss with different batch sizes")
