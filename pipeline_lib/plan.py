"""What the Snakefile asks the library: the configuration, the splits, the numbers in paths, the shell around a program."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline_lib import cli, config
from pipeline_lib.config import Config, Split
from pipeline_lib.errors import ConfigError
from pipeline_lib.search import genotype

TRAIN, VAL, DETECTIONS = "train", "val", "val_detections"
SPLITS = (TRAIN, VAL, DETECTIONS)
# Which boxes a network is evaluated on, and the records that hold them.
BOXES = {"ground_truth": VAL, "detections": DETECTIONS}
# What the conversion keeps of a split (the training filter drops crowds and persons without a labelled keypoint).
PURPOSE = {TRAIN: "training", VAL: "ground_truth", DETECTIONS: "detections"}

GENERATION = r"\d\d\d+"
LATER_GENERATION = r"(?!0+/)\d\d\d+"


def load(raw: Mapping[str, Any], root: Path) -> Config:
    """The configuration of a Snakemake run, validated as far as it can be before any job.

    Raises `ConfigError` for a wrong key or value, a genotype outside of its space, or data that is not there.
    """
    values = {key: value for key, value in raw.items() if key != "pathvars"}  # Snakemake's own
    loaded = config.load(values, root)
    search = loaded.search
    genotype.validate(search.ancestor, search.space, search.ancestor)
    if loaded.dataset.synthetic is None:
        _require_data(loaded)
    else:
        synthetic_folder(loaded)
    return loaded


def synthetic_folder(loaded: Config) -> str:
    """The folder that the synthetic data set is written to; raises `ConfigError` when its paths are not as written."""
    train, val = loaded.dataset.train, loaded.dataset.val
    folder = Path(train.annotations).parent.parent
    for key, path, tail in (
        ("train.images", train.images, "images/train"),
        ("train.annotations", train.annotations, "annotations/person_keypoints_train.json"),
        ("val.images", val.images, "images/val"),
        ("val.annotations", val.annotations, "annotations/person_keypoints_val.json"),
        ("val.detections", val.detections, "annotations/person_detections_val.json"),
    ):
        if path is None or Path(path) != folder / tail:
            raise ConfigError(f"dataset.{key}: the synthetic data set is written to {folder / tail}, not to {path}")
    return str(folder)


def _require_data(loaded: Config) -> None:
    paths = {
        f"dataset.{name}.{kind}": path
        for name, split in (("train", loaded.dataset.train), ("val", loaded.dataset.val))
        for kind, path in split
        if path is not None
    }
    if missing := [f"{key}: {path}" for key, path in paths.items() if not Path(path).exists()]:
        raise ConfigError(
            f"data set '{loaded.dataset.name}': no such file or folder: {', '.join(missing)}; "
            "put the data there or name its place in the data set's file (config/datasets/)"
        )


def splits(loaded: Config) -> list[str]:
    """The record sets of the data set: detections only where it has them."""
    return [split for split in SPLITS if split != DETECTIONS or loaded.dataset.val.detections]


def boxes(loaded: Config) -> list[str]:
    """The kinds of boxes that networks are evaluated on."""
    return [name for name, split in BOXES.items() if split in splits(loaded)]


def split_of(loaded: Config, name: str) -> Split:
    """The images and annotations behind a record set."""
    return loaded.dataset.train if name == TRAIN else loaded.dataset.val


def number(value: int, digits: int = 3) -> str:
    """A number as it is written in paths."""
    return f"{value:0{digits}d}"


def settings(section: BaseModel) -> str:
    """A section as the JSON text of a `--settings` option: what differs from the defaults."""
    return section.model_dump_json(exclude_defaults=True)


def device(loaded: Config, default_resources: Mapping[str, Any] | None) -> str:
    """The device to train on: the configuration's, unless that is `auto` and the profile names one."""
    if loaded.device != "auto":
        return loaded.device
    # Snakemake keeps a string resource as the text of a Python expression.
    resource = dict(default_resources or {}).get("device")
    named = "auto" if resource is None else str(getattr(resource, "raw", resource)).strip("'\"")
    if named not in ("auto", "cpu", "gpu", "tpu"):
        raise ConfigError(f"default resource device of the profile: {named!r} is none of auto, cpu, gpu, tpu")
    return named


def shell_prefix(root: Path, conda: bool) -> str:
    """Shell text before every rule's command.

    It makes the library importable and, outside of conda, this Python the `python` of the command; it hands on a copy
    of Snakemake's stderr, on which programs show progress while their own stderr goes to the rule's log.
    """
    path = "" if conda else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    return (
        f"set -euo pipefail; {path}"
        f"export PYTHONPATH={shlex.quote(str(root))}${{{{PYTHONPATH:+:$PYTHONPATH}}}} {cli.CONSOLE_VARIABLE}=3; exec 3>&2; "
    )


def compares(loaded: Config) -> bool:
    """Whether generation 1 is compared with its twins from scratch."""
    return loaded.search.compare_scratch and loaded.search.generations > 0


def figures(loaded: Config) -> list[str]:
    """Names of the figures of a run: of the search, of its first and last generations, and of every final network."""
    last = loaded.search.generations
    names = ["fitness.svg", "pareto.svg", "architecture.svg", "metrics.svg"]
    names += ["comparison.svg"] if compares(loaded) else []
    names += [f"training_gen_{number(generation)}.svg" for generation in sorted({0, min(1, last), last})]
    for model in loaded.final.models:
        names += [f"training_{model}.svg", f"overlays_{model}.png"]
    return names
