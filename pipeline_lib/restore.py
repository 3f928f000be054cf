"""Results that were copied: whether they are complete and unchanged, and times in the order in which the workflow makes them.

A copy gives its files times in any order, and Snakemake would make again whatever looks older than what it is made from.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from pipeline_lib.artifacts import SCHEMA_VERSION, read_document, sha256, write_json
from pipeline_lib.config import NonNegative, Section
from pipeline_lib.errors import ArtifactError
from pipeline_lib.explain import explain

MANIFEST = "artifacts.json"
"""Lies in the folder whose files it lists."""
STEP = 10_000_000
"""Nanoseconds between one step of the workflow and the next."""
LAG = 1_000_000_000
"""Nanoseconds by which a file system's clock may be behind."""
SHOWN = 10

# What is made later stands below; in one line stand files of which none is made from another.
_DATA = [
    r"source/.*|files/archives/.*",
    r"files/.*",
    r"(images|crops)/.*\.tfrecord",
    r"validation/[^/]*(?<!_detections)\.json",
    r"validation/[^/]*_detections\.json",
    r"(images|crops)/.*manifest\.json",
]
_EXPERIMENT = [
    r"search/gen_(?P<generation>\d+)/(?P<name>.*)",
    r"champion\.(json|safetensors)",
    r"models/[^/]+/(model\.json|initial\.safetensors|inheritance\.json)",
    r"models/[^/]+/(weights\.safetensors|history\.csv)",
    r"(models/[^/]+|mean_pose)/(latency|predictions_[a-z_]+(?<!_refined))\.json",
    r"refiner/.*",
    r"models/[^/]+/predictions_[a-z_]+_refined\.json",
    r"(models/[^/]+|mean_pose)/metrics_[a-z_]+\.json|models/[^/]+/submission_.*",
    r"figures/.*|networks\.csv",
    r"summary\.(md|json|html)|plan\.json",
    r"costs\.(csv|html)",
]
_GENERATION = [
    r"children\.json|genotypes\.csv",
    r"[^/]+/(initial\.safetensors|inheritance\.json)",
    r"[^/]+/(weights\.safetensors|history\.csv)",
    r"[^/]+/score\.json",
    r"population\.csv|parents\.json|parents/\d+\.safetensors",
]
Place = tuple[int, str, int, int, int]


def place(path: str) -> Place:
    """The place of a file in the order of the workflow, from its path in a folder of results; equal: in any order.

    Data come before the experiments, these in the order of their names, and what is in neither after them. In an experiment:
    the generations in their order, the final networks, the report.
    """
    for step, pattern in enumerate(_EXPERIMENT):
        if found := re.fullmatch(rf"(?P<folder>(.*?/)?)(?:{pattern})", path):
            parts = found.groupdict()
            generation, name = int(parts.get("generation") or 0), parts.get("name") or ""
            return 1, parts["folder"], step, generation, _step(_GENERATION, name)
    step = _step([rf"(.*/)?(?:{pattern})" for pattern in _DATA], path)
    return (0, "", step, 0, 0) if step < len(_DATA) else (2, "", 0, 0, 0)


def _step(patterns: Sequence[str], text: str) -> int:
    return next((step for step, pattern in enumerate(patterns) if re.fullmatch(pattern, text)), len(patterns))


class Entry(Section):
    """A file as it was."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: NonNegative


class Manifest(Section):
    """artifacts.json: the files of a folder by their paths in it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    files: dict[str, Entry] = Field(min_length=1)


@dataclass(frozen=True)
class Stamped:
    """What was done to a folder: the number of files that are as listed and have new times, and those not listed."""

    files: int
    extra: Sequence[str]


def make(folder: Path) -> int:
    """List the files of `folder` in its manifest; returns their number. Hidden ones and links are left out."""
    names = list(files(folder))
    if not names:
        raise ArtifactError(f"{folder}: there are no files to list; name a folder of results")
    listed = {name: entry(folder / name).model_dump() for name in names}
    write_json(folder / MANIFEST, {"schema_version": SCHEMA_VERSION, "files": listed})
    return len(listed)


def entry(path: Path) -> Entry:
    """A file as it is."""
    return Entry(sha256=sha256(path), bytes=path.stat().st_size)


def restore(folders: Sequence[Path]) -> list[Stamped]:
    """Give the files of `folders` times in the order of the workflow, those of a later folder later ones, but data come first.

    Raises `ArtifactError` when a file is missing or differs from the folder's manifest; then no time is changed.
    """
    found = [check(folder) for folder in folders]
    steps: dict[tuple[int, Place], list[Path]] = {}
    for index, (folder, names) in enumerate(zip(folders, found, strict=True)):
        # Experiments are made from data, whatever was named first.
        turn = index + len(folders) * any(place(name)[0] == 1 for name in names)
        for name in names:
            steps.setdefault((turn, place(name)), []).append(folder / name)
    # All in the past, by the clock of the files, too: what is made next must not be older than what it is made from.
    stamp = time.time_ns() - LAG - STEP * len(steps)
    for step in sorted(steps):
        stamp += STEP
        for path in steps[step]:
            os.utime(path, ns=(stamp, stamp))
    # Snakemake takes the benchmark of a job for one of its outputs.
    for path in (path for folder in folders for path in _benchmarks(folder)):
        os.utime(path, ns=(stamp, stamp))
    return [
        Stamped(len(names), [name for name in files(folder) if name not in names])
        for folder, names in zip(folders, found, strict=True)
    ]


def check(folder: Path) -> list[str]:
    """The files in a folder's manifest; raises `ArtifactError` naming those that are missing, differ, or lie elsewhere."""
    files = listed(folder)
    missing = [name for name in files if not (folder / name).is_file()]
    present = [name for name in files if name not in set(missing)]
    differing = [
        name
        for name in present
        if (folder / name).stat().st_size != files[name].bytes or sha256(folder / name) != files[name].sha256
    ]
    problems = [f"missing: {_listed(missing)}"] if missing else []
    problems += [f"not as listed in {MANIFEST}: {_listed(differing)}"] if differing else []
    if problems:
        raise ArtifactError(f"{folder}: {'; '.join(problems)}; get these files again; no times were changed")
    return list(files)


def listed(folder: Path) -> dict[str, Entry]:
    """What a folder's manifest says; raises `ArtifactError` when it is none, or leads out of the folder."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; make it where the results are in order (option --make)")
    try:
        files = Manifest.model_validate(read_document(path, "get it again")).files
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a manifest of files: {explain(error)}; get it again") from None
    if outside := [name for name in files if not _is_inside(folder, name)]:
        raise ArtifactError(
            f"{path}: it lists what is not in {folder}: {_listed(outside)}; get it again from its source"
        )
    return files


def files(folder: Path) -> Iterator[str]:
    """The paths of a folder's files in it, but for hidden ones, links, and the manifest."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder")
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and not path.is_symlink() and path != folder / MANIFEST:
                yield path.relative_to(folder).as_posix()


def _benchmarks(folder: Path) -> list[Path]:
    """The benchmarks beside a folder of results: of results/demo what is in benchmarks/demo."""
    parts = folder.resolve().parts
    if "results" not in parts:
        return []
    index = len(parts) - 1 - parts[::-1].index("results")
    found = Path(*parts[:index], "benchmarks", *parts[index + 1 :]).rglob("*.tsv")
    return [path for path in found if not path.is_symlink()]


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a manifest's path is written as this module does, and leads to no other place, over links either."""
    path = PurePosixPath(name)
    if "\0" in name or path.is_absolute() or ".." in path.parts or path.as_posix() != name:
        return False
    return (folder / name).resolve().is_relative_to(folder.resolve())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
