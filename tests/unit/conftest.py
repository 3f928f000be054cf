"""Records that several tests train on."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline_lib import artifacts
from pipeline_lib.config import COCO_KEYPOINTS, ConversionSettings
from pipeline_lib.data import convert
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import Architecture, initial_weights

PERSONS = 11
TINY = Architecture(
    genotype=[[1, 3, 1, 1], [1, 3, 1, 2], [1, 3, 1, 2], [1, 3, 1, 1], [1, 3, 1, 1], [1, 3, 1, 1], [1, 3, 1, 1]],
    height=32,
    width=32,
    expansion=(1,) * 7,
    stem=8,
    head=8,
    head_layers=1,
)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven persons, one a picture; one of them unlabelled, some keypoints invisible, one picture grey."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(5)
    images, annotations = [], []
    for number in range(1, PERSONS + 1):
        picture = rng.integers(0, 256, (40, 48) if number == 2 else (40, 48, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), cv2.GaussianBlur(picture, (5, 5), 0))
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 40, "width": 48})
        points = np.column_stack([rng.uniform(5, 45, 17), rng.uniform(2, 38, 17), rng.integers(0, 3, 17)])
        if number == 4:
            points[:] = 0
        points[points[:, 2] == 0] = 0
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "area": 900.0,
                "bbox": [4.0, 1.0, 40.0, 38.0],
                "num_keypoints": int((points[:, 2] > 0).sum()),
                "keypoints": points.ravel().tolist(),
            }
        )
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINTS.names), "skeleton": []}]
    source = {"images": images, "annotations": annotations, "categories": categories}
    artifacts.write_json(folder / "annotations.json", source)
    convert.convert(
        folder / "val" / "manifest.json",
        annotations=folder / "annotations.json",
        images=folder,
        split="val",
        purpose="ground_truth",
        schema=COCO_KEYPOINTS,
        settings=ConversionSettings(shard_size=4),
    )
    return folder / "val" / "manifest.json"


@pytest.fixture(scope="session")
def initial(manifest: Path) -> Path:
    """Initial weights of `TINY`."""
    path = manifest.parent / "initial.safetensors"
    files.save(path, TINY, initial_weights(TINY, 1))
    return path
