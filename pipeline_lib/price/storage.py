"""How large the files of a run become, before there are any."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline_lib import plan
from pipeline_lib.config import Config
from pipeline_lib.data import coco, crops, images
from pipeline_lib.data.records import read_manifest
from pipeline_lib.errors import EvoPoseError
from pipeline_lib.nets import files
from pipeline_lib.nets.layers import count_network
from pipeline_lib.price.work import SEARCH, Training

SAMPLED = 64
"""People whose images are looked at for the size of records."""

RECORD_BYTES = 500
"""Of a record beside its pixels: keypoints, box, and what TFRecord puts around it."""

LISTED = 10_000
"""Files of a folder of images that are listed: a listing of all of COCO's takes a while on a network's disk."""

STATES, COPIES = 2, 4
"""Newest states that a training keeps; each has weights, Adam's two moments, and the best weights so far."""


def storage(
    cfg: Config, trainings: Sequence[Training], persons: Mapping[str, int], at_once: int
) -> dict[str, float | None]:
    """{what: bytes}; None for records whose images are not there to be looked at."""
    found: dict[str, float | None] = {}
    for folder in plan.all_records(cfg):
        found[f"records {folder}"] = _records(cfg, folder, persons)
    searched = [one for one in trainings if one.part == SEARCH]
    if searched:
        # Of each training the weights before and after, of each generation the survivors.
        survivors = sum(cfg.search.parents * _weights(one) for one in searched)
        found["weights of the search"] = sum(2 * one.number * _weights(one) for one in searched) + survivors
    if final := [one for one in trainings if one.part != SEARCH]:
        found["weights of the final networks"] = sum(2 * _weights(one) for one in final)
    largest = sorted((_state(one) for one in trainings for _ in range(min(one.number, at_once))), reverse=True)
    found["states of running trainings, at most"] = sum(largest[:at_once])
    return found


def _weights(training: Training) -> float:
    """Bytes of the weights of one training, in the mean of all of them."""
    return files.size(training.network) * training.parameters / count_network(training.network)["parameters"]


def _state(training: Training) -> float:
    return STATES * COPIES * _weights(training)


def _records(cfg: Config, folder: str, persons: Mapping[str, int]) -> float | None:
    split = Path(folder).name
    try:
        return float(sum(shard.bytes for shard in read_manifest(plan.manifest(cfg, folder)).shards))
    except EvoPoseError:
        pixels = _pixels(cfg, folder, split)
    return None if pixels is None else persons[split] * (pixels + RECORD_BYTES)


def _pixels(cfg: Config, folder: str, split: str) -> float | None:
    """Bytes of an image or crop in the mean of some people; None when there is none to be looked at."""
    reach = plan.record_folders(cfg)[str(Path(folder).parent)]
    source = plan.split_of(cfg, split)
    images_folder = Path(source.images)
    if reach is None:
        paths = list(itertools.islice(images_folder.iterdir(), LISTED)) if images_folder.is_dir() else []
        chosen = paths[:: max(1, len(paths) // SAMPLED)]
        return statistics.fmean(path.stat().st_size for path in chosen) if chosen else None
    form = crops.wanted(cfg.conversion, reach)
    if form.encoding == "raw" and reach.is_final:
        return float(3 * reach.height * reach.width)
    if not Path(source.annotations).is_file():
        return None
    people = coco.ground_truth(Path(source.annotations), cfg.dataset.keypoints, training=True).people
    some = people[:: max(1, len(people) // SAMPLED)]
    sizes = [size for person in some if (size := _size(person, images_folder, form)) is not None]
    return statistics.fmean(sizes) if sizes else None


def _size(person: coco.Person, folder: Path, form: crops.Form) -> float | None:
    """Bytes of a person's crop; None when they depend on an image that is not there, or cannot be read."""
    if form.encoding == "raw":
        part = crops.part(person.box, person.image.height, person.image.width, form)
        return float(3 * part.height * part.width)
    path = folder / person.image.file_name
    image = images.decode(np.fromfile(path, np.uint8)) if path.is_file() else None
    return None if image is None else float(len(crops.encode(crops.cut(image, person.box, form)[0], form)))
