"""Whether a data set is what it should be: persons and images counted, detections looked at. Needs no image."""

import logging
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import SCHEMA_VERSION
from pipeline_lib.config import DatasetConfig, Split
from pipeline_lib.data import coco
from pipeline_lib.data.validation import validate, validate_detections
from pipeline_lib.errors import DataError

log = logging.getLogger(__name__)


def inventory(dataset: DatasetConfig) -> dict[str, Any]:
    """The numbers of a data set, for the record.

    Persons are those that the conversion keeps of a split, images those that the annotations list, detections the boxes of
    persons. Raises `DataError` for a number that the section `download` expects otherwise, and for a file that is not what it
    should be. Detections that are not there are told in one warning.
    """
    download = dataset.download
    persons: dict[str, int] = dict(download.persons.items()) if download else {}
    images: dict[str, int] = dict(download.images.items()) if download else {}
    splits, absent = {}, []
    for name, split in dataset.splits().items():
        annotations = Path(split.annotations)
        found: dict[str, Any] = {"annotations": split.annotations}
        if name != "test":
            verdict = validate(annotations, dataset.keypoints, dataset.validation)
            selection = coco.ground_truth(annotations, dataset.keypoints, training=name == "train", verdict=verdict)
            found |= {"persons": len(selection.people), "dropped": dict(selection.dropped)}
            _compare(annotations, "persons", found["persons"], persons.get(name))
        if name in images:
            found["images"] = validate(annotations, dataset.keypoints, dataset.validation, annotated=False).entries[
                "images"
            ]
            _compare(annotations, "images", found["images"], images[name])
        if split.detections is not None:
            found["detections"] = _detections(split.detections, split, dataset)
            absent += [split.detections] if found["detections"] is None else []
        log.info(
            "%s: %s", name, ", ".join(f"{value:,} {key}" for key, value in found.items() if isinstance(value, int))
        )
        splits[name] = found
    if absent:
        log.warning(
            "not there: %s. How to get person detections: %s. Everything works without them on ground truth boxes: leave "
            "`detections` out of the data set's file",
            ", ".join(absent),
            download.detections if download else "put them there by hand",
        )
    return {"schema_version": SCHEMA_VERSION, "splits": splits}


def _compare(annotations: Path, what: str, found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise DataError(
            f"{annotations}: {found:,} {what} are in this split, {expected:,} are expected; this is another or a "
            "changed file: move it away and get it again (make coco), or correct the number in the data set's configuration"
        )


def _detections(path: str, split: Split, dataset: DatasetConfig) -> int | None:
    """The boxes of persons in a detection file; None when it is not there; raises `DataError`."""
    if not Path(path).exists():
        return None
    verdict = validate_detections(Path(path), Path(split.annotations), dataset.validation)
    dropped = verdict.number_dropped("detections")
    if not (left := verdict.entries["detections"] - sum(dropped.values())):
        raise DataError(
            f"{path}: no person in the images of {split.annotations} among the detections (dropped: {dropped}); "
            "put the detections of this split there"
        )
    return left
