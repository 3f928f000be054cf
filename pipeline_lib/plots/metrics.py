"""COCO metrics of the final networks beside the mean pose."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pipeline_lib.plots import style

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR")
UNDEFINED = -1.0


@style.styled
def draw(rows: Mapping[str, Mapping[str, float]], baselines: Sequence[str] = ()) -> Figure:
    """A group of bars for each of `METRICS`, a bar for each named row; the rows named in `baselines` are grey.

    Undefined metrics (-1) have no bar and are marked with a dash.
    """
    figure = Figure(figsize=(9.2, 4.2))
    axes = figure.subplots()
    width = 0.84 / len(rows)
    colors = iter(style.SERIES * len(rows))
    for index, (name, values) in enumerate(rows.items()):
        color = "#B5B5B5" if name in baselines else next(colors)
        places = [group - 0.42 + width * (index + 0.5) for group in range(len(METRICS))]
        heights = [max(0.0, values[metric]) for metric in METRICS]
        bars = axes.bar(places, heights, width * 0.92, color=color, label=name)
        texts = ["–" if values[metric] == UNDEFINED else f"{values[metric]:.2f}" for metric in METRICS]
        axes.bar_label(bars, texts, padding=2, fontsize=8 if len(rows) < 5 else 6)
    axes.set_xticks(range(len(METRICS)), METRICS)
    axes.set_ylim(0, 1)
    axes.set_ylabel("precision or recall (0 to 1)\nover object keypoint similarity")
    axes.grid(axis="x", visible=False)
    style.legend_right(axes)
    return figure
