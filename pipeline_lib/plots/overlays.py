"""Predictions drawn on the images, beside the ground truth."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from pipeline_lib.artifacts import atomic_path
from pipeline_lib.config import KeypointSchema
from pipeline_lib.data.images import read
from pipeline_lib.errors import ConfigError, DataError
from pipeline_lib.plots import style
from pipeline_lib.remote import Place

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

LEFT = ImageColor.getrgb(style.ORANGE)
RIGHT = ImageColor.getrgb(style.SKY)
MIDDLE = (255, 255, 255)
BACKGROUND = (255, 255, 255)
OUTLINE = (20, 20, 20)
TEXT = (30, 30, 30)

PANEL_HEIGHT, PANEL_WIDTH = 256, 192  # of one picture of a person, in pixels
MARGIN = 1.25  # as the crops of the network
GAP = 3  # between the two pictures of a person
CAPTION = 22
SPACE = 14  # around a person
HEADER = 54
COLUMNS = 3
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
SUBPIXEL_BITS = 4


class Person(NamedTuple):
    """An annotated person and the prediction that belongs to it: keypoints (K, 3), in image pixels, or None."""

    annotation: Mapping[str, Any]
    truth: Floats
    prediction: Floats | None
    similarity: float


def similarity(prediction: npt.ArrayLike, truth: npt.ArrayLike, area: float, sigmas: Sequence[float]) -> float:
    """Object keypoint similarity, as COCO defines it, of two (K, 3) arrays in image pixels; 0 without labels."""
    found, wanted = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    labelled = wanted[:, 2] > 0
    if not labelled.any():
        return 0.0
    squared = ((found[:, :2] - wanted[:, :2]) ** 2).sum(axis=1)
    error = squared / (2 * np.asarray(sigmas)) ** 2 / (area + np.spacing(1)) / 2
    return float(np.exp(-error[labelled]).mean())


def persons(
    annotations: Sequence[Mapping[str, Any]], results: Iterable[Mapping[str, Any]], sigmas: Sequence[float]
) -> list[Person]:
    """Every person with labelled keypoints, by image and annotation id, with its prediction.

    Within an image pairs are formed one to one, the most similar first; crowds and people without labels take no part.
    """
    found = defaultdict(list)
    for result in results:
        found[result["image_id"]].append(_array(result["keypoints"], len(sigmas)))
    wanted = defaultdict(list)
    for annotation in sorted(annotations, key=lambda one: (one["image_id"], one["id"])):
        if annotation.get("iscrowd"):  # need not have any keypoints
            continue
        truth = _array(annotation["keypoints"], len(sigmas))
        if (truth[:, 2] > 0).any():
            wanted[annotation["image_id"]].append((annotation, truth))
    paired = []
    for image, people in wanted.items():
        scores = {
            (i, j): similarity(prediction, truth, annotation["area"], sigmas)
            for i, (annotation, truth) in enumerate(people)
            for j, prediction in enumerate(found[image])
        }
        matches: dict[int, int] = {}
        for i, j in sorted(scores, key=lambda pair: (-scores[pair], pair)):
            if i not in matches and j not in matches.values():
                matches[i] = j
        for i, (annotation, truth) in enumerate(people):
            if i in matches:
                paired.append(Person(annotation, truth, found[image][matches[i]], scores[i, matches[i]]))
            else:
                paired.append(Person(annotation, truth, None, 0.0))
    return paired


def _array(numbers: Sequence[float], keypoints: int) -> Floats:
    if len(numbers) != 3 * keypoints:
        raise DataError(
            f"{len(numbers)} keypoint numbers, 3 for each of {keypoints} keypoints are expected; give the keypoints of "
            "this data set"
        )
    return np.asarray(numbers, np.float64).reshape(keypoints, 3)


def choose(people: Sequence[Person], number: int) -> list[Person]:
    """At most `number` people, evenly spread over `people`, whatever their predictions are like."""
    if len(people) <= number:
        return list(people)
    return [people[int((index + 0.5) * len(people) / number)] for index in range(number)]


def skeleton(picture: Pixels, keypoints: Floats, solid: npt.NDArray[np.bool_], schema: KeypointSchema) -> None:
    """Draw `keypoints` (K, 2+), in pixels of `picture`, into it: limbs between solid ones, other ones hollow.

    A limb or point of the left side is orange, of the right one blue, else white. What is not finite is left out.
    """
    side = _sides(schema)
    finite = np.isfinite(keypoints[:, :2]).all(axis=1)
    drawn = solid & finite
    for first, second in schema.indices(schema.skeleton):
        if drawn[first] and drawn[second]:
            color = side[first] if side[first] == side[second] else MIDDLE
            for thickness, shade in ((5, OUTLINE), (3, color)):
                cv2.line(
                    picture, _point(keypoints[first]), _point(keypoints[second]), shade, thickness, cv2.LINE_AA,
                    SUBPIXEL_BITS,
                )  # fmt: skip
    for index in np.flatnonzero(finite):
        center, radius = _point(keypoints[index]), 4 << SUBPIXEL_BITS
        if solid[index]:
            cv2.circle(picture, center, radius + (1 << SUBPIXEL_BITS), OUTLINE, -1, cv2.LINE_AA, SUBPIXEL_BITS)
            cv2.circle(picture, center, radius, side[index], -1, cv2.LINE_AA, SUBPIXEL_BITS)
        else:
            cv2.circle(picture, center, radius - (1 << SUBPIXEL_BITS), side[index], 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _sides(schema: KeypointSchema) -> list[tuple[int, ...]]:
    color: dict[str, tuple[int, ...]] = dict.fromkeys(schema.names, MIDDLE)
    for left, right in schema.flip_pairs:
        color[left], color[right] = LEFT, RIGHT
    return [color[name] for name in schema.names]


def _point(keypoint: Floats) -> tuple[int, int]:
    x, y = np.clip(np.round(keypoint[:2] * (1 << SUBPIXEL_BITS)), -(1 << 15), 1 << 15).astype(int)
    return int(x), int(y)


def crop_transform(box: Sequence[float]) -> Floats:
    """The 2x3 matrix from image pixels to a picture of PANEL_HEIGHT x PANEL_WIDTH that shows the box [x, y, w, h] in full."""
    x, y, width, height = box
    scale = min(PANEL_HEIGHT / max(height, 1.0), PANEL_WIDTH / max(width, 1.0)) / MARGIN
    return np.array(
        [
            [scale, 0.0, PANEL_WIDTH / 2 - scale * (x + width / 2)],
            [0.0, scale, PANEL_HEIGHT / 2 - scale * (y + height / 2)],
        ]
    )


def panels(image: Pixels, person: Person, schema: KeypointSchema) -> tuple[Pixels, Pixels]:
    """The person's ground truth and prediction, drawn on its part of `image` (H, W, 3), each (PANEL_HEIGHT, PANEL_WIDTH, 3)."""
    matrix = crop_transform(person.annotation["bbox"])
    background = cv2.warpAffine(
        image, matrix, (PANEL_WIDTH, PANEL_HEIGHT), flags=cv2.INTER_LINEAR, borderValue=(124, 116, 104)
    )
    labelled = person.truth[:, 2] > 0
    truth, prediction = background.copy(), background.copy()
    skeleton(truth, np.where(labelled[:, None], _apply(matrix, person.truth), np.nan), labelled, schema)
    if person.prediction is not None:
        skeleton(prediction, _apply(matrix, person.prediction), labelled, schema)
    return truth, prediction


def _apply(matrix: Floats, keypoints: Floats) -> Floats:
    return np.asarray(keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2])


def sheet(
    people: Sequence[Person],
    images: Mapping[int, Place],
    schema: KeypointSchema,
    title: str = "",
    upright: Collection[int] = (),
) -> Image.Image:
    """A contact sheet: each person's ground truth (left) and prediction (right), with their similarity.

    `images`: the file of each image id; those of `upright` are turned as their EXIF orientation says. Raises `DataError` when there is nobody to draw or an image cannot be read.
    """
    if not people:
        raise DataError("there is no person with labelled keypoints to draw; check the annotations of this split")
    columns = min(COLUMNS, len(people))
    rows = math.ceil(len(people) / columns)
    width, height = 2 * PANEL_WIDTH + GAP + SPACE, PANEL_HEIGHT + CAPTION + SPACE
    drawn = Image.new("RGB", (columns * width + SPACE, HEADER + rows * height + SPACE), BACKGROUND)
    pen = ImageDraw.Draw(drawn)
    _header(pen, title)
    for index, person in enumerate(people):
        x, y = SPACE + index % columns * width, HEADER + index // columns * height
        identity = person.annotation["image_id"]
        image = read(images[identity], identity in upright)
        for offset, picture in zip((0, PANEL_WIDTH + GAP), panels(image, person, schema), strict=True):
            drawn.paste(Image.fromarray(picture), (x + offset, y + CAPTION))
        outcome = f"OKS {person.similarity:.2f}" if person.prediction is not None else "no prediction"
        pen.text((x, y + 3), f"image {identity}, person {person.annotation['id']}", TEXT, _font(12))
        pen.text((x + PANEL_WIDTH + GAP, y + 3), outcome, TEXT, _font(13))
    return drawn


def _header(pen: ImageDraw.ImageDraw, title: str) -> None:
    pen.text((SPACE, 8), title or "Ground truth and prediction", TEXT, _font(17))
    x = SPACE
    for color, label in ((LEFT, "person's left"), (RIGHT, "person's right"), (MIDDLE, "neither or both")):
        pen.ellipse((x, 34, x + 10, 44), fill=color, outline=OUTLINE)
        pen.text((x + 16, 32), label, TEXT, _font(12))
        x += 122
    pen.text((x, 32), "left: ground truth, right: prediction (hollow: keypoints without ground truth)", TEXT, _font(12))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def save(drawn: Image.Image, path: str | PathLike[str]) -> None:
    """Write a contact sheet as PNG or JPEG, by the name of `path`; raises `ConfigError` for any other file type."""
    kind = FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: contact sheets are written as {', '.join(FORMATS)}; choose such a name")
    with atomic_path(path) as temporary:
        drawn.save(temporary, format=kind, **({"quality": 92} if kind == "JPEG" else {}))
