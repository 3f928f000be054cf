"""Conversion of a COCO split to TFRecord shards with Apache Beam.

One shard is one element of the pipeline: no record ever goes through a group-by, and the shards have the same bytes
whatever runner, mode and number of workers wrote them. The manifest is written last.
"""

import logging
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pipeline_lib import buckets, remote
from pipeline_lib.artifacts import sha256, write_json
from pipeline_lib.config import ConversionSettings, KeypointSchema, Reach, ValidationConfig
from pipeline_lib.data import beam, crops
from pipeline_lib.data.coco import Part, Selection, detections, ground_truth
from pipeline_lib.data.shards import DONE, PATTERN, plan, read_outcome
from pipeline_lib.data.validation import validate, validate_detections
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import VALIDATE_AGAIN, ArtifactError, ConfigError, DataError, StorageError
from pipeline_lib.remote import Place, Remote

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
PROGRESS_SECONDS = 5.0

Purpose = Literal["training", "ground_truth", "detections"]

_PLAN_PREFIX = ".plan-"


def convert(
    manifest: Path,
    *,
    annotations: Path,
    images: Place,
    split: str,
    purpose: Purpose,
    schema: KeypointSchema,
    settings: ConversionSettings,
    detected: Path | None = None,
    part: Part | None = None,
    reach: Reach | None = None,
    verdict: Verdict | None = None,
    of_detections: Verdict | None = None,
    shards: str | None = None,
) -> dict[str, Any]:
    """Write the shards of a split beside `manifest`, or to the folder `shards`, then the manifest; returns its content.

    `purpose`: people at their annotated boxes, with the training filter or without (`coco.ground_truth`), or at the
    boxes of the file `detected`; of a `part` of the images, if one is given (not for detections). Crop records hold what `reach`
    asks for. `verdict` and `of_detections` are what the validation said of annotations with their images, and of
    detections; what has none is validated here, with the default policies. What an earlier conversion left in the folder is
    removed. Raises `DataError`, or `ConfigError` for what does not go together.
    """
    form = _form(settings, reach, split)
    beam.check(settings)
    if purpose == "detections" and detected is None:
        raise ConfigError(
            f"{split}: boxes from detections need a detection file; name it in the data set's configuration"
        )
    if verdict is None:
        annotated = purpose != "detections"
        verdict = validate(annotations, schema, ValidationConfig(), images=images, annotated=annotated)
    sources, verdicts = {"annotations": annotations}, {"annotations": verdict}
    if purpose != "detections" or detected is None:
        selection = ground_truth(annotations, schema, training=purpose == "training", part=part, verdict=verdict)
    else:
        if of_detections is None:
            of_detections = validate_detections(detected, annotations, ValidationConfig(), verdict)
        selection = detections(detected, annotations, schema, verdict=verdict, of_detections=of_detections)
        sources["detections"], verdicts["detections"] = detected, of_detections
    _report(split, selection, annotations)
    if not {person.image.image_id for person in selection.people} <= verdict.digests.keys():
        raise ArtifactError(f"{annotations}: validated without its images; {VALIDATE_AGAIN}")

    folder = (manifest.parent if shards is None else remote.place(shards)).resolve()
    manifest.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)
    _remove_stale(folder)
    with _plans(folder) as plans:
        names = plan(selection.people, settings.shard_size, plans, verdict)
        with _progress(split, plans, len(names)):
            cropped = form.model_dump_json() if form else ""
            beam.run([(name, str(plans), str(images.resolve()), str(folder), cropped) for name in names], settings)
        written = [read_outcome(plans / f"{name}{DONE}") for name in names]
    _remove_temporary(folder)
    content = {
        "schema_version": SCHEMA_VERSION,
        "split": split,
        "boxes": "detections" if purpose == "detections" else "ground_truth",
        "records": settings.records,
        **({"crops": form.model_dump()} if form else {}),
        "keypoints": schema.model_dump(mode="json"),
        "part": None if part is None else asdict(part),
        "examples": len(selection.people),
        "unlabelled": sum(not person.labelled for person in selection.people),
        **({"folder": shards} if shards is not None else {}),
        "shards": written,
        "dropped": dict(selection.dropped),
        "validation": {kind: one.counts() for kind, one in verdicts.items()},
        "sources": {kind: {"file": path.name, "sha256": sha256(path)} for kind, path in sources.items()},
    }
    write_json(manifest, content)
    size = sum(shard["bytes"] for shard in written) / 1e6
    log.info("%s: wrote %d examples in %d shards, %.1f MB", split, content["examples"], len(written), size)
    return content


def _form(settings: ConversionSettings, reach: Reach | None, split: str) -> crops.Form | None:
    if (reach is None) != (settings.records == "images"):
        need = "need to know" if reach is None else "have nothing to do with"
        raise ConfigError(f"{split}: records of {settings.records} {need} the reach of an augmentation (--reach)")
    if reach is None:
        return None
    return crops.wanted(settings, reach)


def _report(split: str, selection: Selection, annotations: Path) -> None:
    dropped = ", ".join(f"{number} {reason}" for reason, number in selection.dropped.items()) or "none"
    log.info("%s: %d people, dropped: %s", split, len(selection.people), dropped)
    if not selection.people:
        raise DataError(f"{annotations}: nobody is left for {split} (dropped: {dropped}); check paths and annotations")


def _remove_stale(folder: Place) -> None:
    """Remove what an earlier conversion left."""
    if isinstance(folder, Remote):
        for name in buckets.names(str(folder)):
            if fnmatchcase(name, PATTERN) or name.startswith(_PLAN_PREFIX):
                buckets.remove(str(folder / name))
        return
    for stale in folder.glob(PATTERN):
        stale.unlink()
    _remove_temporary(folder)
    for stale in folder.glob(f"{_PLAN_PREFIX}*"):
        shutil.rmtree(stale)


def _remove_temporary(folder: Place) -> None:
    """Remove what a worker left that died while it wrote; a bucket has nothing of it."""
    if isinstance(folder, Path):
        for temporary in folder.glob(f".{PATTERN}.*.tmp"):
            temporary.unlink(missing_ok=True)


@contextmanager
def _plans(folder: Place) -> Iterator[Place]:
    """A folder for plans and outcomes, beside the shards, since all workers see it there; deleted in the end."""
    if isinstance(folder, Path):
        with tempfile.TemporaryDirectory(dir=folder, prefix=_PLAN_PREFIX) as own:
            yield Path(own)
        return
    plans = folder / f"{_PLAN_PREFIX}{uuid.uuid4().hex}"
    try:
        yield plans
    finally:
        for name in buckets.names(str(plans)):
            buckets.remove(str(plans / name))


@contextmanager
def _progress(split: str, plans: Place, shards: int) -> Iterator[None]:
    """Log now and then how many shards are done, whoever writes them where."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(PROGRESS_SECONDS):
            with suppress(StorageError):  # of a bucket that does not answer the workers tell
                log.info("%s: %d of %d shards", split, len(list(plans.glob(f"*{DONE}"))), shards)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
