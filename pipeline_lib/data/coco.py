"""COCO keypoint annotations and person detections as plain records, filtered as the paper's authors filtered them."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.config import COCO_KEYPOINTS, KeypointSchema, ValidationConfig
from pipeline_lib.data import coco_json
from pipeline_lib.data.coco_json import Box
from pipeline_lib.data.validation import validate, validate_detections
from pipeline_lib.data.verdict import Verdict, check, read_content
from pipeline_lib.errors import VALIDATE_AGAIN, ArtifactError, DataError

log = logging.getLogger(__name__)

FEW_IMAGES = 10
"""A hold-out of fewer is warned of."""


@dataclass(frozen=True)
class Image:
    """An image that an annotation file lists."""

    image_id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class Person:
    """A person to be cropped: from an annotation, or from a detection (annotation id 0, keypoints all zero)."""

    image: Image
    annotation_id: int
    box: Box  # x, y, width, height in pixels
    keypoints: tuple[float, ...]  # K x (x, y, v)
    score: float = 1.0
    area: float = 0.0  # of an annotation, in pixels

    @property
    def labelled(self) -> bool:
        """Whether any keypoint has v > 0."""
        return any(v > 0 for v in self.keypoints[2::3])


@dataclass(frozen=True)
class Part:
    """A part of the annotated images: the hold-out of a fraction of them, or all others.

    Which images are held out depends on their ids and the fraction alone.
    """

    fraction: float
    held_out: bool

    def of(self, image_ids: Collection[int]) -> frozenset[int]:
        """The images of this part; raises `DataError` when none would be held out, and warns of a few."""
        ordered = np.random.default_rng(0).permutation(sorted(image_ids))
        number = round(self.fraction * len(ordered))
        if number < 1:
            raise DataError(
                f"search.holdout: {self.fraction:g} of {len(ordered):,} images is not a single one; raise it"
            )
        if self.held_out and number < FEW_IMAGES:
            log.warning(
                "search.holdout: %g of %d images holds out %d: the fitness of so few says little; raise it",
                *(self.fraction, len(ordered), number),
            )
        return frozenset((ordered[:number] if self.held_out else ordered[number:]).tolist())


@dataclass(frozen=True)
class Selection:
    """The people of a split in a fixed order, and how many others were dropped for which reason."""

    people: tuple[Person, ...]
    dropped: Mapping[str, int]


def ground_truth(
    annotations: Path,
    schema: KeypointSchema,
    *,
    training: bool,
    part: Part | None = None,
    verdict: Verdict | None = None,
) -> Selection:
    """The annotated people of a COCO keypoint file, sorted by image id, then annotation id.

    They are those that `verdict` leaves, with the values that count; without one the annotations are validated here, with the
    default policies and without their images. For training, crowds, people without labelled keypoints and people whose
    keypoints all have v = 0 are dropped. For validation they stay, with v = 0, as in the paper's validation loss. In both,
    people without a valid box are dropped and boxes are cut to the image (as in the published program), and with `part`
    people whose image is in the other one. Raises `DataError`.
    """
    if verdict is None:
        verdict = validate(annotations, schema, ValidationConfig())
    content = read_content(annotations, verdict)
    known = _images(content)
    inside = None if part is None else part.of(known)
    selection = _Selector(verdict.number_dropped("annotations"))
    nothing = (0.0,) * (3 * len(schema.names))
    for entry in content["annotations"]:
        image, identity = known[int(entry["image_id"])], int(entry["id"])
        crowd = bool(entry.get("iscrowd", 0))
        keypoints = nothing if entry.get("keypoints") is None else tuple(map(float, entry["keypoints"]))
        visible = any(v > 0 for v in keypoints[2::3])
        counted = entry.get("num_keypoints")
        unlabelled = not visible if counted is None else counted == 0
        box = coco_json.box(entry)
        clean = None if box is None else sanitise(box, entry["area"], image.height, image.width)
        if inside is not None and image.image_id not in inside:
            selection.drop("other_part")
        elif training and crowd:
            selection.drop("crowd")
        elif training and unlabelled:
            selection.drop("no_labelled_keypoints")
        elif training and not visible:
            selection.drop("all_keypoints_invisible")
        elif clean is None:
            selection.drop("invalid_box")
        else:
            shown = nothing if crowd or unlabelled else keypoints
            person = Person(image, identity, clean, shown, area=float(entry["area"]))
            selection.keep((image.image_id, identity), person)
    return selection.result()


def detections(
    detected: Path,
    annotations: Path,
    schema: KeypointSchema,
    *,
    verdict: Verdict | None = None,
    of_detections: Verdict | None = None,
) -> Selection:
    """The people of a detection file, sorted by image id, then place in the file.

    `detected` is a JSON list of {image_id, category_id, bbox [x, y, w, h], score}; `annotations` names the images. Those that
    the verdicts of both files leave are kept, whatever the score, and boxes stay as they are; without a verdict a file is
    validated here, with the default policies and without images. Raises `DataError`.
    """
    policies = ValidationConfig()
    if verdict is None:
        verdict = validate(annotations, schema, policies, annotated=False)
    if of_detections is None:
        of_detections = validate_detections(detected, annotations, policies, verdict)
    check(of_detections, detected)
    known = _images(read_content(annotations, verdict))
    selection = _Selector(of_detections.number_dropped("detections"))
    nothing = (0.0,) * (3 * len(schema.names))
    entries = coco_json.results(detected)
    for number, entry in of_detections.left("detections", entries):
        image, box = known.get(int(entry["image_id"])), coco_json.box(entry)
        if image is None or box is None:
            raise ArtifactError(f"{detected}, [{number}]: not in an image that is used; {VALIDATE_AGAIN}")
        selection.keep((image.image_id, number), Person(image, 0, box, nothing, float(entry["score"])))
    return selection.result()


def images(annotations: Path, verdict: Verdict | None = None) -> tuple[Image, ...]:
    """The images of a COCO file that `verdict` leaves (see `ground_truth`), in its order; raises `DataError`."""
    if verdict is None:
        verdict = validate(annotations, COCO_KEYPOINTS, ValidationConfig(), annotated=False)
    return tuple(_images(read_content(annotations, verdict)).values())


def sanitise(box: Box, area: float, height: int, width: int) -> Box | None:
    """The part of `box` (x, y, w, h) within an image (`coco_json.within`); None when nothing is left.

    Nothing is left of a person whose `area`, the annotation's, is not above 0.
    """
    return coco_json.within(box, height, width) if area > 0 else None


class _Selector:
    """Collects people by sort key and counts the others by reason."""

    def __init__(self, dropped: Mapping[str, int]) -> None:
        self._kept: list[tuple[tuple[int, int], Person]] = []
        self._dropped: Counter[str] = Counter(dropped)

    def drop(self, reason: str) -> None:
        self._dropped[reason] += 1

    def keep(self, key: tuple[int, int], person: Person) -> None:
        self._kept.append((key, person))

    def result(self) -> Selection:
        people = tuple(person for _, person in sorted(self._kept, key=lambda entry: entry[0]))
        return Selection(people, dict(sorted(self._dropped.items())))


def _images(content: Mapping[str, Any]) -> dict[int, Image]:
    """The images of a validated COCO file, by id."""
    found = {}
    for entry in content["images"]:
        image_id, height, width = (int(entry[key]) for key in ("id", "height", "width"))
        found[image_id] = Image(image_id, entry["file_name"], height, width)
    return found
