"""Size and cost of networks beside what the paper prints of them (Table 3), and where the paper contradicts itself."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import Network, Size, count_network, profiled_multiply_adds, tensors
from pipeline_lib.nets.registry import NAMES
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots.tables import markdown
from pipeline_lib.search import genotype

__all__ = ["COLUMNS", "NAMES", "Row", "as_csv", "as_text", "named", "notes", "of_genotype"]

KEYPOINTS = 17
"""Of COCO and of PoseTrack."""

SEARCHED_SIZE = (256, 192)
"""(height, width) of what the paper prints nothing of."""

MEGA, GIGA = 1e6, 1e9

TENSOR_COLUMNS = ("network", "tensor", "kind", "shape")

COLUMNS = (
    *("network", "height", "width", "parameters", "trainable", "multiply_adds", "profiled_multiply_adds", "file_bytes"),
    *("paper_method", "paper_params_M", "paper_flops_G", "paper_size_MB"),
    *("params_difference_percent", "flops_difference_percent", "size_difference_percent", "notes"),
)

LEGEND = f"""\
params: all variables, batch normalisation's statistics included; trainable: without these. conv: multiply-adds of all
convolutions, transposed ones at their input's resolution; profiler: by the rule of TensorFlow 2.3's profiler, which
gives the paper's FLOPs. file: this workflow's float32 weights file (safetensors) in MB of 10^6 bytes: 4 bytes a
parameter, and the header with names, shapes and the network's description; the paper's are Keras HDF5 files. All for
one image and {KEYPOINTS} keypoints. What the paper prints stands beside how much more or less is found here; = is equality
in every digit that it prints."""

LINE = 120
"""Characters in a line of the notes."""


@dataclass(frozen=True)
class Row:
    """A network at an input size, and the row of Table 3 that it is compared with."""

    network: str
    height: int
    width: int
    parameters: int
    trainable: int
    multiply_adds: int
    profiled_multiply_adds: float
    file_bytes: int
    printed: paper.Result | None = None

    @property
    def compared(self) -> list[tuple[float, Decimal | None]]:
        """(what is found here, what is printed) of parameters in millions, 10^9 multiply-adds, file size in MB."""
        found = self.parameters / MEGA, self.profiled_multiply_adds / GIGA, self.file_bytes / MEGA
        if self.printed is None:
            return [(value, None) for value in found]
        return list(zip(found, (self.printed.params_M, self.printed.flops_G, self.printed.size_MB), strict=True))


def named(name: str, size: Size | None = None) -> list[Row]:
    """The network `name` at every size of Table 3, or at one `size`: a row for each set of values printed of it."""
    printed = [row for row in paper.table3() if row.network == name]
    sizes = [size] if size else list(dict.fromkeys((row.height, row.width) for row in printed)) or [SEARCHED_SIZE]
    found = []
    for height, width in sizes:
        counted = _counted(name, registry.architecture(name, height, width, KEYPOINTS))
        different: dict[tuple[Any, ...], paper.Result] = {}
        for row in printed:
            if (row.height, row.width) == (height, width):
                different.setdefault((row.params_M, row.flops_G, row.size_MB), row)
        found += [Row(**counted, printed=row) for row in different.values()] or [Row(**counted)]
    return found


def of_genotype(text: str, size: Size | None = None) -> Row:
    """The unscaled network of a genotype such as `1.3.2.1-2.3.3.2-...` in the paper's space."""
    network = registry.architecture(genotype.decode_text(text), *(size or SEARCHED_SIZE), KEYPOINTS)
    return Row(**_counted(text, network))


def tensors_of(names: Iterable[str], size: Size | None = None) -> list[dict[str, Any]]:
    """Rows of a table of all tensors (`TENSOR_COLUMNS`) of networks by name, as their weights files have them."""
    return [
        {"network": name, "tensor": tensor.name, "kind": tensor.kind, "shape": "x".join(map(str, tensor.shape))}
        for name in names
        for tensor in tensors(registry.architecture(name, *(size or SEARCHED_SIZE), KEYPOINTS))
    ]


def notes(rows: Iterable[Row], *, general: bool) -> list[paper.Note]:
    """The notes that concern `rows`, then, if wanted, those about no row."""
    places = {(row.network, row.height, row.width) for row in rows}
    concerned = [note for note in paper.notes() if any(note.concerns(*place) for place in places)]
    return concerned + [note for note in paper.notes() if general and not note.network]


def as_text(rows: Sequence[Row], shown: Sequence[paper.Note]) -> str:
    """Table, legend and numbered notes."""
    header = (
        *("network", "input", "params (M)", "trainable (M)", "conv (G)", "profiler (G)", "file (MB)"),
        *("Table 3", "params", "FLOPs", "size", "notes"),
    )
    cells = [
        (
            row.network,
            f"{row.height}x{row.width}",
            f"{row.parameters / MEGA:.3f}",
            f"{row.trainable / MEGA:.3f}",
            f"{row.multiply_adds / GIGA:.3f}",
            f"{row.profiled_multiply_adds / GIGA:.3f}",
            f"{row.file_bytes / MEGA:.2f}",
            row.printed.method if row.printed else "-",
            *(_beside(value, printed) for value, printed in row.compared),
            ", ".join(map(str, _numbers(row, shown))),
        )
        for row in rows
    ]
    parts = [markdown(header, cells), LEGEND]
    if shown:
        parts.append("\n".join(_note(number, note.text) for number, note in enumerate(shown, start=1)))
    return "\n\n".join(parts)


def as_csv(rows: Iterable[Row], shown: Sequence[paper.Note]) -> list[dict[str, Any]]:
    """The rows with the columns `COLUMNS`, unrounded; differences in percent of what is printed."""
    written = []
    for row in rows:
        values = {column: getattr(row, column) for column in COLUMNS[:8]}
        printed = row.printed
        values["paper_method"] = printed.method if printed else None
        for name, (value, paper_value) in zip(("params_M", "flops_G", "size_MB"), row.compared, strict=True):
            values[f"paper_{name}"] = paper_value
            values[f"{name.partition('_')[0]}_difference_percent"] = (
                None if paper_value is None else round(_difference(value, paper_value), 3)
            )
        values["notes"] = " ".join(shown[number - 1].text for number in _numbers(row, shown)) or None
        written.append(values)
    return written


def _counted(name: str, network: Network) -> dict[str, Any]:
    return {
        "network": name,
        "height": network.height,
        "width": network.width,
        **count_network(network),
        "profiled_multiply_adds": profiled_multiply_adds(network),
        "file_bytes": files.size(network),
    }


def _numbers(row: Row, shown: Sequence[paper.Note]) -> list[int]:
    return [number for number, note in enumerate(shown, start=1) if note.concerns(row.network, row.height, row.width)]


def _note(number: int, text: str) -> str:
    return textwrap.fill(f"{number}. {text}", LINE, subsequent_indent=" " * len(f"{number}. "))


def _beside(value: float, printed: Decimal | None) -> str:
    if printed is None:
        return "-"
    return f"{printed} =" if paper.agrees(value, printed) else f"{printed} {_difference(value, printed):+.1f}%"


def _difference(value: float, printed: Decimal) -> float:
    return 100 * (value / float(printed) - 1)
