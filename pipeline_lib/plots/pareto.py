"""Loss against size of everything that a search has tried (paper, Fig. 5 bottom)."""

from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from pipeline_lib.errors import ArtifactError
from pipeline_lib.plots import style
from pipeline_lib.plots.tables import Individual

MEGA = 1e6


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (size, loss) that no other beats in one without losing in the other, by ascending size."""
    kept: list[tuple[float, float]] = []
    for size, loss in sorted(points):
        if not kept or loss < kept[-1][1]:
            kept.append((size, loss))
    return kept


@style.styled
def draw(individuals: Sequence[Individual], champion: tuple[int, int]) -> Figure:
    """Validation loss over parameters of `individuals`, coloured by the generation they were born in.

    Survivors of a selection are ringed, `champion` (generation, child) is starred, the non-dominated front drawn.
    Raises `ArtifactError` when the champion is not among the individuals.
    """
    shown = [one for one in individuals if one.loss is not None]
    best = next((one for one in shown if one.name == champion), None)
    if best is None or best.loss is None:
        raise ArtifactError(f"the champion, generation {champion[0]}, child {champion[1]}, is in no population file")
    figure = Figure(figsize=(8.2, 4.8))
    axes = figure.subplots()
    size = np.array([one.parameters / MEGA for one in shown])
    loss = np.array([one.loss for one in shown])
    born = np.array([one.generation for one in shown])
    edges = np.arange(born.min(), born.max() + 2) - 0.5
    points = axes.scatter(
        size, loss, c=born, s=44, linewidths=0, alpha=0.9, zorder=3, label="network", gid="networks",
        cmap=matplotlib.colormaps[style.SEQUENTIAL].resampled(len(edges) - 1), norm=BoundaryNorm(edges, len(edges) - 1),
    )  # fmt: skip
    survivor = np.array([one.survivor for one in shown])
    axes.scatter(
        size[survivor], loss[survivor], s=130, facecolors="none", edgecolors=style.VERMILLION, linewidths=1.6, zorder=4,
        label="survived a selection", gid="survivors",
    )  # fmt: skip
    axes.scatter(
        best.parameters / MEGA, best.loss, marker="*", s=260, color=style.ORANGE, edgecolors="black", linewidths=0.8,
        zorder=5, label="champion (lowest fitness)", gid="champion",
    )  # fmt: skip
    edge = front(zip(size.tolist(), loss.tolist(), strict=True))
    ends = (edge[0][0], loss.max()), (size.max(), edge[-1][1])  # what the front dominates is above and right of it
    axes.plot(
        *zip(ends[0], *edge, ends[1], strict=True), color=style.GREY, linewidth=1.4, drawstyle="steps-post", zorder=2,
        label="front: none is smaller and better", gid="front",
    )  # fmt: skip
    axes.set_xlabel("parameters (M)")
    axes.set_ylabel("validation loss\n(mean squared error, peak 255)")
    axes.margins(0.07)
    generations = range(int(born.min()), int(born.max()) + 1)
    step = max(1, len(generations) // 10)
    bar = figure.colorbar(points, ax=axes, ticks=list(generations)[::step], pad=0.02)
    bar.set_label("generation")
    bar.outline.set_visible(False)
    style.legend_below(axes, columns=2)
    return figure
