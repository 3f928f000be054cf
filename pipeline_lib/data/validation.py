"""Validation of a data set before its conversion: what in annotations, images and detections is not what it should be.

Everything is looked at once, here; what is found is dealt with as the data set's configuration says, and written down in a
`Verdict`, which all that read the same file apply.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import sha256
from pipeline_lib.config import KeypointSchema, ValidationConfig
from pipeline_lib.config.validation import allowed
from pipeline_lib.data import coco_json
from pipeline_lib.data.coco_json import Box
from pipeline_lib.data.images import Look, look
from pipeline_lib.data.verdict import EXAMPLES, OF_DROPPED_IMAGE, Found, List, Verdict, read_content
from pipeline_lib.errors import DataError
from pipeline_lib.remote import READERS, Place, Remote

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0

EDGE = 0.01
"""Pixels that a box may reach out of its image: annotations are rounded to hundredths."""

IMAGES_AHEAD = 16
"""Images for each thread that are read ahead."""

VISIBILITIES = (0, 1, 2)

REMEDIES = {
    "malformed_image": "correct the entry",
    "duplicate_image_id": "give every image its own id",
    "missing_image": "put the images of the data set there",
    "empty_image": "get it again",
    "unreadable_image": "get it again",
    "truncated_image": "get it again",
    "size_mismatch": "use annotations and images that belong together",
    "cmyk_image": "save it as RGB",
    "sixteen_bit_image": "save it with 8 bits",
    "progressive_image": "save it as a baseline JPEG",
    "exif_rotated_image": "save it turned, or without its orientation, whichever its annotations are of",
    "malformed_annotation": "correct the annotation",
    "duplicate_annotation_id": "give every annotation its own id",
    "unknown_image": "correct the image_id, or add the image",
    "other_category": "give persons the category_id 1",
    "malformed_box": "correct the box",
    "box_outside": "correct the box, or the size of the image",
    "keypoint_length": "correct the annotation, or the schema: `keypoints` of the data set's configuration",
    "invalid_keypoint": "correct it; what is not labelled is 0, 0, 0",
    "invalid_visibility": "correct it: 0 is not labelled, 1 labelled and hidden, 2 labelled and visible",
    "missing_area": "give every annotation an area",
    "invalid_area": "correct the area",
    "malformed_detection": "correct the detection",
    "detection_of_unknown_image": "give the detections of this split",
}


@dataclass
class _Kind:
    """What was found of one kind: how often, and the first examples in words."""

    number: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Item:
    """An entry of a list of the file: its place there, its id where it has one, and the file that it is about."""

    which: List
    place: int
    identity: int | None = None
    where: str | None = None

    @property
    def name(self) -> str:
        """For messages: annotations[3]; of the list that is the file, [3]."""
        return f"{'' if self.which == 'detections' else self.which}[{self.place}]"


@dataclass
class _Findings:
    """What was found in a file so far, and what follows from it."""

    path: Path
    policies: ValidationConfig
    kinds: dict[str, _Kind] = field(default_factory=dict)
    dropped: dict[List, dict[str, list[tuple[int, int | None]]]] = field(default_factory=dict)
    repaired: dict[List, dict[int, dict[str, Any]]] = field(default_factory=dict)

    def judge(self, kind: str, item: "_Item", text: str, repair: Mapping[str, Any] | None = None) -> bool:
        """Count something of `kind` at an item; returns whether that is still used.

        `repair` has the values that count with that policy, if other ones do; None: the item is left out, since nothing can
        be repaired.
        """
        found = self.kinds.setdefault(kind, _Kind())
        found.number += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append(f"{item.where or f'{self.path}, {item.name}'}: {text}")
        policy = self.policy(kind)
        if policy == "accept":
            return True
        if policy == "repair" and repair is not None:
            if repair:
                self.repaired.setdefault(item.which, {}).setdefault(item.place, {}).update(repair)
            return True
        self.repaired.get(item.which, {}).pop(item.place, None)
        self.dropped.setdefault(item.which, {}).setdefault(kind, []).append((item.place, item.identity))
        return False

    def policy(self, kind: str) -> str:
        """What is done about a kind. Nothing can be done for what lies in an image that is left out."""
        return "drop" if kind == OF_DROPPED_IMAGE else getattr(self.policies, kind)

    def stop(self) -> None:
        """Raise `DataError` in one sentence when there is what is fatal; all that was found is logged before."""
        fatal = [kind for kind in self.kinds if self.policy(kind) == "fatal"]
        if not fatal:
            return
        self.report()
        kind, found = fatal[0], self.kinds[fatal[0]]
        others = [f"{found.number - 1} more such"] if found.number > 1 else []
        others += [f"{self.kinds[other].number} {other}" for other in fatal[1:]]
        raise DataError(
            f"{found.examples[0]}; {REMEDIES[kind]}, or set dataset.validation.{kind} to "
            f"{' or '.join(policy for policy in allowed(kind) if policy != 'fatal')}"
            f"{f' (besides {_listed(others)}; the log names examples)' if others else ''}"
        )

    def report(self) -> None:
        """Log what was found, with examples."""
        for kind, found in self.kinds.items():
            log.warning("%s: %s (%s)", kind, f"{found.number:,}", self.policy(kind))
            for example in found.examples:
                log.warning("  %s", example)

    def verdict(self, entries: Mapping[List, int], **more: Any) -> Verdict:
        """What all of this comes to."""
        return Verdict(
            file=self.path.name,
            sha256=sha256(self.path),
            entries=dict(entries),
            found={
                kind: Found(policy=self.policy(kind), number=found.number, examples=tuple(found.examples))
                for kind, found in self.kinds.items()
            },
            dropped={which: {kind: tuple(one) for kind, one in kinds.items()} for which, kinds in self.dropped.items()},
            repaired={which: values for which, values in self.repaired.items() if values},
            **more,
        )


@dataclass(frozen=True)
class _Image:
    """An image that is used so far; `size` None: its entry does not say it."""

    item: _Item
    file_name: str
    size: tuple[int, int] | None


def validate(
    annotations: Path,
    schema: KeypointSchema,
    policies: ValidationConfig,
    *,
    images: Place | None = None,
    annotated: bool = True,
    workers: int = 1,
) -> Verdict:
    """What is to be said of a COCO keypoint file and, with their folder `images`, of the files that it lists.

    Args:
        schema: the keypoints that its people have.
        annotated: whether it has annotations; an image list has none.
        workers: threads that look at the images.

    Raises:
        DataError: there is something fatal, no COCO file, or no folder of images; names file, item and remedy.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: no such folder of images; correct the path in the data set's configuration")
    content = coco_json.read(annotations)
    listed = coco_json.entries(content, "images", annotations)
    people = coco_json.entries(content, "annotations", annotations) if annotated else []
    found = _Findings(annotations, policies)
    known, gone = _images(listed, found, sized=images is None)
    persons = _annotations(people, known, gone, schema, found)
    found.stop()
    looks = {} if images is None else _look(images, known, found, workers)
    found.stop()
    sizes = {image_id: _size(image, looks.get(image_id), found) for image_id, image in known.items()}
    for person in persons:
        if person.image_id in sizes:
            _inside(person, sizes[person.image_id], found)
        else:
            found.judge(OF_DROPPED_IMAGE, person.item, _in_dropped(person.image_id))
    found.stop()
    found.report()
    read = {image_id: _reading(one, found.policies) for image_id, one in looks.items()}
    log.info("%s: %d images, %d annotations, %s", annotations, len(listed), len(people), _summed(found))
    return found.verdict(
        {"images": len(listed), "annotations": len(people)},
        rewritten={image_id: reading for image_id, reading in read.items() if reading is not None},
        digests={image_id: one.digest for image_id, one in looks.items()},
    )


def validate_detections(
    detections: Path, annotations: Path, policies: ValidationConfig, verdict: Verdict | None = None
) -> Verdict:
    """What is to be said of a detection file, whose images `annotations` list; `verdict` is that of these.

    Raises `DataError` as `validate` does.
    """
    listed = _ids(coco_json.read(annotations), annotations)
    used = listed if verdict is None else _ids(read_content(annotations, verdict), annotations)
    entries = coco_json.results(detections)
    found = _Findings(detections, policies)
    for place, entry in enumerate(entries):
        _detection(_Item("detections", place), entry, listed, used, found)
    found.stop()
    found.report()
    log.info("%s: %d detections, %s", detections, len(entries), _summed(found))
    return found.verdict({"detections": len(entries)})


def _ids(content: Mapping[str, Any], annotations: Path) -> set[int | None]:
    return {coco_json.integer(image, "id") for image in coco_json.entries(content, "images", annotations)}


def _summed(found: _Findings) -> str:
    return ", ".join(f"{one.number} {kind}" for kind, one in found.kinds.items()) or "nothing wrong"


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _images(entries: Sequence[Any], found: _Findings, sized: bool) -> tuple[dict[int, _Image], set[int]]:
    """The images that are used so far, by id, and the ids of those that are not; `sized`: all have to say their size."""
    known: dict[int, _Image] = {}
    gone: set[int] = set()
    for place, entry in enumerate(entries):
        image_id = coco_json.integer(entry, "id")
        item = _Item("images", place, image_id)
        if image_id is None:
            found.judge("malformed_image", item, coco_json.not_an_integer(entry, "id"))
        elif image_id in known:
            text = f"image id {image_id} occurs twice, first in images[{known[image_id].item.place}]"
            found.judge("duplicate_image_id", item, text)
        elif isinstance(name := entry.get("file_name"), str) and not coco_json.is_below(name):
            text = f"image {image_id} has file_name {coco_json.shown(name)}; {coco_json.A_PATH_BELOW} is expected"
            found.judge("malformed_image", item, text)
            gone.add(image_id)
        elif (image := _image(item, entry, sized)) is None:
            given = ", ".join(f"{key} {coco_json.shown(entry.get(key))}" for key in ("file_name", "height", "width"))
            text = f"image {image_id} has {given}; a file_name and positive height and width are expected"
            found.judge("malformed_image", item, text)
            gone.add(image_id)
        else:
            known[image_id] = image
    return known, gone - known.keys()


def _image(item: _Item, entry: Mapping[str, Any], sized: bool) -> _Image | None:
    name, height, width = entry.get("file_name"), coco_json.integer(entry, "height"), coco_json.integer(entry, "width")
    if not isinstance(name, str) or not name:
        return None
    if not sized and entry.get("height") is None and entry.get("width") is None:
        return _Image(item, name, None)
    return _Image(item, name, (height, width)) if min(height or 0, width or 0) > 0 and height and width else None


@dataclass(frozen=True)
class _Person:
    """An annotation that is used so far."""

    item: _Item
    image_id: int
    box: Box


def _annotations(
    entries: Sequence[Any],
    known: Mapping[int, _Image],
    gone: set[int],
    schema: KeypointSchema,
    found: _Findings,
) -> list[_Person]:
    """The people that are used so far; those of images in `gone` are left out with these."""
    first: dict[int, int] = {}
    new = _unused(entries)
    people = []
    for place, entry in enumerate(entries):
        identity, image_id = coco_json.integer(entry, "id"), coco_json.integer(entry, "image_id")
        item = _Item("annotations", place, identity)
        if identity is None or not _has_category(entry):
            key = "id" if identity is None else "category_id"
            found.judge("malformed_annotation", item, coco_json.not_an_integer(entry, key))
            continue
        if entry.get("category_id") is not None and entry["category_id"] != coco_json.PERSON:
            found.judge("other_category", item, _of_category(entry))
            continue
        if identity in first:
            text = f"annotation id {identity} occurs twice, first in annotations[{first[identity]}]"
            if not found.judge("duplicate_annotation_id", item, text, {"id": next(new)}):
                continue
        first.setdefault(identity, place)
        if image_id is None:
            found.judge(
                "malformed_annotation", item, f"annotation {identity}: {coco_json.not_an_integer(entry, 'image_id')}"
            )
        elif image_id in gone:
            found.judge(OF_DROPPED_IMAGE, item, _in_dropped(image_id))
        elif image_id not in known:
            text = f"annotation {identity}: image_id is {image_id}, which none of the {len(known):,} images has"
            found.judge("unknown_image", item, text)
        else:
            judge = partial(_judge_person, found, item, known[image_id])
            if (box := _box(entry, judge)) and _keypoints(entry, schema, judge) and _area(entry, box, judge):
                people.append(_Person(item, image_id, box))
    return people


def _judge_person(
    found: _Findings, item: _Item, image: _Image, kind: str, text: str, repair: Mapping[str, Any] | None = None
) -> bool:
    return found.judge(kind, item, f"annotation {item.identity} in {image.file_name}: {text}", repair)


def _of_category(entry: Mapping[str, Any]) -> str:
    return f"category_id is {entry['category_id']}; that of a person is {coco_json.PERSON}"


def _in_dropped(image_id: int) -> str:
    return f"its image {image_id} is left out"


def _unused(entries: Iterable[Any]) -> Iterator[int]:
    """Annotation ids that none has."""
    taken = {coco_json.integer(entry, "id") for entry in entries}
    return (number for number in count(1) if number not in taken)


def _has_category(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation's category_id can be one; left out, it is a person's."""
    return entry.get("category_id") is None or coco_json.integer(entry, "category_id") is not None


def _box(entry: Mapping[str, Any], judge: Callable[..., bool]) -> Box | None:
    """The box of a person who is used so far, with numbers that tell what it is; None of one who is not."""
    if entry.get("iscrowd") not in (None, 0, 1):
        judge("malformed_annotation", f"iscrowd is {coco_json.shown(entry['iscrowd'])}; 0 or 1 is expected")
        return None
    if entry.get("num_keypoints") is not None and coco_json.integer(entry, "num_keypoints") is None:
        judge("malformed_annotation", coco_json.not_an_integer(entry, "num_keypoints"))
        return None
    box = coco_json.box(entry)
    if box is None:
        judge("malformed_box", _no_box(entry))
    return box


def _no_box(entry: Mapping[str, Any]) -> str:
    return f"bbox is {coco_json.shown(entry.get('bbox'))}; four numbers x, y, width, height are expected"


def _keypoints(entry: Mapping[str, Any], schema: KeypointSchema, judge: Callable[..., bool]) -> bool:
    """Whether a person is used with its keypoints, repaired or not. A crowd need not have any."""
    keypoints = entry.get("keypoints")
    expected = 3 * len(schema.names)
    if keypoints is None and entry.get("iscrowd"):
        return True
    if not isinstance(keypoints, list) or len(keypoints) != expected:
        given = f"{len(keypoints)} values" if isinstance(keypoints, list) else coco_json.shown(keypoints)
        text = (
            f"keypoints has {given}; {expected} numbers are expected, x, y, v for each of the {len(schema.names)} names of "
            "the data set's keypoint schema"
        )
        return judge("keypoint_length", text)
    wrong = [index for index, value in enumerate(keypoints) if not coco_json.is_number(value)]
    if wrong:
        keypoints = list(keypoints)
        text = (
            f"keypoints[{wrong[0]}] ({'xyv'[wrong[0] % 3]} of {schema.names[wrong[0] // 3]}) is "
            f"{coco_json.shown(keypoints[wrong[0]])}; a finite number is expected"
        )
        for index in wrong:
            first = index - index % 3
            keypoints[first : first + 3] = [0, 0, 0]
        if not judge("invalid_keypoint", text, _repaired(entry, keypoints)):
            return False
    odd = [index for index in range(2, expected, 3) if keypoints[index] not in VISIBILITIES]
    if odd:
        text = f"v of {schema.names[odd[0] // 3]} is {keypoints[odd[0]]}; 0, 1 or 2 is expected"
        keypoints = list(keypoints)
        for index in odd:
            keypoints[index] = min(max(math.ceil(keypoints[index]), VISIBILITIES[0]), VISIBILITIES[-1])
        return judge("invalid_visibility", text, _repaired(entry, keypoints))
    return True


def _repaired(entry: Mapping[str, Any], keypoints: Sequence[float]) -> dict[str, Any]:
    """The values of an annotation with these keypoints; their number is counted anew where it was given."""
    counted = {"num_keypoints": sum(v > 0 for v in keypoints[2::3])} if entry.get("num_keypoints") is not None else {}
    return {"keypoints": list(keypoints), **counted}


def _area(entry: Mapping[str, Any], box: Box, judge: Callable[..., bool]) -> bool:
    """Whether a person is used with its area, repaired or not. An area of 0 is the conversion's to filter."""
    area, of_box = entry.get("area"), {"area": box[2] * box[3]}
    if area is None:
        return judge("missing_area", "area is left out", of_box)
    if not coco_json.is_number(area) or area < 0:
        text = f"area is {coco_json.shown(area)}; a number from 0 on is expected"
        return judge("invalid_area", text, of_box)
    return True


def _look(folder: Place, known: dict[int, _Image], found: _Findings, workers: int) -> dict[int, Look]:
    """What the files of the images are, by id; what cannot be used leaves `known`."""

    def load(image: _Image) -> Look:
        try:
            return look((folder / image.file_name).read_bytes())
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):  # ValueError: no possible name
            return Look("missing_image", "no such file")
        except OSError as error:
            return Look("unreadable_image", error.strerror or str(error))

    if isinstance(folder, Remote):
        workers = max(workers, READERS)
    looks: dict[int, Look] = {}
    ids, started = list(known), time.monotonic()
    reported = started
    ahead = IMAGES_AHEAD * workers
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(ids), ahead):
            part = ids[start : start + ahead]
            for image_id, one in zip(part, pool.map(load, [known[image_id] for image_id in part]), strict=True):
                if _usable(known[image_id], one, folder, found):
                    looks[image_id] = one
                else:
                    del known[image_id]
            now = time.monotonic()
            if now - reported >= PROGRESS_SECONDS:
                reported, done = now, start + len(part)
                rate = done / (now - started)
                log.info(
                    "looked at %s of %s images, %.0f a second, %.0f s left",
                    *(f"{done:,}", f"{len(ids):,}", rate, (len(ids) - done) / rate),
                )
    return looks


def _usable(image: _Image, one: Look, folder: Place, found: _Findings) -> bool:
    """Whether an image is used, by what its file is."""
    item = replace(image.item, where=str(folder / image.file_name))

    def judge(kind: str, text: str, repair: Mapping[str, Any] | None = None) -> bool:
        return found.judge(kind, item, f"image {item.identity} of {found.path.name}: {text}", repair)

    if one.kind is not None:
        return judge(one.kind, one.problem)
    texts = {
        "cmyk_image": "its colours are CMYK",
        "sixteen_bit_image": "it has more than 8 bits a channel",
        "progressive_image": "a progressive JPEG",
        "exif_rotated_image": f"its EXIF orientation is {one.orientation}",
    }
    if not all(judge(trait, texts[trait], {}) for trait in one.traits):
        return False
    upright = found.policies.exif_rotated_image == "repair"
    size = one.size(upright)
    if size == image.size:
        return True
    said = "no size" if image.size is None else f"{image.size[0]}x{image.size[1]}"
    text = f"{size[0]}x{size[1]} pixels (height x width), its entry says {said}"
    if image.size == one.size(not upright):
        # The other reading of its orientation is what the annotations were made with.
        other = "accept" if upright else "repair"
        text += f", as its EXIF orientation {one.orientation} has it {'stored' if upright else 'shown'}: "
        text += f"dataset.validation.exif_rotated_image: {other} reads it so"
    return judge("size_mismatch", text, {"height": size[0], "width": size[1]})


def _size(image: _Image, one: Look | None, found: _Findings) -> tuple[int, int]:
    """(height, width) of an image as it is used."""
    if one is not None:
        return one.size(found.policies.exif_rotated_image == "repair")
    return image.size or (0, 0)


def _reading(one: Look, policies: ValidationConfig) -> str | None:
    """How an image is read that cannot be used by everybody as it is."""
    if "exif_rotated_image" in one.traits and policies.exif_rotated_image == "repair":
        return "upright"
    return "plain" if {"cmyk_image", "sixteen_bit_image"} & set(one.traits) else None


def _inside(person: _Person, size: tuple[int, int], found: _Findings) -> None:
    """Judge a box that reaches out of its image.

    It is the conversion that cuts it, or filters a person of whose box nothing is left: AP is of the annotations as they are.
    """
    (x, y, w, h), (height, width) = person.box, size
    if x >= -EDGE and y >= -EDGE and x + w <= width + EDGE and y + h <= height + EDGE:
        return
    text = f"bbox {[x, y, w, h]} reaches out of its image of {height}x{width} pixels (height x width)"
    found.judge("box_outside", person.item, f"annotation {person.item.identity}: {text}", {})


def _detection(item: _Item, entry: Any, listed: set[int | None], used: set[int | None], found: _Findings) -> None:
    """Judge an entry of a detection file."""
    if wrong := next((key for key in ("category_id", "image_id") if coco_json.integer(entry, key) is None), None):
        found.judge("malformed_detection", item, coco_json.not_an_integer(entry, wrong))
    elif entry["category_id"] != coco_json.PERSON:
        found.judge("other_category", item, _of_category(entry))
    elif entry["image_id"] not in listed:
        text = f"image_id is {entry['image_id']}, which the annotations do not list"
        found.judge("detection_of_unknown_image", item, text)
    elif entry["image_id"] not in used:
        found.judge(OF_DROPPED_IMAGE, item, _in_dropped(entry["image_id"]))
    elif coco_json.box(entry) is None:
        found.judge("malformed_detection", item, _no_box(entry))
    elif not coco_json.is_number(entry.get("score")):
        score = coco_json.shown(entry.get("score"))
        found.judge("malformed_detection", item, f"score is {score}; a number is expected")
