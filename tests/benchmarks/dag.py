"""The DAG: a dry run of a search, and what orchestration costs a job (search of the workflow tests, not trained here)."""

import copy
import time
from pathlib import Path

from tests.benchmarks.measure import Row, Settings
from tests.workflow.conftest import TINY, Workplace

CHILDREN = 40


def measure(settings: Settings, folder: Path) -> list[Row]:
    config = copy.deepcopy(TINY)
    generations = max(1, round(settings.evaluations / CHILDREN))
    config["search"] |= {"generations": generations, "children": CHILDREN, "parents": 4, "compare_scratch": False}
    place = Workplace(folder)
    place.configure(config)
    begun = time.perf_counter()
    done = place.snakemake("-n", "--quiet")
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return [Row("dry run", f"{generations} generations of {CHILDREN} children", seconds, "s")]
