"""Fig. 5: convergence of the searches E1, E2, E3, and E3 without weight transfer, and everything they tried."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline_lib.paper import experiments
from pipeline_lib.plots import style, tables
from pipeline_lib.plots.paper import results
from pipeline_lib.plots.paper.results import Place, Search, Status
from pipeline_lib.plots.tables import Individual

MEGA = 1e6
COLORS = (style.BLUE, style.VERMILLION, style.GREEN, style.ORANGE)


def convergence(pools: Mapping[int, Sequence[Individual]]) -> list[tuple[int, float, float]]:
    """(networks evaluated up to its end, best fitness, that network's validation loss) of every generation."""
    evaluated, found = 0, []
    for generation, pool in pools.items():
        evaluated += sum(one.generation == generation for one in pool)
        if pool[0].fitness is not None and pool[0].loss is not None:
            found.append((evaluated, pool[0].fitness, pool[0].loss))
    return found


@style.styled
def draw(place: Place) -> Figure:
    """Top: fitness (solid) and loss (dashed) of the best over evaluations. Bottom: loss over parameters of all networks.

    As in the paper, the search without weight transfer is above only.
    """
    figure = Figure(figsize=(8.2, 8.2))
    top, bottom = figure.subplots(2)
    drawn = []
    for (name, experiment), color in zip(experiments.SEARCHES.items(), COLORS, strict=True):
        run = results.search(place, experiment)
        best = convergence(run.pools)
        drawn += best
        evaluated = [number for number, _, _ in best]
        top.plot(
            evaluated, [fitness for _, fitness, _ in best], "-o", color=color, markersize=3.5, linewidth=2,
            label=style.wrapped(_label(name, run)), gid=f"fitness:{experiment}",
        )  # fmt: skip
        top.plot(
            evaluated, [loss for _, _, loss in best], "--s", color=color, markersize=3, linewidth=1.4,
            gid=f"loss:{experiment}",
        )  # fmt: skip
        if experiment != "E3_scratch":
            shown = [one for one in tables.everyone(run.pools) if one.loss is not None]
            bottom.scatter(
                [one.parameters / MEGA for one in shown], [one.loss for one in shown], s=18, color=color, alpha=0.7,
                linewidths=0, label=_short(name, run), gid=f"networks:{experiment}",
            )  # fmt: skip
    top.set_title("Fig. 5: convergence of the searches")
    top.set_xlabel("fitness function evaluations")
    top.set_ylabel("fitness (solid), validation loss (dashed)")
    top.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom.ticklabel_format(useOffset=False)
    bottom.set_xlabel("parameters (M)")
    bottom.set_ylabel("validation loss\n(mean squared error, peak 255)")
    style.legend_right(top)
    style.legend_right(bottom)
    if not drawn:
        style.nothing_yet(top)
        style.nothing_yet(bottom)
    figure.subplots_adjust(hspace=0.28)
    return figure


def _label(name: str, run: Search) -> str:
    return name if run.status is Status.COMPARABLE else f"{name} ({run.label})"


def _short(name: str, run: Search) -> str:
    return name if run.status is Status.COMPARABLE else f"{name} ({run.status})"
