"""The DAG: a dry run of a search; what orchestration costs a job, and what the light steps take, if trainings are simulated."""

import copy
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Row, Settings
from tests.workflow.conftest import TINY, Workplace

CHILDREN = 40
RUN_CHILDREN = 20
NO_TIME = 1e-3
LIGHT = ("mutate", "transfer", "score", "select")
SIZE = {"height": 256, "width": 192}


def measure(settings: Settings, folder: Path) -> list[Row]:
    generations = max(1, round(settings.evaluations / CHILDREN))
    planned = Workplace(_made(folder / "planned"))
    planned.configure(_search(generations, CHILDREN))
    seconds, _ = _timed(planned, "-n", "--quiet")
    return [Row("dry run", f"{generations} generations of {CHILDREN} children", seconds, "s"), *_orchestration(folder)]


def _orchestration(folder: Path) -> list[Row]:
    """One job at a time, networks of the paper's size: what the run takes beyond its planning and its jobs' own time."""
    place = Workplace(_made(folder / "run"))
    config = _search(1, RUN_CHILDREN) | {"input": SIZE, "final": {"models": {"s": SIZE}}}
    for key in ("ancestor", "space"):
        del config["search"][key]
    place.configure(config)
    planning, _ = _timed(place, "search", "--cores", "1", "-n", "--quiet")
    seconds, done = _timed(place, "search", "--cores", "1")
    jobs = done.stderr.count("Finished jobid")
    own = {path: float(_seconds(path)) for path in (place.folder / "benchmarks").rglob("*.tsv")}
    light = {name: [seconds for path, seconds in own.items() if path.stem == name] for name in LIGHT}
    name = f"orchestration, {jobs} jobs one after the other"
    return [
        Row(name, "a job", (seconds - planning - sum(own.values())) / jobs, "s"),
        *(Row("light steps, 256x192", step, sum(times) / len(times), "s") for step, times in light.items()),
    ]


def _search(generations: int, children: int) -> dict[str, Any]:
    config = copy.deepcopy(TINY)
    config["search"] |= {"generations": generations, "children": children, "parents": 4, "compare_scratch": False}
    config["search"]["simulation"] = {"seconds": NO_TIME}
    return config


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _timed(place: Workplace, *options: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    begun = time.perf_counter()
    done = place.snakemake(*options)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return time.perf_counter() - begun, done


def _seconds(path: Path) -> str:
    """Of a benchmark file of Snakemake."""
    header, values = (line.split("\t") for line in path.read_text().splitlines())
    return values[header.index("s")]
