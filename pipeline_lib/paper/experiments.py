"""Which experiment (config/experiments/) stands for what the paper reports, and where its results lie."""

from collections.abc import Iterable
from pathlib import Path, PurePath

from pipeline_lib.paper import tables
from pipeline_lib.paper.tables import BatchSize, Result

SEARCHES = {"E1": "E1", "E2": "E2", "E3": "E3", "E3 (no weight transfer)": "E3_scratch"}
"""Names in Fig. 5, and their experiments."""

CHAMPION = "E3"
"""The search whose champion is EvoPose2D-S."""

SUMMARY, CHAMPION_FILES = "summary.json", ("champion.json", "champion.safetensors")
HISTORY, LATENCY = "models/*/history.csv", "models/*/latency.json"
TEST_DEV = "models/*/metrics_test_dev*.json"
POPULATIONS = "search/gen_*/population.csv"


def of_batch_size(row: BatchSize) -> str:
    """The experiment of a row of Table 1."""
    rest = ("" if row.warmup else "_nowarmup") + ("" if row.scale_rate else "_noscaling")
    return f"table1_{row.batch}{rest}"


def of_result(row: Result) -> str:
    """The experiment of a row of Table 3.

    The input size is a part of the name where it is not the first that the table has of the network. A starred row is that
    of its pose network with PoseFix.
    """
    if row.starred:
        return f"{of_result(tables.without_posefix(row))}_posefix"
    if row.dataset == "posetrack_val":
        return f"posetrack_{row.network}"
    first = next(other for other in tables.table3() if other.network == row.network)
    size = "" if (row.height, row.width) == (first.height, first.width) else f"_{row.height}x{row.width}"
    return f"table3_{row.network}{'_pretrained' if row.pretrained else ''}{size}"


def trained_by(weights: str | None) -> str | None:
    """The experiment, with its prefix, whose final network the file `weights` lies with; None of any other file."""
    match PurePath(weights or "").parts:
        case (*_, experiment, "models", _, _):
            return experiment
    return None


def _table_1() -> list[str]:
    return [of_batch_size(row) for row in tables.table1()]


def _table_3() -> list[str]:
    return list(dict.fromkeys(map(of_result, tables.table3())))


def names() -> list[str]:
    """Every experiment that a table or figure of the paper stands on."""
    return [*SEARCHES.values(), *_table_1(), *_table_3()]


def files(item: str, results: Path, prefix: str, experiments: Path) -> list[Path]:
    """The files that there are of what `item` (table_1 to table_5, figure_1, figure_4, figure_5) is made from.

    They lie in the folders `results`/<prefix><experiment>/; of each experiment there is its file in the folder
    `experiments`, which says what was meant.
    """
    wanted: dict[str, tuple[Iterable[str], Iterable[str]]] = {
        "table_1": (_table_1(), (SUMMARY, HISTORY)),
        "table_2": ([CHAMPION], (SUMMARY, POPULATIONS, *CHAMPION_FILES)),
        "table_3": (_table_3(), (SUMMARY, HISTORY, LATENCY, TEST_DEV)),
        "table_4": ((), ()),
        "table_5": ((), ()),
        "figure_1": (_table_3(), (SUMMARY, HISTORY)),
        "figure_4": (_table_1(), (SUMMARY, HISTORY)),
        "figure_5": (SEARCHES.values(), (SUMMARY, POPULATIONS)),
    }
    found = []
    for name in wanted[item][0]:
        own = experiments / f"{name}.yaml"
        found += [own] if own.exists() else []
        for pattern in wanted[item][1]:
            found += sorted((results / f"{prefix}{name}").glob(pattern))
    return found
