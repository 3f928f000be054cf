"""A PoseTrack 2018 in small: a folder in the form of the official one, with pictures of noise."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NAMES = [
    *("nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
]
HEIGHT, WIDTH = 72, 96
EARS = (3, 4)


def video(
    root: Path, split: str, number: int, frames: int = 4, labelled: tuple[int, ...] = (1, 2), people: int = 2
) -> dict[str, Any]:
    """A video's file and its frames, written below `root`; ids are made of the video's number as in the official ones."""
    rng = np.random.default_rng(number)
    name = f"{number:06d}_mpii_{split}"
    folder = root / "images" / split / name
    folder.mkdir(parents=True)
    images, annotations = [], []
    for frame in range(frames):
        file = folder / f"{frame:06d}.jpg"
        cv2.imwrite(str(file), rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
        image = 10_000_000_000 + number * 10_000 + frame
        images.append(
            {"has_no_densepose": True, "is_labeled": frame in labelled, "file_name": str(file.relative_to(root))}
            | {"nframes": frames, "frame_id": image, "vid_id": f"{number:06d}", "id": image}
            | {"ignore_regions_x": [[1, 5, 5]], "ignore_regions_y": [[1, 1, 5]]}
        )
        for track in range(people if frame in labelled else 0):
            x, y, w, h = (round(float(value), 3) for value in (*rng.uniform(2, 20, 2), *rng.uniform(30, 45, 2)))
            points = rng.uniform([x, y], [x + w, y + h], (17, 2)).round(5)
            seen = rng.integers(0, 2, 17)
            seen[0], seen[list(EARS)] = 1, 0
            points[~seen.astype(bool)] *= [[0], [1]][
                track % 2
            ]  # of an unlabelled one nothing counts, whatever is written
            keypoints = np.column_stack([points, seen]).ravel().tolist()
            annotations.append(
                {"bbox_head": [x, y, 5, 5], "keypoints": keypoints, "track_id": track, "image_id": image}
                | {"bbox": [x, y, w, h], "scores": [], "category_id": 1, "id": 100 * image + track}
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"supercategory": "person", "id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2]]}
        ],
    }
    write(root, split, name, content)
    return content


def write(root: Path, split: str, name: str, content: Any) -> Path:
    path = root / "annotations" / split / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
