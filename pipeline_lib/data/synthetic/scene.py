"""Scenes: who stands where, in front of and behind what; painted as a picture and, in parallel, as a map of labels."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline_lib.config import SyntheticConfig
from pipeline_lib.data.synthetic.figure import PARTS, Figure, figure, sample_look, sample_pose

NOBODY = 0  # label of background, and of what covers people
CROWD = 1  # label of the people of a crowd, who are not told apart
FIRST_PERSON = 2

_SUBPIXEL_BITS = 4
_UNIT = 1 << _SUBPIXEL_BITS


@dataclass(frozen=True)
class Quirks:
    """What a scene is asked to have on top of its people."""

    grey: bool = False
    crowd: bool = False
    bystander: bool = False  # a tiny person whom no annotator labels
    empty: bool = False


@dataclass(frozen=True)
class Scene:
    """A painted scene. `labels` says for every pixel which part of whom is seen there, see `label`."""

    image: np.ndarray  # (H, W, 3) RGB or (H, W) grey, uint8
    labels: np.ndarray  # (H, W) int32
    people: tuple[Figure, ...]  # from back to front
    bystander: int | None  # index of the unlabelled person


def label(person: int, part: str) -> int:
    """The label of a pixel that shows `part` of the person with index `person`."""
    return FIRST_PERSON + person * len(PARTS) + PARTS.index(part)


def silhouette(labels: np.ndarray, person: int) -> np.ndarray:
    """Mask of the pixels where the person with index `person` is seen."""
    first = FIRST_PERSON + person * len(PARTS)
    return (labels >= first) & (labels < first + len(PARTS))


def compose(config: SyntheticConfig, rng: np.random.Generator, quirks: Quirks) -> Scene:
    """A random scene of 1 to `config.people` people (0 when it is to be empty)."""
    height, width = _size(config, rng)
    image = _background(height, width, rng)
    labels = np.full((height, width), NOBODY, np.int32)
    _clutter(image, labels, rng, int(rng.integers(3, 9)), in_front=False)
    if quirks.crowd:
        _crowd(image, labels, rng)
    people = [] if quirks.empty else _people(height, width, int(rng.integers(1, config.people + 1)), rng)
    bystander = None
    if quirks.bystander:
        bystander = 0
        people.insert(0, _anybody(0.14 * height, (rng.uniform(0.1, 0.9) * width, 0.55 * height), rng))
    for index, person in enumerate(people):
        _paint(image, labels, person, index)
    if rng.random() < 0.3:
        _clutter(image, labels, rng, 1, in_front=True)
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    if quirks.grey:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return Scene(image, labels, tuple(people), bystander)


def _size(config: SyntheticConfig, rng: np.random.Generator) -> tuple[int, int]:
    """One of some picture sizes, none larger than the configured one; half of the pictures have that one."""
    height, width = config.height, config.width
    sizes = [(height, width), (height, 3 * width // 4), (3 * height // 4, width), (height, min(width, 3 * height // 4))]
    return sizes[int(rng.choice(len(sizes), p=[0.5, 0.2, 0.15, 0.15]))]


def _anybody(size: float, foot: tuple[float, float], rng: np.random.Generator) -> Figure:
    return figure(sample_pose(rng), sample_look(rng), size, foot)


def _people(height: int, width: int, number: int, rng: np.random.Generator) -> list[Figure]:
    """Up to `number` people who do not hide one another too much, the farthest first.

    The lower the feet, the nearer and larger is a person; the nearest are cut off by the lower border.
    """
    people: list[tuple[float, Figure]] = []
    for _ in range(4 * number):
        size = height * rng.uniform(0.38, 1.0)
        if rng.random() < 0.08:
            size = height * rng.uniform(1.1, 1.4)
        foot = (
            width * (rng.choice([0.0, 1.0]) + rng.normal(0, 0.03) if rng.random() < 0.1 else rng.uniform(0.1, 0.9)),
            max(0.35 * height + 0.62 * size, size + rng.uniform(0, 4)) + rng.normal(0, 0.02) * height,
        )
        person = _anybody(size, foot, rng)
        if all(_overlap(person, other) < 0.35 for _, other in people):
            people.append((size, person))
        if len(people) == number:
            break
    return [person for _, person in sorted(people, key=lambda entry: entry[0])]


def _overlap(first: Figure, second: Figure) -> float:
    """Intersection of the keypoints' boxes over the smaller of the two."""
    low = np.maximum(first.keypoints.min(0), second.keypoints.min(0))
    high = np.minimum(first.keypoints.max(0), second.keypoints.max(0))
    areas = [float(np.prod(np.ptp(person.keypoints, 0))) for person in (first, second)]
    return float(np.prod(np.maximum(0, high - low))) / max(1.0, min(areas))


def _crowd(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
    """Many small people side by side in the distance."""
    height, width = labels.shape
    size = rng.uniform(0.16, 0.24) * height
    left, right = sorted(rng.uniform([0, 0.5], [0.4, 1])) * np.array(width)
    for x in np.arange(left, right, 0.3 * size):
        _paint(image, labels, _anybody(size, (x, rng.normal(0.5, 0.01) * height), rng), None)


def _paint(image: np.ndarray, labels: np.ndarray, person: Figure, index: int | None) -> None:
    """Paint a person over what is there; `index` None: a member of a crowd."""
    for part in person.parts:
        value = CROWD if index is None else label(index, part.name)
        for canvas, colour, line in ((image, part.colour, cv2.LINE_AA), (labels, value, cv2.LINE_8)):
            points = np.round(part.points * _UNIT).astype(np.int32)
            thickness = max(1, round(part.width))
            if part.kind == "disc":
                cv2.circle(canvas, points[0], round(part.width / 2 * _UNIT), colour, -1, line, _SUBPIXEL_BITS)
            elif part.kind == "limb":
                cv2.line(canvas, points[0], points[1], colour, thickness, line, _SUBPIXEL_BITS)
            else:
                cv2.fillPoly(canvas, [points], colour, line, _SUBPIXEL_BITS)
                cv2.polylines(canvas, [points], True, colour, thickness, line, _SUBPIXEL_BITS)


def _background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Wall and floor of soft random colours with slow variations of brightness."""
    wall, floor = rng.uniform(80, 210, (2, 1)) + rng.uniform(-30, 30, (2, 3))
    image = np.empty((height, width, 3), np.float32)
    horizon = int(rng.uniform(0.35, 0.6) * height)
    image[:horizon], image[horizon:] = wall, floor
    image += cv2.resize(rng.normal(0, 14, (5, 7)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)[
        ..., None
    ]
    return np.clip(image, 0, 255).astype(np.uint8)


def _clutter(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator, number: int, *, in_front: bool) -> None:
    """Things: boxes, balls and sticks of any colour; those in front cover people."""
    height, width = labels.shape
    for _ in range(number):
        colour = [int(c) for c in rng.uniform(60, 200) + rng.uniform(-55, 55, 3)]
        x, y = (int(v) for v in rng.uniform([0, 0.3 * height], [width, height]))
        extent = rng.uniform(0.08, 0.22) * height
        kind = rng.choice(["box", "ball", "stick"])
        canvases = ((image, colour), (labels, NOBODY)) if in_front else ((image, colour),)
        far = (int(x + rng.normal(0, 0.5) * height), int(y - rng.uniform(0.2, 0.8) * height))
        corner = (int(x + extent), int(y + rng.uniform(0.5, 2) * extent))
        for canvas, value in canvases:
            if kind == "box":
                cv2.rectangle(canvas, (x, y), corner, value, -1)
            elif kind == "ball":
                cv2.circle(canvas, (x, y), int(extent / 2), value, -1)
            else:
                cv2.line(canvas, (x, y), far, value, max(1, int(0.1 * extent)) + 2)
