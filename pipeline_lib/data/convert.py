"""Conversion of a COCO split to TFRecord shards with Apache Beam.

One shard is one element of the pipeline: no record ever goes through a group-by, and the shards have the same bytes
whatever runner, mode and number of workers wrote them. The manifest is written last.
"""

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pipeline_lib.artifacts import read_json, sha256, write_json
from pipeline_lib.config import ConversionSettings, KeypointSchema, Reach, ValidationConfig
from pipeline_lib.data import crops
from pipeline_lib.data.coco import Part, Selection, detections, ground_truth
from pipeline_lib.data.shards import DONE, PATTERN, plan, write_shard
from pipeline_lib.data.validation import validate, validate_detections
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import VALIDATE_AGAIN, ArtifactError, ConfigError, DataError

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
FN_API_RUNNER = "FnApiRunner"
PROGRESS_SECONDS = 5.0

Purpose = Literal["training", "ground_truth", "detections"]

_PLAN_PREFIX = ".plan-"


def convert(
    manifest: Path,
    *,
    annotations: Path,
    images: Path,
    split: str,
    purpose: Purpose,
    schema: KeypointSchema,
    settings: ConversionSettings,
    detected: Path | None = None,
    part: Part | None = None,
    reach: Reach | None = None,
    verdict: Verdict | None = None,
    of_detections: Verdict | None = None,
) -> dict[str, Any]:
    """Write the shards of a split beside `manifest`, then the manifest; returns its content.

    `purpose`: people at their annotated boxes, with the training filter or without (`coco.ground_truth`), or at the
    boxes of the file `detected`; of a `part` of the images, if one is given (not for detections). Crop records hold what `reach`
    asks for. `verdict` and `of_detections` are what the validation said of annotations with their images, and of
    detections; what has none is validated here, with the default policies. What an earlier conversion left in the folder is
    removed. Raises `DataError`, or `ConfigError` for what does not go together.
    """
    form = _form(settings, reach, split)
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

    folder = manifest.parent.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)
    _remove_stale(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PLAN_PREFIX) as plans:
        names = plan(selection.people, settings.shard_size, Path(plans), verdict)
        with _progress(split, Path(plans), len(names)):
            cropped = json.dumps(form.content()) if form else ""
            _run([(name, plans, str(images.resolve()), str(folder), cropped) for name in names], settings)
        shards = [_outcome(Path(plans) / f"{name}{DONE}") for name in names]
    content = {
        "schema_version": SCHEMA_VERSION,
        "split": split,
        "boxes": "detections" if purpose == "detections" else "ground_truth",
        "records": settings.records,
        **({"crops": form.content()} if form else {}),
        "keypoints": schema.model_dump(mode="json"),
        "part": None if part is None else asdict(part),
        "examples": len(selection.people),
        "unlabelled": sum(not person.labelled for person in selection.people),
        "shards": shards,
        "dropped": dict(selection.dropped),
        "validation": {kind: one.counts() for kind, one in verdicts.items()},
        "sources": {kind: {"file": path.name, "sha256": sha256(path)} for kind, path in sources.items()},
    }
    write_json(manifest, content)
    size = sum(shard["bytes"] for shard in shards) / 1e6
    log.info("%s: wrote %d examples in %d shards, %.1f MB", split, content["examples"], len(shards), size)
    return content


def _form(settings: ConversionSettings, reach: Reach | None, split: str) -> crops.Form | None:
    if (reach is None) != (settings.records == "images"):
        need = "need to know" if reach is None else "have nothing to do with"
        raise ConfigError(f"{split}: records of {settings.records} {need} the reach of an augmentation (--reach)")
    if reach is None:
        return None
    return crops.Form(
        reach, settings.crop_encoding, settings.jpeg_quality if settings.crop_encoding == "jpeg" else None
    )


def _report(split: str, selection: Selection, annotations: Path) -> None:
    dropped = ", ".join(f"{number} {reason}" for reason, number in selection.dropped.items()) or "none"
    log.info("%s: %d people, dropped: %s", split, len(selection.people), dropped)
    if not selection.people:
        raise DataError(f"{annotations}: nobody is left for {split} (dropped: {dropped}); check paths and annotations")


def _remove_stale(folder: Path) -> None:
    for stale in (*folder.glob(PATTERN), *folder.glob(f".{PATTERN}.*.tmp")):
        stale.unlink()
    for stale in folder.glob(f"{_PLAN_PREFIX}*"):
        shutil.rmtree(stale)


def _run(shards: Sequence[tuple[str, ...]], settings: ConversionSettings) -> None:
    """Write the shards with Beam and wait for it."""
    logging.disable(logging.WARNING)  # Beam warns at import about cloud packages that nothing here needs
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.runner import create_runner
    finally:
        logging.disable(logging.NOTSET)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)

    flags = list(settings.options)
    if settings.runner == FN_API_RUNNER:
        workers = 1 if settings.mode == "in_memory" else settings.workers
        flags += [f"--direct_running_mode={settings.mode}", f"--direct_num_workers={workers}"]
    try:
        runner = create_runner(settings.runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(
            f"conversion.runner: {settings.runner} is not a Beam runner that runs here ({error})"
        ) from None
    pipeline = beam.Pipeline(runner=runner, options=PipelineOptions(flags))
    _ = pipeline | "Plan" >> beam.Create(shards) | beam.Reshuffle() | "Write" >> beam.MapTuple(write_shard)
    pipeline.run().wait_until_finish()


@contextmanager
def _progress(split: str, plans: Path, shards: int) -> Iterator[None]:
    """Log now and then how many shards are done, whoever writes them where."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(PROGRESS_SECONDS):
            log.info("%s: %d of %d shards", split, len(list(plans.glob(f"*{DONE}"))), shards)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def _outcome(path: Path) -> dict[str, Any]:
    outcome: dict[str, Any] = read_json(path)
    if "error" in outcome:
        raise DataError(outcome["error"])
    return outcome
