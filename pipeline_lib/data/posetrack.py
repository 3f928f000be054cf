"""PoseTrack 2018's annotations, a JSON file for each video, as one COCO keypoint file (paper, section V-A)."""

import io
import json
import logging
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import PIL.Image

from pipeline_lib.artifacts import write_text
from pipeline_lib.config import KeypointSchema
from pipeline_lib.config.dataset import VIDEOS
from pipeline_lib.data import coco_json
from pipeline_lib.data.coco_json import PERSON, integer_of, parse
from pipeline_lib.errors import DataError
from pipeline_lib.remote import READERS, Place, Remote, ordered

log = logging.getLogger(__name__)


def join(folder: Place, images: Place, schema: KeypointSchema, annotations: Path) -> dict[str, int]:
    """Write the COCO file `annotations` of all videos in `folder`; returns how many annotations were dropped, by reason.

    Labelled frames are kept, with the sizes of their files below `images`, and the people in them that have a box and
    keypoints; numbers are as in the videos' files, with `area`, the box's, and `num_keypoints` (v > 0). Videos come in the
    order of their names. Whether numbers and images are what they should be is left to the validation of the joined file:
    an image whose header cannot be read has no size, a person whose box is none no area.

    Raises:
        DataError: names the video's file and the item: not JSON, not of this form, an id that occurs twice, a person in no
            image, other keypoints than those of `schema`.
    """
    paths: list[Place] = sorted(folder.glob(VIDEOS), key=str)
    if not paths:
        raise DataError(f"{folder}: no videos' files ({VIDEOS}); put PoseTrack's annotations there")
    joined = _Joined(images, schema)
    for path in paths:
        joined.add(path)
    if not joined.people:
        raise DataError(f"{folder}: no labelled frame has a person with keypoints; check the data set's configuration")
    content = {
        "images": joined.images,
        "annotations": joined.people,
        "categories": [{"id": PERSON, "name": "person", "keypoints": list(schema.names)}],
    }
    write_text(annotations, json.dumps(content) + "\n")
    dropped = dict(sorted(joined.dropped.items()))
    log.info(
        "%s: %d videos, %d of %d frames are labelled, with %d people; dropped: %s",
        *(folder, len(paths), len(joined.images), joined.frames, len(joined.people)),
        ", ".join(f"{number} {reason}" for reason, number in dropped.items()) or "none",
    )
    return dropped


class _Joined:
    """The images and people of the videos so far."""

    def __init__(self, folder: Place, schema: KeypointSchema) -> None:
        self.images: list[dict[str, Any]] = []
        self.people: list[dict[str, Any]] = []
        self.dropped: Counter[str] = Counter()
        self.frames = 0
        self._folder = folder
        self._schema = schema
        # Where each id was first, over all videos.
        self._seen: dict[str, dict[int, Place]] = {"images": {}, "annotations": {}}

    def add(self, path: Place) -> None:
        """Add a video; raises `DataError`."""
        content = parse(path)
        if not isinstance(content, dict):
            raise DataError(
                f"{path}: an object with images, annotations and categories is expected, as in PoseTrack 2018"
            )
        for number, category in enumerate(_list(content, "categories", path)):
            names = category.get("keypoints") if isinstance(category, dict) else None
            if names is not None and names != list(self._schema.names):
                raise DataError(
                    f"{path}, categories[{number}]: its keypoints are {names}, those of the data set's configuration "
                    f"{list(self._schema.names)}; correct `keypoints` there"
                )
        labelled: dict[int, bool] = {}
        before = len(self.images)
        for where, identity, entry in self._entries(content, "images", path):
            labelled[identity] = self._frame(where, identity, entry)
        added = self.images[before:]
        files = [self._folder / frame["file_name"] for frame in added]
        workers = READERS if isinstance(self._folder, Remote) else 1
        for frame, (height, width) in zip(added, ordered(_size, files, workers), strict=True):
            frame |= {"height": height, "width": width}
        for where, identity, entry in self._entries(content, "annotations", path):
            image = integer_of(entry, "image_id", where)
            if image not in labelled:
                raise DataError(
                    f"{where}: image_id {image} is no image of this video; correct it, or get the file again"
                )
            if (reason := self._unusable(where, entry, labelled[image])) is not None:
                self.dropped[reason] += 1
            else:
                self.people.append(_person(identity, image, entry))

    def _entries(
        self, content: Mapping[str, Any], key: str, path: Place
    ) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """(place for messages, id, entry) of each; ids are unique over all videos."""
        seen = self._seen[key]
        for number, entry in enumerate(_list(content, key, path)):
            where = f"{path}, {key}[{number}]"
            identity = integer_of(entry, "id", where)
            if identity in seen:
                raise DataError(
                    f"{where}: id {identity} occurs twice, first in {seen[identity]}; ids are unique over all videos, correct it, or get the files again"
                )
            seen[identity] = path
            yield where, identity, entry

    def _frame(self, where: str, identity: int, entry: Mapping[str, Any]) -> bool:
        """Whether a frame is labelled; one that is becomes an image, whose size is looked at later."""
        self.frames += 1
        name, labelled = entry.get("file_name"), entry.get("is_labeled")
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: file_name is {name!r}; the path of a picture is expected")
        coco_json.image_path(self._folder, entry, where)
        if not isinstance(labelled, bool):
            raise DataError(f"{where}: is_labeled is {labelled!r}; true or false is expected, as in PoseTrack 2018")
        if labelled:
            self.images.append({"id": identity, "file_name": name})
        return labelled

    def _unusable(self, where: str, entry: Mapping[str, Any], labelled: bool) -> str | None:
        """Why an annotation is no person to train on or to evaluate with; None for one that is."""
        if integer_of(entry, "category_id", where) != PERSON:
            return "other_category"
        if not labelled:
            return "unlabelled_frame"
        return next((f"no_{key}" for key in ("bbox", "keypoints") if entry.get(key) in (None, [])), None)


def _person(identity: int, image: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    """An annotation as COCO has it."""
    box, keypoints = coco_json.box(entry), entry["keypoints"]
    labelled = [v for v in keypoints[2::3] if coco_json.is_number(v) and v > 0] if isinstance(keypoints, list) else []
    return {
        "id": identity,
        "image_id": image,
        "category_id": PERSON,
        "bbox": entry["bbox"],
        **({} if box is None else {"area": box[2] * box[3]}),
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(labelled),
    }


def _list(content: Mapping[str, Any], key: str, path: Place) -> list[Any]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise DataError(f"{path}: `{key}` must be a list, as in PoseTrack 2018's files of videos; get it again")
    return entries


def _size(path: Place) -> tuple[int, int] | tuple[None, None]:
    """(height, width) that the header of an image file has; nothing of one that cannot be read."""
    try:
        with PIL.Image.open(path if isinstance(path, Path) else io.BytesIO(path.read_bytes())) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, struct.error, PIL.Image.DecompressionBombError):
        return None, None
