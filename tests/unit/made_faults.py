"""A small data set that is as it should be, and a fault of every kind that the validation knows."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image

from pipeline_lib.config import KeypointSchema

POINTS = KeypointSchema(names=("nose", "tail"), sigmas=(0.1, 0.1))
HEIGHT, WIDTH = 30, 40
IMAGES = 3  # with the ids 1, 2, 3 and two people each
FAULTY = 1  # the place of the image that faults are in; its people are at the places 2 and 3
OTHER = 2  # the place of the annotation that faults are in, a person of that image


@dataclass
class Data:
    """A data set on its way to the disk."""

    folder: Path
    content: dict[str, Any]
    detections: list[Any] = field(default_factory=list)

    @property
    def annotations(self) -> Path:
        return self.folder / "annotations.json"

    @property
    def detected(self) -> Path:
        return self.folder / "detections.json"

    def picture(self, number: int) -> Path:
        return self.folder / f"{number}.jpg"

    def write(self) -> None:
        self.annotations.write_text(json.dumps(self.content))
        self.detected.write_text(json.dumps(self.detections))


def pixels(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An RGB picture that is no other one's mirror image."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (4, 5, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(picture: PIL.Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def data(folder: Path) -> Data:
    """The data set without faults; its pictures are written, the rest is when all changes are made."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Data(folder, {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]})
    for number in range(1, IMAGES + 1):
        made.picture(number).write_bytes(encoded(PIL.Image.fromarray(pixels(number)), quality=95))
        image = {"id": number, "file_name": f"{number}.jpg", "height": HEIGHT, "width": WIDTH}
        made.content["images"].append(image)
        for person in range(2):
            made.content["annotations"].append(
                {
                    "id": 10 * number + person,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [2.0 + person, 3.0, 20.0, 15.0],
                    "area": 150.0,
                    "iscrowd": 0,
                    "keypoints": [5.0 + person, 6.0, 2, 7.0, 8.0, 1],
                    "num_keypoints": 2,
                }
            )
        made.detections.append({"image_id": number, "category_id": 1, "bbox": [1.0, 2.0, 20.0, 15.0], "score": 0.5})
    return made


def image(**changes: Any) -> Callable[[Data], None]:
    return lambda made: made.content["images"][FAULTY].update(changes)


def annotation(**changes: Any) -> Callable[[Data], None]:
    return lambda made: made.content["annotations"][OTHER].update(changes)


def without(key: str) -> Callable[[Data], None]:
    def change(made: Data) -> None:
        del made.content["annotations"][OTHER][key]

    return change


def detection(**changes: Any) -> Callable[[Data], None]:
    return lambda made: made.detections[FAULTY].update(changes)


def file(change: Callable[[bytes], bytes]) -> Callable[[Data], None]:
    """The bytes of the faulty picture's file are changed."""

    def apply(made: Data) -> None:
        path = made.picture(FAULTY + 1)
        path.write_bytes(change(path.read_bytes()))

    return apply


def cmyk(_: bytes) -> bytes:
    return encoded(PIL.Image.fromarray(pixels(FAULTY + 1)).convert("CMYK"), quality=95)


def sixteen_bit(_: bytes) -> bytes:
    # The low bits are other ones, so that no rounding hides a wrong reading.
    deep = (pixels(FAULTY + 1).astype(np.uint16) << 8) | 77
    return cv2.imencode(".png", deep[..., ::-1])[1].tobytes()


def progressive(_: bytes) -> bytes:
    return encoded(PIL.Image.fromarray(pixels(FAULTY + 1)), quality=95, progressive=True)


def oriented(orientation: int, kind: str = "JPEG") -> Callable[[bytes], bytes]:
    def change(_: bytes) -> bytes:
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 95} if kind == "JPEG" else {}
        return encoded(PIL.Image.fromarray(pixels(FAULTY + 1)), kind, exif=exif, **options)

    return change


def gone(made: Data) -> None:
    made.picture(FAULTY + 1).unlink()


def doubled(key: str) -> Callable[[Data], None]:
    """The first entry of a list once more at its end; its values are another's but for the id."""

    def change(made: Data) -> None:
        entries = made.content[key]
        entries.append({**entries[1], "id": entries[0]["id"]})

    return change


@dataclass(frozen=True)
class Fault:
    """A fault: how it is made, what its message says, and what becomes of it.

    Attributes:
        said: the item and what is wrong with it, as in the message.
        dropped: {list: places} with the policy drop.
        repaired: {list: {place: values}} with the policy repair; None: there is no such policy.
        accepted: whether there is a policy accept.
    """

    make: Callable[[Data], None]
    said: str
    dropped: dict[str, list[int]]
    repaired: dict[str, dict[int, Any]] | None = None
    accepted: bool = False


NAN, INFINITY = float("nan"), float("inf")
IMAGE = {"images": [FAULTY], "annotations": [2, 3]}
PERSON = {"annotations": [OTHER]}
DETECTION = {"detections": [FAULTY]}
OF_THE_IMAGE = "2.jpg: image 2 of annotations.json: "
OF_THE_PERSON = "annotations.json, annotations[2]: annotation 20 in 2.jpg: "
OF_THE_DETECTION = "detections.json, [1]: "
AREA = {"annotations": {OTHER: {"area": 20.0 * 15.0}}}


def keypoints(*numbers: float) -> dict[str, Any]:
    return {"annotations": {OTHER: {"keypoints": list(numbers), "num_keypoints": sum(v > 0 for v in numbers[2::3])}}}


# {kind: {what: fault}}
FAULTS: dict[str, dict[str, Fault]] = {
    "malformed_image": {
        "height of 0": Fault(image(height=0), "annotations.json, images[1]: image 2 has file_name '2.jpg', height 0,", IMAGE),
        "width of text": Fault(image(width="40"), "images[1]: image 2 has file_name '2.jpg', height 30, width '40'", IMAGE),
        "no name": Fault(image(file_name=None), "images[1]: image 2 has file_name None", IMAGE),
    },
    "duplicate_image_id": {
        "again": Fault(doubled("images"), "images[3]: image id 1 occurs twice, first in images[0]", {"images": [3]}),
    },
    "missing_image": {
        "no file": Fault(gone, f"{OF_THE_IMAGE}no such file", IMAGE),
        "a folder": Fault(image(file_name="."), "image 2 of annotations.json: no such file", IMAGE),
        "no name that can be": Fault(image(file_name="\0.jpg"), "image 2 of annotations.json: no such file", IMAGE),
    },
    "empty_image": {"zero bytes": Fault(file(lambda _: b""), f"{OF_THE_IMAGE}a file of zero bytes", IMAGE)},
    "unreadable_image": {
        "text": Fault(file(lambda _: b"no image"), f"{OF_THE_IMAGE}its bytes are no image", IMAGE),
        "head alone": Fault(file(lambda content: content[:3]), f"{OF_THE_IMAGE}", IMAGE),
        "long name": Fault(image(file_name=300 * "a"), "image 2 of annotations.json: File name too long", IMAGE),
    },
    "truncated_image": {
        "half a JPEG": Fault(file(lambda content: content[: len(content) * 3 // 4]), f"{OF_THE_IMAGE}image file is tr", IMAGE),
        "half a header": Fault(file(lambda content: content[: len(content) // 4]), f"{OF_THE_IMAGE}Truncated File", IMAGE),
        "without its end": Fault(file(lambda content: content[:-2]), f"{OF_THE_IMAGE}image file is truncated", IMAGE),
        "half a PNG": Fault(file(lambda _: sixteen_bit(b"")[:900]), f"{OF_THE_IMAGE}its pixels cannot be decoded", IMAGE),
    },
    "size_mismatch": {
        "height": Fault(
            image(height=31), f"{OF_THE_IMAGE}30x40 pixels (height x width), its entry says 31x40", IMAGE,
            {"images": {FAULTY: {"height": 30, "width": 40}}},
        ),
        "none": Fault(
            image(height=None, width=None), f"{OF_THE_IMAGE}30x40 pixels (height x width), its entry says no size", IMAGE,
            {"images": {FAULTY: {"height": 30, "width": 40}}},
        ),
    },
    "cmyk_image": {"JPEG": Fault(file(cmyk), f"{OF_THE_IMAGE}its colours are CMYK", IMAGE, {})},
    "sixteen_bit_image": {"PNG": Fault(file(sixteen_bit), f"{OF_THE_IMAGE}it has more than 8 bits a channel", IMAGE, {})},
    "progressive_image": {
        "JPEG": Fault(file(progressive), f"{OF_THE_IMAGE}a progressive JPEG", IMAGE, accepted=True),
    },
    "exif_rotated_image": {
        "half a turn": Fault(file(oriented(3)), f"{OF_THE_IMAGE}its EXIF orientation is 3", IMAGE, {}, accepted=True),
        "mirrored": Fault(file(oriented(2)), f"{OF_THE_IMAGE}its EXIF orientation is 2", IMAGE, {}, accepted=True),
    },
    "malformed_annotation": {
        "no id": Fault(annotation(id=None), "annotations.json, annotations[2]: id is None; an integer", PERSON),
        "text": Fault(lambda made: made.content["annotations"].insert(2, "x"), "annotations[2]: id is None", PERSON),
        "image": Fault(annotation(image_id="2"), "annotations[2]: annotation 20: image_id is '2'; an integer", PERSON),
        "category": Fault(annotation(category_id=1.5), "annotations[2]: category_id is 1.5", PERSON),
        "crowd": Fault(annotation(iscrowd=2), f"{OF_THE_PERSON}iscrowd is 2; 0 or 1 is expected", PERSON),
        "number": Fault(annotation(num_keypoints="2"), f"{OF_THE_PERSON}num_keypoints is '2'", PERSON),
        "beyond 64 bits": Fault(annotation(id=2**64), "annotations[2]: id is 18446744073709551616", PERSON),
    },
    "duplicate_annotation_id": {
        "again": Fault(
            doubled("annotations"), "annotations.json, annotations[6]: annotation id 10 occurs twice, first in annotations[0]",
            {"annotations": [6]}, {"annotations": {6: {"id": 1}}},
        ),
    },
    "unknown_image": {
        "none": Fault(annotation(image_id=99), "[2]: annotation 20: image_id is 99, which none of the 3 images has", PERSON),
    },
    "other_category": {
        "dog": Fault(annotation(category_id=18, keypoints=None), "[2]: category_id is 18; that of a person is 1", PERSON),
        "detection": Fault(detection(category_id=2), f"{OF_THE_DETECTION}category_id is 2; that of a person is 1", DETECTION),
    },
    "malformed_box": {
        "three": Fault(annotation(bbox=[1, 2, 3]), f"{OF_THE_PERSON}bbox is [1, 2, 3]; four numbers", PERSON),
        "NaN": Fault(annotation(bbox=[1, 2, 3, NAN]), f"{OF_THE_PERSON}bbox is [1, 2, 3, nan]; four numbers", PERSON),
        "negative": Fault(annotation(bbox=[1, 2, -3, 4]), f"{OF_THE_PERSON}bbox is [1, 2, -3, 4]", PERSON),
        "none": Fault(without("bbox"), f"{OF_THE_PERSON}bbox is None", PERSON),
        "huge": Fault(annotation(bbox=[1, 2, 3, 10**400]), f"{OF_THE_PERSON}bbox is [1, 2, 3, 1000", PERSON),
    },
    "box_outside": {
        "right": Fault(
            annotation(bbox=[30, 3, 20, 15]), "annotations[2]: annotation 20: bbox [30.0, 3.0, 20.0, 15.0] reaches out", PERSON,
            {},
        ),
        "a pixel above": Fault(annotation(bbox=[2, -1, 20, 15]), "20: bbox [2.0, -1.0, 20.0, 15.0] reaches out", PERSON, {}),
    },
    "keypoint_length": {
        "short": Fault(annotation(keypoints=[1, 2, 2]), f"{OF_THE_PERSON}keypoints has 3 values; 6 numbers", PERSON),
        "none": Fault(annotation(keypoints=None), f"{OF_THE_PERSON}keypoints has None; 6 numbers", PERSON),
    },
    "invalid_keypoint": {
        "NaN": Fault(
            annotation(keypoints=[5, 6, 2, 7, NAN, 1]), f"{OF_THE_PERSON}keypoints[4] (y of tail) is nan; a finite", PERSON,
            keypoints(5, 6, 2, 0, 0, 0),
        ),
        "infinite v": Fault(
            annotation(keypoints=[5, 6, INFINITY, 7, 8, 1]), f"{OF_THE_PERSON}keypoints[2] (v of nose) is inf", PERSON,
            keypoints(0, 0, 0, 7, 8, 1),
        ),
        "text": Fault(
            annotation(keypoints=["5", 6, 2, 7, 8, True]), f"{OF_THE_PERSON}keypoints[0] (x of nose) is '5'", PERSON,
            keypoints(0, 0, 0, 0, 0, 0),
        ),
    },
    "invalid_visibility": {
        "3 and below 0": Fault(
            annotation(keypoints=[5, 6, 3, 7, 8, -1]), f"{OF_THE_PERSON}v of nose is 3; 0, 1 or 2", PERSON,
            keypoints(5, 6, 2, 7, 8, 0),
        ),
        "a score": Fault(
            annotation(keypoints=[5, 6, 2, 7, 8, 0.3]), f"{OF_THE_PERSON}v of tail is 0.3", PERSON, keypoints(5, 6, 2, 7, 8, 1),
        ),
    },
    "missing_area": {
        "left out": Fault(without("area"), f"{OF_THE_PERSON}area is left out", PERSON, AREA),
        "null": Fault(annotation(area=None), f"{OF_THE_PERSON}area is left out", PERSON, AREA),
    },
    "invalid_area": {
        "negative": Fault(annotation(area=-1.0), f"{OF_THE_PERSON}area is -1.0; a number from 0 on", PERSON, AREA),
        "NaN": Fault(annotation(area=NAN), f"{OF_THE_PERSON}area is nan", PERSON, AREA),
        "text": Fault(annotation(area="large"), f"{OF_THE_PERSON}area is 'large'", PERSON, AREA),
    },
    "malformed_detection": {
        "score": Fault(detection(score=NAN), f"{OF_THE_DETECTION}score is nan; a number is expected", DETECTION),
        "box": Fault(detection(bbox=[1, 2, 3]), f"{OF_THE_DETECTION}bbox is [1, 2, 3]; four numbers", DETECTION),
        "image": Fault(detection(image_id=None), f"{OF_THE_DETECTION}image_id is None; an integer", DETECTION),
        "text": Fault(lambda made: made.detections.insert(1, "x"), f"{OF_THE_DETECTION}category_id is None", DETECTION),
    },
    "detection_of_unknown_image": {
        "none": Fault(detection(image_id=99), f"{OF_THE_DETECTION}image_id is 99, which the annotations do not", DETECTION),
    },
}  # fmt: skip
