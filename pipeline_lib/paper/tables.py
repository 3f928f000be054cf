"""The paper's tables as typed rows (McNally et al., IEEE Access 2021), read from the CSV files beside this module.

Numbers whose rounding matters are decimals: the digits that were printed are a part of them. AP and AR are in percent, as
printed; None stands for the paper's dash.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pipeline_lib.artifacts import read_csv
from pipeline_lib.errors import ArtifactError

FOLDER = Path(__file__).parent
METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR")

Row = TypeVar("Row")


@dataclass(frozen=True)
class BatchSize:
    """A row of Table 1: SimpleBaseline ResNet-50 on COCO, trained with a batch size for 200 epochs on a v3-8 TPU."""

    batch: int
    warmup: bool
    scale_rate: bool
    hours: float
    AP: float


@dataclass(frozen=True)
class Result:
    """A row of Table 3.

    Attributes:
        dataset: coco_val, coco_test_dev or posetrack_val.
        method: as printed.
        network: its name in `nets.registry`; empty where PoseFix belongs to the method.
        pretrained: on ImageNet for COCO, on COCO for PoseTrack.
        height, width: of the input in pixels.
        params_M, flops_G, size_MB, fps: as printed, in millions, 10^9 multiply-adds, 10^6 bytes, images a second.
        recalculated: FLOPs, size and FPS of others' networks that the paper measured itself (its dagger).
        starred: with PoseFix.
        implemented_by_the_paper: trained by its authors, not quoted (the bottom sections).
    """

    dataset: str
    method: str
    network: str
    pretrained: bool
    height: int
    width: int
    params_M: Decimal | None
    flops_G: Decimal | None
    size_MB: Decimal | None
    fps: Decimal | None
    AP: float
    AP50: float | None
    AP75: float | None
    APM: float | None
    APL: float | None
    AR: float | None
    recalculated: bool
    starred: bool
    implemented_by_the_paper: bool


@dataclass(frozen=True)
class Module:
    """A row of Table 4: a module of the common ancestor; its output is (h / shrinkage, w / shrinkage, channels)."""

    module: int
    blocks: int
    kernel: int
    stride: int
    shrinkage: int
    channels: int


@dataclass(frozen=True)
class Scaling:
    """A row of Table 5: the compound coefficients of an input size."""

    network: str
    height: int
    width: int
    phi: Decimal
    depth_coefficient: Decimal
    width_coefficient: Decimal


@dataclass(frozen=True)
class Search:
    """A neuroevolution of section V-C and Fig. 5: lambda, mu, Gamma, T, training, and its run time on eight v2-8 TPUs."""

    name: str
    children: int
    parents: int
    gamma: float
    target_parameters: float
    batch: int
    ancestor_epochs: int
    child_epochs: int
    transfer: bool
    days: float | None


@dataclass(frozen=True)
class Note:
    """Where the paper contradicts itself, or prints what cannot be compared.

    Attributes:
        network, height, width: the rows of Table 3 that it is about; of any size without one, of no row without a network.
        column: of Table 3; empty where it is about something else.
        text: what is printed, and what follows from the rest of the paper.
    """

    network: str
    height: int | None
    width: int | None
    column: str
    text: str

    def concerns(self, network: str, height: int, width: int) -> bool:
        """Whether it is about the rows of `network` at this input size."""
        return self.network == network and (self.height, self.width) in ((None, None), (height, width))


def table1() -> list[BatchSize]:
    """Table 1, in the printed order."""
    return _read("table1.csv", BatchSize)


def table3() -> list[Result]:
    """Table 3, in the printed order."""
    return _read("table3.csv", Result)


def without_posefix(row: Result) -> Result:
    """The row of Table 3 whose poses a starred row refines: its method at the same size, on the same data set."""
    name = row.method.partition(" ")[0].rstrip("*")
    return next(
        other
        for other in table3()
        if (other.method.partition(" ")[0], other.starred) == (name, False)
        and (other.dataset, other.height, other.width) == (row.dataset, row.height, row.width)
    )


def table4() -> list[Module]:
    """Table 4, in the printed order."""
    return _read("table4.csv", Module)


def table5() -> list[Scaling]:
    """Table 5, in the printed order."""
    return _read("table5.csv", Scaling)


def searches() -> list[Search]:
    """E1, E2, E3, and E3 without weight transfer."""
    return _read("search.csv", Search)


def notes() -> list[Note]:
    """What the paper's numbers have to be read with."""
    return _read("notes.csv", Note)


def agrees(value: float, printed: Decimal) -> bool:
    """Whether `value`, rounded to the digits of `printed`, is what was printed."""
    return Decimal(repr(float(value))).quantize(printed, ROUND_HALF_UP) == printed


def _read(name: str, kind: type[Row]) -> list[Row]:
    parsers = _parsers(kind)
    rows = []
    for line, row in enumerate(read_csv(FOLDER / name), start=2):
        if list(row) != list(parsers):
            raise ArtifactError(f"{FOLDER / name}: the columns {', '.join(parsers)} are expected, not {', '.join(row)}")
        try:
            rows.append(kind(**{column: parsers[column](text) for column, text in row.items()}))
        except (ArithmeticError, KeyError, ValueError) as error:
            raise ArtifactError(f"{FOLDER / name}, line {line}: not as the column's type ({error!r})") from None
    return rows


def _parsers(kind: type[Any]) -> dict[str, Callable[[str], Any]]:
    hints = get_type_hints(kind)
    return {field.name: _parser(hints[field.name]) for field in fields(kind)}


def _parser(hint: Any) -> Callable[[str], Any]:
    if isinstance(hint, types.UnionType):
        value = next(_parser(one) for one in get_args(hint) if one is not type(None))
        return lambda text: value(text) if text else None
    if hint is bool:
        return {"Y": True, "N": False}.__getitem__
    return hint  # str, int, float, Decimal
