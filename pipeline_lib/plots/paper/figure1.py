"""Fig. 1: accuracy over multiply-adds of EvoPose2D, SimpleBaseline and HRNet, circles as large as their files."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots import networks, style
from pipeline_lib.plots.networks import GIGA, MEGA
from pipeline_lib.plots.paper import results
from pipeline_lib.plots.paper.results import Place, Status, Training

AREA = 4.0
"""Of a circle, in square points for an MB."""

FAMILIES = {
    "evopose2d": ("EvoPose2D", style.BLUE),
    "simple_baseline": ("SimpleBaseline [14]", style.VERMILLION),
    "hrnet": ("HRNet [24]", style.GREEN),
}


@dataclass(frozen=True)
class Point:
    """A network in the figure: AP in percent, 10^9 multiply-adds, MB."""

    label: str
    family: str
    flops_G: float
    AP: float
    size_MB: float


def family(network: str) -> str | None:
    """The family of the figure that a network belongs to."""
    return next((name for name in FAMILIES if network.startswith(name)), None)


def printed() -> list[Point]:
    """The paper's points."""
    return [
        Point(f"{row.method} {row.height}x{row.width}", name, float(row.flops_G), row.AP, float(row.size_MB))
        for row, name in _rows()
        if row.flops_G is not None and row.size_MB is not None
    ]


def own(place: Place) -> list[tuple[Training, Point | None]]:
    """What exists of the experiment behind each of the paper's points, and its own point where it has one."""
    found: dict[str, tuple[Training, Point | None]] = {}
    for row, name in _rows():
        experiment = experiments.of_result(row)
        if experiment is None or experiment in found:
            continue
        run = results.training(place, experiment)
        ap = run.metrics.get("AP")
        if ap is None or run.size is None:
            found[experiment] = run, None
            continue
        counted = networks.named(row.network, run.size)[0]
        flops, size = counted.profiled_multiply_adds / GIGA, counted.file_bytes / MEGA
        found[experiment] = run, Point(run.experiment, name, flops, ap, size)
    return list(found.values())


def _rows() -> list[tuple[paper.Result, str]]:
    """The rows of Table 3 that the figure shows, and their families.

    They are the paper's own networks, and the others with ImageNet weights as it quotes them (COCO val).
    """
    return [
        (row, name)
        for row in paper.table3()
        if row.dataset == "coco_val" and not row.starred and (name := family(row.network))
        if name == "evopose2d" or (row.pretrained and not row.implemented_by_the_paper)
    ]


@style.styled
def draw(place: Place) -> Figure:
    """The paper's points as hollow circles, those of `place` filled, or crosses where they cannot be compared."""
    figure = Figure(figsize=(8.2, 5.4))
    axes = figure.subplots()
    points, runs = printed(), own(place)
    for name, (_, color) in FAMILIES.items():
        line = sorted((point for point in points if point.family == name), key=lambda point: point.flops_G)
        axes.scatter(
            *_places(line), s=_areas(line), facecolors="none", edgecolors=color, linewidths=1.5, zorder=3,
            gid=f"paper:{name}",
        )  # fmt: skip
        measured = [point for run, point in runs if point and point.family == name and run.status is Status.COMPARABLE]
        axes.scatter(*_places(measured), s=_areas(measured), color=color, linewidths=0, zorder=4, gid=f"own:{name}")
    others = [(run, point) for run, point in runs if point and run.status is not Status.COMPARABLE]
    for run, point in others:
        axes.scatter(
            *_places([point]), s=_areas([point]), color=style.GREY, marker="X", linewidths=0, zorder=4,
            gid=f"other:{run.experiment}",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(0.09)
    style.plain_log_labels(axes.xaxis)
    axes.set_xlabel("multiply-adds (G, log scale)")
    axes.set_ylabel("AP on COCO val2017 (%)")
    axes.set_title("Fig. 1: accuracy, cost and file size")
    style.legend_below(axes, columns=2, offset=-0.15, handles=_handles(runs))
    return figure


def _places(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.flops_G for point in points], [point.AP for point in points]


def _areas(points: Sequence[Point]) -> list[float]:
    return [AREA * point.size_MB for point in points]


def _handles(runs: Sequence[tuple[Training, Point | None]]) -> list[Line2D]:
    def marker(label: str, **options: object) -> Line2D:
        return Line2D([], [], label=style.wrapped(label), linestyle="", **options)  # type: ignore[arg-type]

    handles = [marker(label, marker="o", color=color) for label, color in FAMILIES.values()]
    handles.append(marker("the paper (Table 3)", marker="o", markerfacecolor="none", color=style.GREY))
    filled = sum(point is not None and run.status is Status.COMPARABLE for run, point in runs)
    not_run = sum(run.status is Status.NOT_RUN for run, _ in runs)
    handles.append(marker(f"measured here: {filled} of {len(runs)} ({not_run} not run)", marker="o", color=style.GREY))
    for run, point in runs:
        if point is not None and run.status is not Status.COMPARABLE:
            handles.append(marker(f"{run.experiment}: {run.label}", marker="X", color=style.GREY))
        elif run.status in (Status.UNFINISHED, Status.DAMAGED):
            handles.append(marker(f"not shown: {run.experiment}, {run.label}"))
    return handles
