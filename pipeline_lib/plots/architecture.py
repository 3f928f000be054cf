"""Networks of a search side by side: modules, blocks, kernels, channels, strides and resolutions (paper, Tables 2, 4)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline_lib.nets.layers import count_network
from pipeline_lib.nets.spec import Architecture, walk
from pipeline_lib.plots import style

MEGA = 1e6
HEADER = ("", "output (h×w)", "blocks", "kernel", "channels", "stride")
STARTS = (0.0, 1.75, 3.75, 5.05, 6.25, 9.0)  # of the columns, in the panel's units
MARKS, BAR = 0.3, 0.75  # where the marks of blocks and the bars of channels start in their columns
BAR_LENGTH, BAR_HEIGHT = 1.6, 0.56
WIDTH = 9.9
ROW_INCHES = 0.34


class Stage(NamedTuple):
    """A row of the table: a module, the stem, or a layer of the head; `size` is (height, width) of its output."""

    name: str
    size: tuple[int, int]
    blocks: int
    kernel: int
    channels: int
    stride: str


def stages(architecture: Architecture) -> list[Stage]:
    """The rows of a network's table, as it is computed: after depth and width scaling."""
    layers = walk(architecture)
    found = []
    stem = next(layer for layer in layers if layer.role == "stem")
    found.append(Stage("stem", stem.out_size, 1, stem.kernel, stem.out_channels, str(stem.stride)))
    for module, blocks in enumerate(architecture.blocks()):
        own = [layer for layer in layers if layer.block is not None and layer.block[0] == module]
        depthwise = [layer for layer in own if layer.op == "depthwise"]
        found.append(
            Stage(
                name=f"module {module + 1}",
                size=own[-1].out_size,
                blocks=blocks,
                kernel=depthwise[0].kernel,
                channels=own[-1].out_channels,
                stride=str(math.prod(layer.stride for layer in depthwise)),
            )
        )
    for number, layer in enumerate((layer for layer in layers if layer.op == "tconv"), start=1):
        found.append(Stage(f"head {number}", layer.out_size, 1, layer.kernel, layer.out_channels, f"1/{layer.stride}"))
    final = layers[-1]
    found.append(Stage("heat maps", final.out_size, 1, final.kernel, final.out_channels, str(final.stride)))
    return found


@style.styled
def draw(networks: Mapping[str, Architecture]) -> Figure:
    """A panel for each named network; from the second on, what differs from the first is set in bold red."""
    tables = {name: stages(architecture) for name, architecture in networks.items()}
    rows = max(map(len, tables.values()))
    widest = max(stage.channels for table in tables.values() for stage in table)
    figure = Figure(figsize=(6.2 * len(networks), ROW_INCHES * (rows + 3.6)))
    panels = figure.subplots(1, len(networks), squeeze=False)[0]
    reference = {stage.name: stage for stage in next(iter(tables.values()))}
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        _panel(axes, rows, table, reference, widest)
        axes.set_title(f"{name}\n", fontsize=13)
        axes.text(0, -1.62, _counts(networks[name]), fontsize=9, color="#444444")
    figure.tight_layout(w_pad=2.5)
    return figure


def _panel(axes: Axes, rows: int, table: list[Stage], reference: Mapping[str, Stage], widest: int) -> None:
    axes.set_xlim(-0.1, WIDTH)
    axes.set_ylim(rows - 0.4, -1.7)
    axes.axis("off")
    for start, text in zip(STARTS, HEADER, strict=True):
        axes.text(start, -0.85, text, weight="bold", va="center", fontsize=9.5)
    axes.plot([0, WIDTH], [-0.5, -0.5], color="#444444", linewidth=0.9)
    for row, stage in enumerate(table):
        if row % 2:
            axes.add_patch(Rectangle((-0.1, row - 0.5), WIDTH + 0.1, 1, color="#F5F5F5", linewidth=0, zorder=0))
        other = reference.get(stage.name)
        color = style.BLUE if stage.name.startswith("module") else style.GREY
        for block in range(stage.blocks):
            mark = Rectangle((STARTS[2] + MARKS + 0.16 * block, row - 0.2), 0.12, 0.4, color=color, linewidth=0)
            axes.add_patch(mark)
        length = BAR_LENGTH * stage.channels / widest
        axes.add_patch(
            Rectangle((STARTS[4] + BAR, row - BAR_HEIGHT / 2), length, BAR_HEIGHT, color=color, alpha=0.3, linewidth=0)
        )
        cells = (
            (STARTS[0], stage.name, False),
            (STARTS[1], f"{stage.size[0]}×{stage.size[1]}", other is not None and other.size != stage.size),
            (STARTS[2], f"{stage.blocks}", other is not None and other.blocks != stage.blocks),
            (STARTS[3], f"{stage.kernel}×{stage.kernel}", other is not None and other.kernel != stage.kernel),
            (STARTS[4], f"{stage.channels}", other is not None and other.channels != stage.channels),
            (STARTS[5], stage.stride, other is not None and other.stride != stage.stride),
        )
        for x, text, differs in cells:
            axes.text(
                x, row, text, va="center", fontsize=9.5, color=style.VERMILLION if differs else "black",
                weight="bold" if differs else "normal",
            )  # fmt: skip


def _counts(architecture: Architecture) -> str:
    counted = count_network(architecture)
    return (
        f"input {architecture.height}×{architecture.width}, {counted['parameters'] / MEGA:.3f} M parameters, "
        f"{counted['multiply_adds'] / MEGA:.1f} M multiply-adds, overall stride {architecture.overall_stride}"
    )
