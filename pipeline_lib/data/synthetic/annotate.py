"""COCO annotations and detections of a painted scene, with everything odd that real files have."""

from typing import Any

import cv2
import numpy as np

from pipeline_lib.config import COCO_KEYPOINTS
from pipeline_lib.data.synthetic.figure import CARRIERS
from pipeline_lib.data.synthetic.scene import CROWD, Scene, label, silhouette

PERSON = 1
OTHER_CATEGORIES = (3, 18, 62)  # COCO's car, dog and chair
SMALLEST_LABELLED = 350  # pixels of a person; COCO's annotators leave the keypoints of smaller ones out
SMALLEST_SEEN = 60  # pixels; a person with fewer is not annotated at all
SMALLEST_PATCH = 8  # pixels; smaller pieces of a person that other things cut off have no polygon
FORGOTTEN, UNGUESSED = 0.01, 0.25  # shares of the seen and of the covered keypoints that are not labelled
MISSED, FOUND_TWICE = 0.06, 0.1  # shares of people in the detections
FALSE_ALARMS, OTHER_THINGS = 0.8, 0.4  # detections an image
_NO_KEYPOINTS = [0] * (3 * len(COCO_KEYPOINTS.names))


def annotate(scene: Scene, image_id: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The COCO annotations of the people of a scene, the crowd included; ids are unique among all images."""
    annotations = []
    for index in range(len(scene.people)):
        mask = silhouette(scene.labels, index)
        if np.count_nonzero(mask) < SMALLEST_SEEN:
            continue
        polygons = _polygons(mask, rng)
        keypoints = _keypoints(scene, index, rng)
        if index == scene.bystander or np.count_nonzero(mask) < SMALLEST_LABELLED:
            keypoints = _NO_KEYPOINTS
        corners = np.concatenate(polygons).reshape(-1, 2)
        low, high = corners.min(0), corners.max(0)
        if rng.random() < 0.15:  # an annotator who guesses how far a person goes on beyond the border or a cover
            low = np.minimum(low, scene.people[index].keypoints.min(0))
            high = np.maximum(high, scene.people[index].keypoints.max(0))
        annotations.append(
            _annotation(
                image_id,
                100 * image_id + index,
                segmentation=[[round(float(v), 2) for v in polygon] for polygon in polygons],
                area=sum(cv2.contourArea(polygon.reshape(-1, 1, 2).astype(np.float32)) for polygon in polygons),
                box=[*low, *(high - low)],
                keypoints=keypoints,
            )
        )
    crowd = scene.labels == CROWD
    if crowd.any():
        rows, columns = np.nonzero(crowd)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        annotations.append(
            _annotation(
                image_id,
                900_000_000_000 + image_id,
                segmentation={"counts": run_lengths(crowd), "size": list(crowd.shape)},
                area=float(np.count_nonzero(crowd)),
                box=box,
                keypoints=_NO_KEYPOINTS,
                crowd=True,
            )
        )
    return annotations


def flat_box(image_id: int, size: tuple[int, int]) -> dict[str, Any]:
    """A broken annotation as real files have some: a box without area, and a labelled keypoint."""
    height, width = size
    x, y = round(0.4 * width, 2), round(0.3 * height, 2)
    bottom = round(y + 0.2 * height, 2)
    keypoints = [int(x), int(y) + 1, 2, *_NO_KEYPOINTS[3:]]
    box = [x, y, 0.0, bottom - y]
    return _annotation(image_id, 100 * image_id + 98, [[x, y, x, bottom, x, y]], 0.0, box, keypoints)


def box_outside(image_id: int, size: tuple[int, int]) -> dict[str, Any]:
    """A broken annotation: a box beyond the right border, and a labelled keypoint on the border."""
    height, width = size
    x, y, side = width + 1.5, 0.5 * height, 12.25
    polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
    keypoints = [width - 1, int(y) + 3, 1, *_NO_KEYPOINTS[3:]]
    return _annotation(image_id, 100 * image_id + 99, [polygon], side * side, [x, y, side, side], keypoints)


def detect(
    annotations: list[dict[str, Any]], image_id: int, size: tuple[int, int], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """What a person detector might say: jittered boxes, people missed or found twice, false alarms, other things."""
    found = []

    def add(corner: np.ndarray, extent: np.ndarray, score: float, category: int) -> None:
        box = [round(float(value), 2) for value in (*corner, *extent)]
        found.append({"image_id": image_id, "category_id": category, "bbox": box, "score": round(float(score), 4)})

    for annotation in annotations:
        box = np.asarray(annotation["bbox"])
        if annotation["iscrowd"] or min(box[2:]) < 2 or rng.random() < MISSED:
            continue
        for copy in range(2 if rng.random() < FOUND_TWICE else 1):
            shift, growth = rng.normal(0, 0.03 * (1 + copy), (2, 2))
            extent = box[2:] * np.exp(2 * growth)
            corner = box[:2] + box[2:] * (0.5 + shift) - extent / 2
            error = np.abs([shift, growth]).sum()
            add(corner, extent, np.clip(0.99 - error, 0.1, 1) * 0.6**copy, PERSON)
    scale = np.array(size[::-1])
    for category, rate in ((PERSON, FALSE_ALARMS), (int(rng.choice(OTHER_CATEGORIES)), OTHER_THINGS)):
        for _ in range(rng.poisson(rate)):
            extent = rng.uniform(0.1, 0.5, 2) * scale
            add(rng.uniform(0, 1, 2) * (scale - extent), extent, rng.beta(2, 6), category)
    return found


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run-length counts of a mask: column by column, zeros first."""
    changes = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False))
    return [int(count) for count in np.diff([0, *changes, mask.size])]


def _annotation(
    image_id: int,
    identity: int,
    segmentation: Any,
    area: float,
    box: Any,
    keypoints: list[int],
    crowd: bool = False,
) -> dict[str, Any]:
    return {
        "segmentation": segmentation,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        "area": round(float(area), 4),
        "iscrowd": int(crowd),
        "keypoints": list(keypoints),
        "image_id": image_id,
        "bbox": [round(float(value), 2) for value in box],
        "category_id": PERSON,
        "id": identity,
    }


def _polygons(mask: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Outlines of a mask as flat x, y lists, not exactly on it: people click near what they see."""
    height, width = mask.shape
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons: list[np.ndarray] = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        corners = cv2.approxPolyDP(contour, 0.7, True).reshape(-1, 2)
        if len(corners) < 3 or (polygons and cv2.contourArea(contour) < SMALLEST_PATCH):
            continue
        clicked = corners + rng.normal(0, 0.25, corners.shape)
        polygons.append(np.clip(clicked, 0, (width - 1, height - 1)).round(2).ravel())
    return polygons


def _keypoints(scene: Scene, index: int, rng: np.random.Generator) -> list[int]:
    """x, y, v of every keypoint: 2 seen, 1 covered; 0 with x = y = 0 out of the picture, or left out."""
    height, width = scene.labels.shape
    person = scene.people[index]
    keypoints: list[int] = []
    for name, place, behind in zip(COCO_KEYPOINTS.names, person.keypoints, person.behind, strict=True):
        x, y = (int(value) for value in np.round(place))
        if not (0 <= x < width and 0 <= y < height):
            keypoints += [0, 0, 0]
            continue
        carriers = [part for part in CARRIERS[name] if not (behind and part == "torso")]
        seen = scene.labels[y, x] in {label(index, part) for part in carriers}
        forgotten = rng.random() < (FORGOTTEN if seen else UNGUESSED)
        keypoints += [0, 0, 0] if forgotten else [x, y, 2 if seen else 1]
    return keypoints
