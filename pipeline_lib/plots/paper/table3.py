"""Table 3: size, cost, speed and accuracy of every network on COCO and PoseTrack."""

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots import networks
from pipeline_lib.plots.metrics import METRICS
from pipeline_lib.plots.networks import GIGA, MEGA
from pipeline_lib.plots.pages import Table
from pipeline_lib.plots.paper import results
from pipeline_lib.plots.paper.results import NOTHING, Place, Status, Training
from pipeline_lib.plots.paper.sheet import EXACT, LEGEND, Sheet, exact, noted, pair

TEST_DEV = "coco_test_dev"
DATASETS = {"coco_val": "COCO val2017", TEST_DEV: "COCO test-dev", "posetrack_val": "PoseTrack 2018 val"}
SERVER, NOT_ON_SERVER = "AP of test-dev: from COCO's server", "AP of test-dev: by COCO's server alone, not run"

DIGITS = (3, 3, 2)
"""Shown of parameters (M), multiply-adds (G) and file size (MB)."""

HEADER = (
    *("method", "pretrained", "input", "params (M)", "FLOPs (G)", "size (MB)", "FPS"),
    *(*METRICS, "run here", "frame rate measured on"),
)
COLUMNS = (
    *("dataset", "method", "network", "pretrained", "height", "width"),
    *("paper_params_M", "parameters", "paper_flops_G", "multiply_adds", "paper_size_MB", "file_bytes"),
    *("paper_fps", "fps"),
    *(column for name in METRICS for column in (f"paper_{name}", name)),
    *("status", "described", "fps_described", "experiment"),
)


def sheet(place: Place) -> Sheet:
    """The table from the results at `place`."""
    runs = [(row, run(place, row)) for row in paper.table3()]
    counted = [one for row, _ in runs if (one := _counted(row.network, row.height, row.width)) is not None]
    concerned = networks.notes(counted, general=False)
    concerned += [note for note in paper.notes() if not note.network and note.column]
    blocks: list[str | Table] = [
        "Parameters, multiply-adds (by the rule of TensorFlow 2.3's profiler, which gives the paper's FLOPs) and file size "
        "(here: safetensors; the paper: Keras HDF5; MB of 10^6 bytes) are computed. Frames a second are of the forward pass "
        "alone, batch 1; the paper's are of an NVIDIA TITAN Xp. AP and AR in percent, with boxes of a person detector (on "
        "PoseTrack: ground-truth boxes) and the flip test. *: with PoseFix. Rows of one network, input and start share what was run here.",
        f"{LEGEND} {EXACT}",
    ]
    for dataset, title in DATASETS.items():
        blocks += [f"{title}:", Table(HEADER, [_cells(*one) for one in runs if one[0].dataset == dataset], left=3)]
    found = [one for _, one in runs]
    blocks += noted([*results.notes(found), *map(_printed, concerned)])
    return Sheet("Table 3: comparison of networks", blocks, COLUMNS, [_row(*one) for one in runs])


def run(place: Place, row: paper.Result) -> Training:
    """What exists for a row of the table."""
    found = results.training(place, experiments.of_result(row), refined=row.starred)
    if row.dataset != TEST_DEV:
        return found
    described = f"{found.described}; {SERVER if found.server else NOT_ON_SERVER}"
    return dataclasses.replace(found, metrics=found.server, described=described)


def _printed(note: paper.Note) -> str:
    """A note on the paper, with the rows and the column that it is about."""
    size = f" {note.height}x{note.width}" if note.height else ""
    return f"The paper, {f'{note.network}{size}, ' if note.network else ''}{note.column}: {note.text}"


def _cells(row: paper.Result, found: Training) -> Sequence[str]:
    counted = _counted(row.network, row.height, row.width)
    printed = (row.params_M, row.flops_G, row.size_MB)
    if counted is None:
        sizes = [pair(value, NOTHING) for value in printed]
    else:
        own = counted.parameters / MEGA, counted.profiled_multiply_adds / GIGA, counted.file_bytes / MEGA
        sizes = [exact(value, found_, digits) for value, found_, digits in zip(printed, own, DIGITS, strict=True)]
    fps = found.cell(found.fps, "{:.1f}".format)
    if found.measured and found.fps is None and not found.fps_described:
        fps = str(Status.NOT_RUN)
    accuracy = {name: found.cell(found.metrics.get(name), "{:.1f}".format) for name in METRICS}
    if found.measured and not found.metrics:
        accuracy = dict.fromkeys(METRICS, str(Status.NOT_RUN))
    return (
        *(row.method, "yes" if row.pretrained else "no", f"{row.height}x{row.width}"),
        *sizes,
        pair(row.fps, fps),
        *(pair(getattr(row, name), accuracy[name]) for name in METRICS),
        found.described,
        found.fps_described or NOTHING,
    )


def _row(row: paper.Result, found: Training) -> dict[str, Any]:
    counted = _counted(row.network, row.height, row.width)
    values: dict[str, Any] = {
        **{name: getattr(row, name) for name in ("dataset", "method", "network", "height", "width")},
        "pretrained": "yes" if row.pretrained else "no",
        **{f"paper_{name}": getattr(row, name) for name in ("params_M", "flops_G", "size_MB", "fps", *METRICS)},
        **{name: getattr(counted, name, None) for name in ("parameters", "file_bytes")},
        "multiply_adds": getattr(counted, "profiled_multiply_adds", None),
        "fps": found.fps,
        **{name: found.metrics.get(name) for name in METRICS},
        "status": str(found.status),
        "described": found.described,
        "fps_described": found.fps_described or None,
        "experiment": found.experiment or None,
    }
    return values


@cache
def _counted(network: str, height: int, width: int) -> networks.Row | None:
    """Parameters, multiply-adds and file size; None of a network that is not in this version."""
    return networks.named(network, (height, width))[0] if network else None
