"""Results of the paper's experiments in the form of a run, made by hand."""

import copy
import functools
import json
from pathlib import Path

import yaml

from pipeline_lib import artifacts, config, facts
from pipeline_lib.plots.paper.results import Place
from pipeline_lib.search import population
from pipeline_lib.train import history

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "config/experiments"
SMOKE = yaml.safe_load((ROOT / "config/overrides/smoke.yaml").read_text())
METRICS = {"AP": 0.7012, "AP50": 0.8863, "AP75": 0.7754, "APM": 0.6645, "APL": 0.7736, "AR": 0.7627}
VAL_IMAGES = 5000
"""Of COCO val2017."""


def merged(base: dict, other: dict) -> dict:
    """As Snakemake merges its configuration files."""
    result = copy.deepcopy(base)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def raw(experiment: str, *others: dict) -> dict:
    found = yaml.safe_load((EXPERIMENTS / f"{experiment}.yaml").read_text())
    for other in others:
        found = merged(found, other)
    return found


def settings(experiment: str, *others: dict) -> dict:
    """What the summary of a run has as its settings."""
    return json.loads(_facts(experiment, json.dumps(others)))


@functools.cache
def _facts(experiment: str, others: str) -> str:
    return json.dumps(facts.of(config.load(raw(experiment, *json.loads(others)), ROOT)))


def place(folder: Path, prefix: str = "") -> Place:
    return Place(folder, prefix, EXPERIMENTS)


def write_history(path: Path, epochs: int, seconds: float = 36.0, device: str = "TPU v3", devices: int = 8) -> None:
    rows = [
        {"epoch": epoch, "step": 10 * epoch, "data_loss": 90.0 / epoch, "val_loss": 100.0 / epoch, "loss": 91.0 / epoch}
        | {"learning_rate": 1e-3, "seconds": seconds, "images_per_second": 1.0, "device": device, "devices": devices}
        for epoch in range(1, epochs + 1)
    ]
    before = {"epoch": 0, "step": 0, "val_loss": 240.0, "device": device, "devices": devices}
    artifacts.write_csv(path, [before, *rows], history.COLUMNS)


def write_summary(path: Path, found: dict, boxes: tuple[str, ...], images: int = VAL_IMAGES, **metrics: float) -> None:
    entries = [
        {"network": model, "boxes": kind, "explanations": {}, "persons": 6352, "images": images}
        | {"metrics": METRICS | metrics if kind == "detections" else dict.fromkeys(METRICS, 0.9)}
        for model in found["models"]
        for kind in boxes
    ]
    artifacts.write_json(path, {"schema_version": 1, "settings": found, "models": entries, "baselines": []})


def finish(
    folder: Path,
    experiment: str,
    *others: dict,
    name: str | None = None,
    boxes: tuple[str, ...] = ("ground_truth", "detections"),
    images: int = VAL_IMAGES,
    seconds: float = 36.0,
    **metrics: float,
) -> Path:
    """A run of `experiment`, with other configurations merged into it, to its end; returns the folder of its results."""
    found = settings(experiment, *others)
    results = folder / (name or experiment)
    ((model, own),) = found["models"].items()
    write_history(results / "models" / model / "history.csv", own["train"]["epochs"], seconds)
    write_summary(results / "summary.json", found, boxes, images, **metrics)
    return results


def write_latency(results: Path, **changes: object) -> Path:
    (model,) = (results / "models").iterdir()
    own = artifacts.read_json(results / "summary.json")["settings"]["models"][model.name]
    measured = {"schema_version": 1, "network": model.name, "height": own["height"], "width": own["width"]}
    measured |= {"parameters": 5, "fps": 87.65, "mean_ms": 11.4, "median_ms": 11.3, "p90_ms": 12.0, "passes": 1000}
    measured |= {"warm_up": 50, "batch": 1, "dtype": "float32", "xla": False, "threads": 1, "device": "Some GPU"}
    path = model / "latency.json"
    artifacts.write_json(path, measured | changes)
    return path


# (generation, child, loss, parameters, fitness) of the pools, best first; one training failed.
POOLS = [
    [(0, 0, 30.0, 4_000_000, 29.5)],
    [(1, 1, 29.0, 3_000_000, 28.0), (0, 0, 30.0, 4_000_000, 29.5), (1, 2, 33.0, 2_000_000, 31.0), (1, 0, None, 1_000_000, None)],
    [(1, 1, 29.0, 3_000_000, 28.0), (2, 1, 28.5, 5_000_000, 28.25), (2, 0, 31.0, 2_500_000, 29.0)],
]  # fmt: skip
EVALUATIONS = (1, 4, 6)


def write_pools(results: Path, pools: list = POOLS) -> None:
    for generation, pool in enumerate(pools):
        rows = [
            {"rank": rank, "generation": born, "child": child, "loss": loss, "parameters": parameters}
            | {"multiply_adds": 9, "fitness": fitness, "status": "failed" if loss is None else "ok"}
            | {"survivor": int(rank < 2), "genotype": "g"}
            for rank, (born, child, loss, parameters, fitness) in enumerate(pool)
        ]
        path = results / f"search/gen_{generation:03d}/population.csv"
        artifacts.write_csv(path, rows, population.POPULATION_COLUMNS)


def finish_search(folder: Path, experiment: str, *others: dict, name: str | None = None, pools: list = POOLS) -> Path:
    """A search to its end, with as many generations as `pools` has."""
    results = folder / (name or experiment)
    write_pools(results, pools)
    write_summary(results / "summary.json", settings(experiment, *others), ("ground_truth", "detections"))
    return results
