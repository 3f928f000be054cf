"""A table of the paper with what was found here: a page for people, and rows of a CSV file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline_lib.paper.tables import agrees
from pipeline_lib.plots.pages import Part, Table
from pipeline_lib.plots.paper.results import NOTHING

LEGEND = (
    "Each cell has the paper's value, then the value found here. What was not run is marked so; - is what cannot be had. "
    "A value in brackets was measured with other settings than the experiment's file in config/experiments has (another data "
    "set, input size, epochs, batch, ...), and must not be compared; the notes say what differs."
)
EXACT = "An equals sign: computed here, and equal in every digit that is printed."


@dataclass(frozen=True)
class Sheet:
    """A table: its number and title, blocks of text and tables, and the same, unrounded, as rows of `columns`."""

    title: str
    blocks: Sequence[str | Table]
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def parts(self) -> list[Part]:
        """The sheet as a page."""
        return [Part("", self.blocks)]


def pair(printed: Any, found: str) -> str:
    """The paper's value and the one found here."""
    return f"{NOTHING if printed is None else printed} / {found}"


def exact(printed: Decimal | None, value: float, digits: int) -> str:
    """The paper's value and a computed one, with a sign of equality where that is the paper's when rounded."""
    equal = " =" if printed is not None and agrees(value, printed) else ""
    return f"{pair(printed, f'{value:.{digits}f}')}{equal}"


def noted(lines: Sequence[str]) -> list[str]:
    """The notes as blocks: a heading and a numbered line for each, or nothing."""
    return ["Notes:", *(f"{number}. {line}" for number, line in enumerate(lines, start=1))] if lines else []
