"""The files of the synthetic data set: pictures, annotations and detections.

Every picture is made from its own generator, addressed by (seed, split, index), so that asking for more pictures does
not change the first ones.
"""

import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline_lib.artifacts import atomic_path, write_text
from pipeline_lib.config import COCO_KEYPOINTS, SyntheticConfig
from pipeline_lib.data.synthetic.annotate import PERSON, annotate, box_outside, detect, flat_box
from pipeline_lib.data.synthetic.scene import Quirks, compose
from pipeline_lib.errors import DataError

log = logging.getLogger(__name__)

SPLITS = ("train", "val")
JPEG_QUALITY = 92
PROGRESS_SECONDS = 5.0

# What real data has now and then: the pictures with these remainders of index / PERIOD. So small sets have it, too.
PERIOD = 12
CROWD, GREY, BYSTANDER, EMPTY = 1, 2, 7, 10
# The broken annotations are in one picture of a split only: nobody can find such people, so each costs some recall.
FLAT_BOX, BOX_OUTSIDE = 4, 5

_MADE = "2026-01-01"


Picture = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]


def synthesize(config: SyntheticConfig, seed: int, folder: Path, workers: int = 1) -> None:
    """Write the data set below `folder`; the same `config` and `seed` give the same bytes, whatever the `workers`.

    Writes images/{train,val}/<12-digit id>.jpg, annotations/person_keypoints_{train,val}.json and
    annotations/person_detections_val.json; JPEGs that an earlier run left in the image folders are removed.
    """
    for split, number in zip(SPLITS, (config.train_images, config.val_images), strict=True):
        started = said = time.monotonic()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        detections: list[dict[str, Any]] = []
        pictures = folder / "images" / split
        with _pictures(partial(_write_picture, config, seed, split, pictures), number, workers) as written:
            for entry, own, found in written:
                images.append(entry)
                annotations += own
                detections += found
                if time.monotonic() - said > PROGRESS_SECONDS:
                    said = time.monotonic()
                    log.info("%s: %d of %d pictures", split, len(images), number)
        names = {entry["file_name"] for entry in images}
        for stale in pictures.glob("*.jpg"):
            if stale.name not in names:
                stale.unlink()
        # Real files are in no particular order either.
        order = np.random.default_rng([seed, SPLITS.index(split), number, 1])
        content = {**_header(split), "images": _shuffled(images, order), "annotations": _shuffled(annotations, order)}
        write_text(folder / f"annotations/person_keypoints_{split}.json", json.dumps(content) + "\n")
        if split == "val":
            found = _shuffled(detections, order)
            write_text(folder / f"annotations/person_detections_{split}.json", json.dumps(found) + "\n")
        log.info(
            "%s: %d pictures, %d annotated people, %.1f s",
            split,
            number,
            len(annotations),
            time.monotonic() - started,
        )


@contextmanager
def _pictures(write: partial[Picture], number: int, workers: int) -> Iterator[Iterator[Picture]]:
    """What `write` returns for each index, in order."""
    if workers == 1:
        yield map(write, range(number))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool.map(write, range(number), chunksize=8)


def _write_picture(config: SyntheticConfig, seed: int, split: str, folder: Path, index: int) -> Picture:
    image, entry, annotations, detections = make(config, seed, split, index)
    _write_jpeg(folder / entry["file_name"], image)
    return entry, annotations, detections


def make(
    config: SyntheticConfig, seed: int, split: str, index: int
) -> tuple[np.ndarray, dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """One picture (RGB or grey uint8), its COCO image entry, its annotations, and detections of its people."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    remainder = index % PERIOD
    quirks = Quirks(
        grey=remainder == GREY, crowd=remainder == CROWD, bystander=remainder == BYSTANDER, empty=remainder == EMPTY
    )
    scene = compose(config, rng, quirks)
    height, width = scene.labels.shape
    image_id = 1 + len(SPLITS) * index + SPLITS.index(split)  # no id is in both splits
    annotations = annotate(scene, image_id, rng)
    if index == FLAT_BOX:
        annotations.append(flat_box(image_id, (height, width)))
    if index == BOX_OUTSIDE:
        annotations.append(box_outside(image_id, (height, width)))
    entry = {
        "license": 1,
        "file_name": f"{image_id:012d}.jpg",
        "coco_url": "",
        "height": height,
        "width": width,
        "date_captured": f"{_MADE} 00:00:00",
        "flickr_url": "",
        "id": image_id,
    }
    return scene.image, entry, annotations, detect(annotations, image_id, (height, width), rng)


def _shuffled(entries: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    return [entries[place] for place in rng.permutation(len(entries))]


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise DataError(f"{path}: OpenCV cannot write JPEG files; install an OpenCV build with JPEG support")
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _header(split: str) -> dict[str, Any]:
    names = COCO_KEYPOINTS.names
    return {
        "info": {
            "description": f"EvoPose synthetic people, {split}",
            "url": "",
            "version": "1.0",
            "year": int(_MADE[:4]),
            "contributor": "EvoPose",
            "date_created": _MADE.replace("-", "/"),
        },
        "licenses": [{"url": "", "id": 1, "name": "Apache License 2.0"}],
        "categories": [
            {
                "supercategory": "person",
                "id": PERSON,
                "name": "person",
                "keypoints": list(names),
                "skeleton": [
                    [names.index(first) + 1, names.index(second) + 1] for first, second in COCO_KEYPOINTS.skeleton
                ],
            }
        ],
    }
