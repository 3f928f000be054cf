"""What all figures share: colours that colour-blind readers tell apart, fonts, and files that do not change by chance."""

import functools
import textwrap
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipeline_lib.artifacts import atomic_path
from pipeline_lib.errors import ConfigError

# The palette of Okabe and Ito (2008).
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
)
GREY = "#7A7A7A"
SERIES = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
SEQUENTIAL = "viridis"

FORMATS = ("svg", "png")
_DPI = 110

_RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "figure.dpi": _DPI,
    "font.size": 10,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "evopose",  # element names must not be random
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run `function` under the house style, leaving matplotlib's global settings as they are."""

    @functools.wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with matplotlib.rc_context(_RC):
            return function(*args, **kwargs)

    return wrapped


@styled
def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write `figure` as SVG or PNG, by the name of `path`; an equal figure gives equal bytes.

    Raises `ConfigError` for any other file type.
    """
    kind = Path(path).suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"{path}: figures are written as {' or '.join(FORMATS)}; choose such a name")
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.12)


def plain_log_labels(axis: Axis) -> None:
    """Plain numbers as labels of a logarithmic `axis`, however small or large its range; for the end of a drawing."""
    low, high = axis.get_view_interval()
    few = high / low < 8
    axis.set_major_locator(MaxNLocator(7) if few else LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend_right(axes: Axes, **options: Any) -> None:
    """A legend outside of the data, to the right of `axes`."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, **options)


def legend_below(axes: Axes, columns: int, offset: float = -0.16, **options: Any) -> None:
    """A legend outside of the data, under the label of the horizontal axis."""
    axes.legend(loc="upper left", bbox_to_anchor=(0, offset), ncols=columns, borderaxespad=0, **options)


def wrapped(label: str, width: int = 48) -> str:
    """A label of a legend in lines of at most `width` characters."""
    return textwrap.fill(label, width, break_long_words=False)


def nothing_yet(axes: Axes) -> None:
    """Say on `axes` without data that there are none; ticks of made-up places are taken away."""
    axes.text(0.5, 0.5, "no results yet", transform=axes.transAxes, ha="center", va="center", color=GREY)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(NullLocator())
        axis.set_minor_locator(NullLocator())
