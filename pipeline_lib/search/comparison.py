"""What weight transfer is worth: generation 1 beside its twins from scratch and its ancestor trained on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.errors import ArtifactError
from pipeline_lib.search.population import Children

History = Sequence[Mapping[str, str]]

COLUMNS = (
    *("child", "mutation", "inherited", "transferred_initial", "transferred_final"),
    *("scratch_initial", "scratch_final", "control_initial", "control_final"),
)


def rows(
    children: Children,
    inherited: Sequence[float],
    transferred: Sequence[History],
    scratch: Sequence[History],
    control: History,
) -> list[dict[str, Any]]:
    """One row a child: its mutation, the fraction of its parameters that it inherits, and validation losses.

    `*_initial` is before the first step, `*_final` after the last, for the child with weight transfer, its twin from
    scratch and the control, all trained for the same steps in the same order.

    Raises:
        ArtifactError: the trainings were not equally long, or a loss was not measured.
    """
    steps = {history[-1]["step"] for history in (*transferred, *scratch, control)}
    if len(steps) != 1:
        raise ArtifactError(f"the compared trainings have different lengths: {', '.join(sorted(steps))} steps")
    control_initial, control_final = _ends(control, "control")
    table = []
    for child, fraction, own, twin in zip(children.children, inherited, transferred, scratch, strict=True):
        own_initial, own_final = _ends(own, f"child {child.index}")
        twin_initial, twin_final = _ends(twin, f"twin {child.index}")
        table.append(
            {
                "child": child.index,
                "mutation": "; ".join(
                    f"module {change['module']} {change['kind']} {change['before']}->{change['after']}"
                    for change in child.mutations
                ),
                "inherited": fraction,
                "transferred_initial": own_initial,
                "transferred_final": own_final,
                "scratch_initial": twin_initial,
                "scratch_final": twin_final,
                "control_initial": control_initial,
                "control_final": control_final,
            }
        )
    return table


def _ends(history: History, name: str) -> tuple[float, float]:
    if history[0]["epoch"] != "0":
        raise ArtifactError(
            f"{name}: the loss before the first step was not measured; set train.evaluate_initial: true"
        )
    first, last = float(history[0]["val_loss"]), float(history[-1]["val_loss"])
    if not math.isfinite(first) or not math.isfinite(last):
        raise ArtifactError(f"{name}: the validation loss is not a number")
    return first, last
