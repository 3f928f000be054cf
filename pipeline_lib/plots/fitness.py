"""The convergence of a search (paper, Fig. 5 top)."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline_lib.plots import style
from pipeline_lib.plots.tables import Individual

SPREAD = 0.28  # how far the children of a generation are spread around it


@style.styled
def draw(pools: Mapping[int, Sequence[Individual]]) -> Figure:
    """Best fitness J (solid) and the same network's validation loss (dashed) per generation; every child a marker.

    `pools`: the pool of each generation, best first, as `tables.read_populations` gives them.
    """
    figure = Figure(figsize=(8.2, 4.4))
    axes = figure.subplots()
    born = [
        (generation + _offset(one.child, pool, generation), one.fitness)
        for generation, pool in pools.items()
        for one in pool
        if one.generation == generation and one.fitness is not None
    ]
    best = [
        (generation, pool[0].fitness, pool[0].loss)
        for generation, pool in pools.items()
        if pool[0].fitness is not None and pool[0].loss is not None
    ]
    generations = [generation for generation, _, _ in best]
    axes.plot(
        generations, [fitness for _, fitness, _ in best], "-o", color=style.BLUE, markersize=5, linewidth=2.2,
        label="best fitness J", zorder=4, gid="best",
    )  # fmt: skip
    axes.plot(
        generations, [loss for _, _, loss in best], "--s", color=style.VERMILLION, markersize=5, linewidth=1.8,
        label="its validation loss", zorder=3, gid="loss",
    )  # fmt: skip
    axes.scatter(
        [place for place, _ in born], [fitness for _, fitness in born], s=26, color=style.SKY, alpha=0.75, linewidths=0,
        label="fitness of each child", zorder=2, gid="children",
    )  # fmt: skip
    axes.set_xlabel("generation (0: the ancestor)")
    axes.set_ylabel("fitness J and validation loss\n(mean squared error, peak 255; lower is better)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(min(pools) - 0.5, max(pools) + 0.5)
    failed = sum(
        one.status != "ok" for generation, pool in pools.items() for one in pool if one.generation == generation
    )
    if failed:
        axes.plot([], [], " ", label=f"not shown: {failed} failed")
    style.legend_right(axes)
    return figure


def _offset(child: int, pool: Sequence[Individual], generation: int) -> float:
    children = 1 + max(one.child for one in pool if one.generation == generation)
    return 0.0 if children == 1 else SPREAD * (2 * child / (children - 1) - 1)
