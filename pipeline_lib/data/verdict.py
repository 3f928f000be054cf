"""What the validation of a file says: what it found, what is left out, and what is used with other values.

A verdict belongs to one annotation or detection file. Whoever reads that file applies it, so that records, evaluation and
pictures are of the same people.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pipeline_lib.artifacts import SCHEMA_VERSION, read_document, sha256, write_json
from pipeline_lib.data import coco_json
from pipeline_lib.errors import VALIDATE_AGAIN, ArtifactError
from pipeline_lib.explain import explain

EXAMPLES = 5
"""Of each kind so many are named."""

OF_DROPPED_IMAGE = "of_dropped_image"
"""Why an annotation or detection is left out with which nothing is wrong."""

List = Literal["images", "annotations", "detections"]

Entry = tuple[int, int | None]
"""Place in its list, and id where it has one."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Found(_Document):
    """A kind of what is not as it should be: how often, what is done about it, and the first examples."""

    policy: str
    number: int
    examples: tuple[str, ...]


class Verdict(_Document):
    """What the validation of a file says.

    Attributes:
        file, sha256: of the annotations, or of the detections.
        entries: {list of the file: how long it is}.
        found: {kind: what there is of it}.
        dropped: {list: {kind: what is left out}}.
        repaired: {list: {place: {key: the value that counts}}}.
        rewritten: {image id: how it is read}: `plain` as 8-bit RGB, `upright` as its EXIF orientation has it shown.
        digests: {image id: CRC-32C of the file that was looked at}.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    file: str
    sha256: str
    entries: dict[List, int]
    found: dict[str, Found] = {}
    dropped: dict[List, dict[str, tuple[Entry, ...]]] = {}
    repaired: dict[List, dict[int, dict[str, Any]]] = {}
    rewritten: dict[int, Literal["plain", "upright"]] = {}
    digests: dict[int, int] = {}

    @model_validator(mode="after")
    def _of_the_lists(self) -> Self:
        for which in (*self.dropped, *self.repaired):
            places, number = {*self._places(which), *self.repaired.get(which, {})}, self.entries.get(which, 0)
            if not all(0 <= place < number for place in places):
                raise ValueError(f"{which}: places beyond the {number} entries of the list")
        return self

    def counts(self) -> dict[str, dict[str, Any]]:
        """{kind: {policy, number}} of what was found."""
        return {kind: found.model_dump(include={"policy", "number"}) for kind, found in self.found.items()}

    def number_dropped(self, which: List) -> dict[str, int]:
        """{kind: how many entries of a list are left out}."""
        return {kind: len(entries) for kind, entries in self.dropped.get(which, {}).items()}

    @property
    def upright(self) -> frozenset[int]:
        """The images whose pixels are turned as their EXIF orientation says."""
        return frozenset(image_id for image_id, reading in self.rewritten.items() if reading == "upright")

    def applied(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The content of the COCO file without what is left out, with the values that count."""
        return {**content, **{key: self.kept(key, content[key]) for key in _LISTS if key in content}}

    def kept(self, which: List, entries: list[Any]) -> list[Any]:
        """`applied` to one list."""
        untouched = not self.dropped.get(which) and not self.repaired.get(which)
        return entries if untouched else [entry for _, entry in self.left(which, entries)]

    def left(self, which: List, entries: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """(place, entry) of what of one list is not left out, with the values that count."""
        out, repaired = self._places(which), self.repaired.get(which, {})
        for place, entry in enumerate(entries):
            if place not in out:
                yield place, {**entry, **repaired[place]} if place in repaired else entry

    def evaluated(self, content: Mapping[str, Any], keypoints: int) -> dict[str, Any]:
        """The COCO file's content that predictions are compared with.

        Images that are left out are no part of it. People who are left out of an image that is not, count as people
        without labels do: what is predicted at their place is neither right nor wrong. Those without a usable box are gone.
        """
        found = self.applied(content)
        images = {image["id"] for image in found["images"]}
        ignored = [
            _unlabelled(content["annotations"][place], keypoints)
            for kind, entries in self.dropped.get("annotations", {}).items()
            if kind not in (OF_DROPPED_IMAGE, "other_category")
            for place, _ in entries
        ]
        kept = [entry for entry in ignored if entry is not None and entry["image_id"] in images]
        return {**found, "annotations": [*found["annotations"], *kept]} if kept else found

    def left_out(self) -> dict[str, int]:
        """How many images and people are not evaluated, for the record; other categories are no people."""
        people = self.number_dropped("annotations")
        return {
            "images": sum(self.number_dropped("images").values()),
            "persons": sum(number for kind, number in people.items() if kind != "other_category"),
        }

    def _places(self, which: List) -> frozenset[int]:
        return frozenset(place for entries in self.dropped.get(which, {}).values() for place, _ in entries)


_LISTS: tuple[List, ...] = ("images", "annotations")


def _unlabelled(entry: Any, keypoints: int) -> dict[str, Any] | None:
    """An annotation as that of a person without labels; None where nobody knows where it is."""
    box = coco_json.box(entry) if isinstance(entry, dict) else None
    image = coco_json.integer(entry, "image_id")
    if box is None or image is None or min(box[2:]) <= 0:
        return None
    area = entry.get("area")
    return {
        "id": entry.get("id"),
        "image_id": image,
        "category_id": coco_json.PERSON,
        "bbox": list(box),
        "area": area if coco_json.is_number(area) and area > 0 else box[2] * box[3],
        "iscrowd": 0,
        "keypoints": [0] * (3 * keypoints),
        "num_keypoints": 0,
    }


def read(path: str | os.PathLike[str]) -> Verdict:
    """The verdict at `path`; raises `ArtifactError` naming the file and what is wrong in it."""
    try:
        return Verdict.model_validate(read_document(path, VALIDATE_AGAIN))
    except ValidationError as error:
        raise ArtifactError(f"{path}: not the result of a validation ({explain(error)}); {VALIDATE_AGAIN}") from None


def write(path: str | os.PathLike[str], verdict: Verdict) -> None:
    """Write a verdict as JSON, atomically."""
    write_json(path, verdict.model_dump(mode="json"))


def check(verdict: Verdict, path: Path) -> None:
    """Raise `ArtifactError` when a verdict is that of another file than the one at `path`."""
    if sha256(path) != verdict.sha256:
        raise ArtifactError(
            f"{path}: not the file that was validated, which was called {verdict.file}; {VALIDATE_AGAIN}"
        )


def read_content(path: Path, verdict: Verdict | None) -> dict[str, Any]:
    """The content of a COCO file as the verdict says that it is used; without one as it is.

    Raises `DataError` when it is no COCO file, and `ArtifactError` when it is not the one that was validated.
    """
    content = coco_json.read(path)
    if verdict is None:
        return content
    check(verdict, path)
    return verdict.applied(content)
