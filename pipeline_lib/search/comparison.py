"""What weight transfer is worth: generation 1 beside its twins from scratch and its ancestor trained on."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from pipeline_lib.artifacts import AGAIN, read_document
from pipeline_lib.errors import ArtifactError
from pipeline_lib.search import mutation
from pipeline_lib.search.population import Children

History = Sequence[Mapping[str, str]]

COLUMNS = (
    *("child", "mutation", "inherited", "transferred_initial", "transferred_final"),
    *("scratch_initial", "scratch_final", "control_initial", "control_final"),
)


def inherited(path: str | PathLike[str]) -> float:
    """The fraction of its parameters that a child inherits, of its inheritance.json; raises `ArtifactError`."""
    found = read_document(path).get("fraction")
    if not isinstance(found, int | float) or not 0 <= found <= 1:
        raise ArtifactError(f"{path}: fraction is {found!r}, a number from 0 to 1 is expected; {AGAIN}")
    return float(found)


def rows(
    children: Children,
    inherited: Sequence[float],
    transferred: Sequence[History],
    scratch: Sequence[History],
    control: History,
) -> list[dict[str, Any]]:
    """One row a child: its mutation (channels in channels), the fraction of its parameters that it inherits, and validation losses.

    `*_initial` is before the first step, `*_final` after the last, for the child with weight transfer, its twin from
    scratch and the control, all trained for the same steps in the same order. None for a training that failed: its loss
    stopped being a number, with which it ended.

    Raises:
        ArtifactError: there is not one of everything for each child, the trainings were not equally long, or the loss
            before the first step was not measured.
    """
    if {len(inherited), len(transferred), len(scratch)} != {len(children.children)}:
        raise ArtifactError(
            f"{len(children.children)} children need as many reports of inheritance, histories and histories of twins; "
            f"{len(inherited)}, {len(transferred)} and {len(scratch)} are given; give one of each"
        )
    ends = [[_ends(history, f"{name} {child.index}") for child, history in zip(children.children, each, strict=True)]
            for name, each in (("child", transferred), ("twin", scratch))]  # fmt: skip
    control_ends = _ends(control, "control")
    steps = {end.steps for end in (*ends[0], *ends[1], control_ends) if end.final is not None}
    if len(steps) > 1:
        listed = ", ".join(map(str, sorted(steps)))
        raise ArtifactError(
            f"the compared trainings have different lengths: {listed} steps; delete the shorter ones and run again"
        )
    return [
        {
            "child": child.index,
            "mutation": "; ".join(map(mutation.text, child.mutations)),
            "inherited": fraction,
            "transferred_initial": own.initial,
            "transferred_final": own.final,
            "scratch_initial": twin.initial,
            "scratch_final": twin.final,
            "control_initial": control_ends.initial,
            "control_final": control_ends.final,
        }
        for child, fraction, own, twin in zip(children.children, inherited, *ends, strict=True)
    ]


class _Ends(NamedTuple):
    initial: float | None
    final: float | None
    steps: int


def _ends(history: History, name: str) -> _Ends:
    if not history or history[0]["epoch"] != "0":
        raise ArtifactError(
            f"{name}: the loss before the first step was not measured; set train.evaluate_initial: true"
        )
    initial, *later = (float(row["val_loss"]) for row in history)
    finite = math.isfinite(initial) and all(map(math.isfinite, later))
    return _Ends(
        initial if math.isfinite(initial) else None, later[-1] if finite and later else None, int(history[-1]["step"])
    )
