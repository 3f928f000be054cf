"""AP of COCO test-dev, which COCO's server alone measures: what it answered, entered by hand beside a network's results."""

import math
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import SCHEMA_VERSION, read_json, write_json
from pipeline_lib.errors import ArtifactError
from pipeline_lib.paper.tables import METRICS


def file(refined: bool) -> str:
    """The name in the folder of a final network, results/<experiment>/models/<name>/; of its refined results or not."""
    return f"metrics_test_dev{'_refined' if refined else ''}.json"


SOURCE = "COCO's server"

STATS = (*METRICS, "AR50", "AR75", "ARM", "ARL")
"""The order of pycocotools' `stats`."""

_SIZES = {"5": "50", "MEDIUM": "M", "LARGE": "L"}


def enter(stats: str | PathLike[str], model: str | PathLike[str], refined: bool = False) -> Path:
    """Write the server's answer, the JSON file `stats`, into the folder of a final network, and return the file.

    Raises `ArtifactError` when the folder is not there, has no refined results although the answer is on such, or the answer
    does not have every metric of Table 3.
    """
    if not (Path(model) / "history.csv").is_file():
        raise ArtifactError(
            f"{model}: no such folder of a trained network; name that of a final network, results/<experiment>/models/<name>"
        )
    if refined and not any(Path(model).glob("predictions_*_refined.json")):
        raise ArtifactError(
            f"{model}: no refined results; the experiments with a refiner have some, the others are entered without --refined"
        )
    found = _metrics(read_json(stats, own=False), stats)
    path = Path(model) / file(refined)
    write_json(path, {"schema_version": SCHEMA_VERSION, "source": SOURCE, "metrics": found})
    return path


def read(path: str | PathLike[str]) -> dict[str, float]:
    """The metrics of Table 3 from a file that `enter` wrote, from 0 to 1; raises `ArtifactError` for any other content."""
    content = read_json(path)
    return _metrics(content.get("metrics") if isinstance(content, dict) else content, path)


def _metrics(stats: Any, where: str | PathLike[str]) -> dict[str, float]:
    """{name: value} of `METRICS` from an object of names and numbers, or a list in the order of `STATS`."""
    if isinstance(stats, list) and len(stats) == len(STATS):
        stats = dict(zip(STATS, stats, strict=True))
    if not isinstance(stats, Mapping):
        raise ArtifactError(
            f"{where}: an object of names and numbers ({', '.join(METRICS)}), or pycocotools' list of {len(STATS)}, is expected"
        )
    named = {_name(key): value for key, value in stats.items()}
    if missing := [name for name in METRICS if name not in named]:
        raise ArtifactError(f"{where}: {', '.join(missing)} missing; {', '.join(METRICS)} are expected")
    for name in METRICS:
        value = named[name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not 0 <= value <= 1:
            raise ArtifactError(f"{where}: {name} is {value!r}; a number from 0 to 1 is expected, not percent")
    # Every person that is found at a stricter similarity is found at 0.5, too.
    if above := [name for name in ("AP", "AP75") if named[name] > named["AP50"]]:
        raise ArtifactError(
            f"{where}: {above[0]} is {named[above[0]]}, above AP50, which is {named['AP50']}; look whether both are in their places"
        )
    return {name: float(named[name]) for name in METRICS}


def _name(key: str) -> str:
    """Our name of a metric, which is also written like AP_50, AP .5, APm or AP_medium."""
    plain = re.sub(r"[^A-Z0-9]", "", key.upper())
    return plain[:2] + _SIZES.get(plain[2:], plain[2:])
