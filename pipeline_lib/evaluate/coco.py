"""COCO keypoint metrics: mean precision and recall over object keypoint similarity, by pycocotools (paper, section V)."""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.data import coco_json
from pipeline_lib.data.coco_json import PERSON
from pipeline_lib.errors import DataError

log = logging.getLogger(__name__)

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
UNDEFINED = -1.0
_LABELLED = "no person in the annotated images has labelled keypoints"
_MEDIUM = "no person with labelled keypoints has a medium area (32^2 to 96^2 pixels)"
_LARGE = "no person with labelled keypoints has a large area (96^2 pixels or more)"


def truth(annotations: Mapping[str, Any], keypoints: int) -> dict[str, list[Any]]:
    """What of COCO `annotations` of so many keypoints is compared with; raises `DataError` naming the entry that cannot be.

    What is left out of an annotation has the value that the conversion assumes.
    """
    images, people = (annotations.get(name) for name in ("images", "annotations"))
    if not isinstance(images, list) or not isinstance(people, list):
        raise DataError("`images` and `annotations` must be lists; give person_keypoints_*.json")
    for place, image in enumerate(images):
        coco_json.integer_of(image, "id", f"images[{place}]")
    found = [
        _person(f"annotations[{place}]", person, 3 * keypoints)
        for place, person in enumerate(people)
        if not isinstance(person, dict) or _given(person, "category_id", PERSON) == PERSON
    ]
    return {"images": images, "annotations": found}


def evaluate(
    annotations: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> dict[str, Any]:
    """Metrics of a COCO keypoint result list over all images of COCO `annotations`.

    Returns {metrics: {name: value between 0 and 1}, explanations: {name: why it is -1}, images, persons (with labelled
    keypoints), results}. `sigmas` are the keypoints' constants of the object keypoint similarity. Crowds and people
    without labelled keypoints are ignored, as pycocotools does. Raises `DataError` for results or annotations that do
    not fit each other.
    """
    import numpy as np
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known, found = COCO(), COCO()
    known.dataset = {
        **(dataset := truth(annotations, len(sigmas))),
        # Numbered anew: pycocotools takes a match with id 0 for no match.
        "annotations": [{**person, "id": number} for number, person in enumerate(dataset["annotations"], start=1)],
        "categories": [{"id": PERSON, "name": "person"}],
    }
    images = {image["id"] for image in known.dataset["images"]}
    for index, result in enumerate(results):
        if result["image_id"] not in images:
            raise DataError(
                f"result {index}: image {result['image_id']} is not among the {len(images)} annotated images; evaluate "
                "with the annotations of the split that was predicted"
            )
        if len(result["keypoints"]) != 3 * len(sigmas):
            raise DataError(
                f"result {index}: {len(result['keypoints'])} keypoint numbers, 3 for each of {len(sigmas)} keypoints "
                "are expected; evaluate with the keypoints of the network's data set"
            )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        known.createIndex()
        if results:  # loadRes fails on an empty list
            found = known.loadRes([dict(result) for result in results])
        evaluation = COCOeval(known, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
        evaluation.params.imgIds = sorted(images)
        evaluation.params.catIds = [PERSON]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    log.debug("pycocotools:\n%s", said.getvalue())
    metrics = dict(zip(METRICS, map(float, evaluation.stats), strict=True))
    persons = sum(
        bool(person["num_keypoints"]) and not person.get("iscrowd", 0) and person["image_id"] in images
        for person in known.dataset["annotations"]
    )
    return {
        "metrics": metrics,
        "explanations": {name: _explanation(name, persons) for name, value in metrics.items() if value == UNDEFINED},
        "images": len(images),
        "persons": persons,
        "results": len(results),
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """What `evaluate` returned for each named row, as a text table; undefined metrics are explained below it."""
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"{name:>7}" for name in METRICS)]
    explained: dict[str, str] = {}
    for name, row in rows.items():
        values = (row["metrics"][metric] for metric in METRICS)
        lines.append(
            f"{name:<{width}}" + "".join(f"{'-' if value == UNDEFINED else f'{value:.3f}':>7}" for value in values)
        )
        explained |= row["explanations"]
    return "\n".join(lines + [f"{metric} is undefined: {why}" for metric, why in explained.items()])


def _person(place: str, annotation: Any, numbers: int) -> dict[str, Any]:
    """An annotation with all that pycocotools wants; what is left out has the value that the conversion assumes."""
    if not isinstance(annotation, dict):
        raise DataError(
            f"{place}: {coco_json.shown(annotation)} is no annotation; COCO keypoint annotations are expected"
        )
    where = f"annotation {annotation.get('id')}"
    crowd = int(bool(_given(annotation, "iscrowd", 0)))
    keypoints = _given(annotation, "keypoints", [0] * numbers if crowd else None)
    if missing := [name for name in ("image_id", "bbox") if annotation.get(name) is None] + ["keypoints"] * (
        keypoints is None
    ):
        raise DataError(f"{where}: {', '.join(missing)} missing; COCO keypoint annotations are expected")
    if coco_json.box(annotation) is None:
        raise DataError(f"{where}: bbox is {coco_json.shown(annotation['bbox'])}; four numbers are expected")
    if not isinstance(keypoints, list | tuple) or not all(map(coco_json.is_number, keypoints)):
        raise DataError(f"{where}: keypoints is {coco_json.shown(keypoints)}; a list of numbers is expected")
    for name in ("area", "num_keypoints"):
        if annotation.get(name) is not None and not coco_json.is_number(annotation[name]):
            raise DataError(f"{where}: {name} is {coco_json.shown(annotation[name])}; a number is expected")
    coco_json.integer_of(annotation, "image_id", where)
    if len(keypoints) != numbers:
        raise DataError(
            f"{where}: {len(keypoints)} keypoint numbers instead of {numbers}; does the data set's "
            "`keypoints` describe these annotations?"
        )
    return {
        **annotation,
        "keypoints": keypoints,
        "iscrowd": crowd,
        "category_id": PERSON,
        "area": _given(annotation, "area", annotation["bbox"][2] * annotation["bbox"][3]),
        "num_keypoints": _given(annotation, "num_keypoints", sum(v > 0 for v in keypoints[2::3])),
    }


def _given(annotation: Mapping[str, Any], name: str, default: Any) -> Any:
    """A field, or `default` where it is left out or null."""
    value = annotation.get(name)
    return default if value is None else value


def _explanation(metric: str, persons: int) -> str:
    if not persons:
        return _LABELLED
    return _MEDIUM if metric.endswith("M") else _LARGE
