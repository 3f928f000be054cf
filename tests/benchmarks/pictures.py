"""A data set of photograph-sized pictures: 640x480 JPEGs of about COCO's size with eight people each."""

import json
from pathlib import Path

import cv2
import numpy as np

from pipeline_lib.config import COCO_KEYPOINTS, ConversionSettings, Reach
from pipeline_lib.data.convert import convert

HEIGHT, WIDTH = 480, 640
PEOPLE = 8
ANNOTATIONS = "person_keypoints.json"
QUALITY, GRAIN = 90, 31  # give about 193 kB a picture


def records(folder: Path, images: int) -> Path:
    """Make pictures and annotations in `folder`, convert them to records of whole images, and return the manifest."""
    make(folder, images)
    return converted(folder, "records", ConversionSettings())


def make(folder: Path, images: int) -> None:
    """Make pictures and annotations in `folder`."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for image in range(1, images + 1):
        name = f"{image:06d}.jpg"
        cv2.imwrite(str(folder / "images" / name), _picture(rng), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        content["images"].append({"id": image, "file_name": name, "height": HEIGHT, "width": WIDTH})
        content["annotations"] += [_person(rng, image, PEOPLE * image + person) for person in range(PEOPLE)]
    (folder / ANNOTATIONS).write_text(json.dumps(content))


def converted(folder: Path, name: str, settings: ConversionSettings, reach: Reach | None = None) -> Path:
    """Convert what `make` made into records in a folder of that name, and return their manifest."""
    manifest = folder / name / "manifest.json"
    convert(
        manifest,
        annotations=folder / ANNOTATIONS,
        images=folder / "images",
        split="train",
        purpose="training",
        schema=COCO_KEYPOINTS,
        settings=settings,
        reach=reach,
    )
    return manifest


def _picture(rng: np.random.Generator) -> np.ndarray:
    """Soft colours with the grain of a photograph: a JPEG decoder has as much to do as with COCO's."""
    soft = cv2.resize(
        rng.uniform(0, 255, (12, 16, 3)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    grain = rng.normal(0, GRAIN, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return np.clip(soft + grain, 0, 255).astype(np.uint8)


def _person(rng: np.random.Generator, image: int, identity: int) -> dict[str, object]:
    height = rng.uniform(80, 400)
    width = height * rng.uniform(0.3, 0.8)
    x, y = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
    keypoints = np.column_stack([rng.uniform(x, x + width, 17), rng.uniform(y, y + height, 17), rng.integers(0, 3, 17)])
    keypoints[0, 2] = 2
    return {
        "id": identity,
        "image_id": image,
        "category_id": 1,
        "bbox": [x, y, width, height],
        "area": width * height,
        "iscrowd": 0,
        "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
        "keypoints": keypoints.ravel().tolist(),
    }
