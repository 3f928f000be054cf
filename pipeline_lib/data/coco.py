"""COCO keypoint annotations and person detections as plain records, filtered as the paper's authors filtered them."""

import json
import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.config import KeypointSchema
from pipeline_lib.errors import DataError

log = logging.getLogger(__name__)

PERSON = 1  # COCO's category id

FEW_IMAGES = 10
"""A hold-out of fewer is warned of."""

Box = tuple[float, float, float, float]


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
    images: Path | None = None,
    part: Part | None = None,
) -> Selection:
    """The annotated people of a COCO keypoint file, sorted by image id, then annotation id.

    For training, crowds, people without labelled keypoints and people whose keypoints all have v = 0 are dropped.
    For validation they stay, with v = 0, as in the paper's validation loss. In both, annotations of other categories than
    1, of unknown images and without a valid box are dropped and boxes are sanitised (as in the published program). With
    `images`, so are people whose image file is not in that folder, and with `part`, whose image is in the other one.
    Raises `DataError`.
    """
    content = _content(annotations)
    known = _images(content, annotations)
    selection = _Selector(known, images, part)
    entries = _list(content, "annotations", annotations)
    seen: set[int] = set()
    for number, entry in enumerate(entries):
        where = f"{annotations}, annotations[{number}]"
        identity = integer_of(entry, "id", where)
        if identity in seen:
            raise DataError(f"{where}: annotation id {identity} occurs twice; give every annotation its own id")
        seen.add(identity)
        if entry.get("category_id") is not None and integer_of(entry, "category_id", where) != PERSON:
            selection.drop("other_category")
            continue
        crowd = bool(entry.get("iscrowd", 0))
        keypoints = _keypoints(entry, schema, where, needed=not crowd)
        visible = any(v > 0 for v in keypoints[2::3])
        counted = entry.get("num_keypoints")
        unlabelled = not visible if counted is None else counted == 0
        image = selection.image(integer_of(entry, "image_id", where))
        if image is None:
            continue
        if training and crowd:
            selection.drop("crowd")
        elif training and unlabelled:
            selection.drop("no_labelled_keypoints")
        elif training and not visible:
            selection.drop("all_keypoints_invisible")
        else:
            box = box_of(entry, where)
            area = box[2] * box[3] if entry.get("area") is None else entry["area"]
            if not is_number(area):
                raise DataError(f"{where}: area is {area!r}; a number is expected")
            clean = sanitise(box, area, image.height, image.width)
            if clean is None:
                selection.drop("invalid_box")
                continue
            if crowd or unlabelled:
                keypoints = (0.0,) * len(keypoints)
            selection.keep((image.image_id, identity), Person(image, identity, clean, keypoints, area=float(area)))
    return selection.result()


def detections(detected: Path, annotations: Path, schema: KeypointSchema, *, images: Path | None = None) -> Selection:
    """The people of a detection file, sorted by image id, then place in the file.

    `detected` is a JSON list of {image_id, category_id, bbox [x, y, w, h], score}; `annotations` names the images.
    Category 1 is kept, whatever the score, and boxes stay as they are. Detections in images that `annotations` does not
    list, or (with `images`) that are not in that folder, are dropped. Raises `DataError`.
    """
    known = _images(_content(annotations), annotations)
    entries = parse(detected)
    if not isinstance(entries, list):
        raise DataError(f"{detected}: a JSON list of detections is expected, not an object; give a COCO results file")
    selection = _Selector(known, images)
    nothing = (0.0,) * (3 * len(schema.names))
    for number, entry in enumerate(entries):
        where = f"{detected}, [{number}]"
        if integer_of(entry, "category_id", where) != PERSON:
            selection.drop("other_category")
            continue
        image = selection.image(integer_of(entry, "image_id", where))
        if image is None:
            continue
        score = entry.get("score")
        if not is_number(score):
            raise DataError(f"{where}: score is {score!r}; a number is expected")
        selection.keep((image.image_id, number), Person(image, 0, box_of(entry, where), nothing, float(score)))
    return selection.result()


def images(annotations: Path) -> tuple[Image, ...]:
    """The images that a COCO file lists, in its order; raises `DataError`."""
    return tuple(_images(_content(annotations), annotations).values())


def sanitise(box: Box, area: float, height: int, width: int) -> Box | None:
    """The part of `box` (x, y, w, h) within an image, from pixel centre to pixel centre; None when nothing is left.

    `area` is the annotation's. A box one pixel wide comes out with width 0, as in the released program.
    """
    x, y, w, h = box
    left, top = max(0.0, x), max(0.0, y)
    right = min(width - 1.0, left + max(0.0, w - 1))
    bottom = min(height - 1.0, top + max(0.0, h - 1))
    if area > 0 and right >= left and bottom >= top:
        return left, top, right - left, bottom - top
    return None


class _Selector:
    """Collects people by sort key and counts the others by reason."""

    def __init__(self, known: Mapping[int, Image], folder: Path | None, part: Part | None = None) -> None:
        self._known = known
        self._folder = folder
        self._part = None if part is None else part.of(known)
        self._present: dict[int, bool] = {}
        self._kept: list[tuple[tuple[int, int], Person]] = []
        self._dropped: Counter[str] = Counter()

    def image(self, image_id: int) -> Image | None:
        """The image of a person; None, and the person counts as dropped, when there is none."""
        image = self._known.get(image_id)
        if image is None:
            self.drop("unknown_image")
            return None
        if self._part is not None and image_id not in self._part:
            self.drop("other_part")
            return None
        if image_id not in self._present:
            self._present[image_id] = self._folder is None or (self._folder / image.file_name).is_file()
        if not self._present[image_id]:
            self.drop("missing_image_file")
            return None
        return image

    def drop(self, reason: str) -> None:
        self._dropped[reason] += 1

    def keep(self, key: tuple[int, int], person: Person) -> None:
        self._kept.append((key, person))

    def result(self) -> Selection:
        people = tuple(person for _, person in sorted(self._kept, key=lambda entry: entry[0]))
        return Selection(people, dict(sorted(self._dropped.items())))


def parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: no such file; correct the path in the data set's configuration") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not JSON ({error}); download or unpack it again") from None


def _content(path: Path) -> dict[str, Any]:
    content = parse(path)
    if not isinstance(content, dict) or "images" not in content:
        raise DataError(f"{path}: not a COCO file: an object with `images` and `annotations` is expected")
    return content


def _list(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise DataError(f"{path}: not a COCO keypoint file: `{key}` must be a list; give person_keypoints_*.json")
    return entries


def _images(content: Mapping[str, Any], path: Path) -> dict[int, Image]:
    images: dict[int, Image] = {}
    for number, entry in enumerate(_list(content, "images", path)):
        where = f"{path}, images[{number}]"
        height, width, image_id = (integer_of(entry, key, where) for key in ("height", "width", "id"))
        name = entry.get("file_name")
        if not isinstance(name, str) or not name or height < 1 or width < 1:
            raise DataError(f"{where}: a file_name and positive height and width are expected")
        if image_id in images:
            raise DataError(f"{where}: image id {image_id} occurs twice; give every image its own id")
        images[image_id] = Image(image_id, name, height, width)
    return images


def integer_of(entry: Any, key: str, where: str) -> int:
    value: Any = entry.get(key) if isinstance(entry, dict) else None
    if not is_number(value) or value != int(value):
        raise DataError(f"{where}: {key} is {value!r}; an integer is expected, as in COCO files")
    return int(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def box_of(entry: Mapping[str, Any], where: str) -> Box:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise DataError(f"{where}: bbox is {box!r}; four numbers x, y, width, height are expected")
    x, y, width, height = (float(value) for value in box)
    return x, y, width, height


def _keypoints(entry: Mapping[str, Any], schema: KeypointSchema, where: str, needed: bool) -> tuple[float, ...]:
    """The numbers of an annotation; zeros for one that need not have any."""
    keypoints = entry.get("keypoints")
    expected = 3 * len(schema.names)
    if keypoints is None and not needed:
        return (0.0,) * expected
    if not isinstance(keypoints, list) or len(keypoints) != expected:
        given = f"{len(keypoints)} values" if isinstance(keypoints, list) else repr(keypoints)
        raise DataError(
            f"{where}: keypoints has {given}; {expected} numbers are expected, x, y, v for each of the "
            f"{len(schema.names)} names of the data set's keypoint schema: correct the schema or the annotation"
        )
    for index, value in enumerate(keypoints):
        if not is_number(value):
            name = schema.names[index // 3]
            raise DataError(
                f"{where}: keypoints[{index}] ({'xyv'[index % 3]} of {name}) is {value!r}; a finite number is expected, "
                "0, 0, 0 for what is not labelled"
            )
    return tuple(float(value) for value in keypoints)
