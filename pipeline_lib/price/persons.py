"""How many people the record sets of a run have, before and after they are converted."""

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib import plan
from pipeline_lib.artifacts import read_json
from pipeline_lib.config import Config
from pipeline_lib.data import coco
from pipeline_lib.data.records import read_manifest
from pipeline_lib.errors import ConfigError, EvoPoseError

log = logging.getLogger(__name__)


def persons(cfg: Config, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """{record set: people} of `plan.splits`.

    From the first of these that there is: the numbers `given` of train and val, the records, what the data set's file expects, the
    annotations. Raises `ConfigError` when none is.
    """
    found: dict[str, int] = {}
    folders = {Path(folder).name: folder for folder in plan.all_records(cfg)}
    for split in plan.splits(cfg):
        number = (given or {}).get(split)
        if number is None and split in folders:
            number = _converted(cfg, folders[split])
        found[split] = number if number is not None else _annotated(cfg, split, found)
    return found


def _converted(cfg: Config, folder: str) -> int | None:
    try:
        return read_manifest(plan.manifest(cfg, folder)).examples
    except EvoPoseError:
        return None


def _annotated(cfg: Config, split: str, found: Mapping[str, int]) -> int:
    dataset, purpose = cfg.dataset, plan.purpose(split)
    if split in plan.search_splits(cfg) and split not in (plan.TRAIN, plan.VAL):
        held_out = round(cfg.search.holdout * found[plan.TRAIN])
        return held_out if purpose == "ground_truth" else found[plan.TRAIN] - held_out
    source = plan.split_of(cfg, split)
    if purpose == "detections":
        path = Path(str(source.detections))
        return len(read_json(path, own=False)) if path.is_file() else found[plan.VAL]
    expected = dict(dataset.download.persons.items()) if dataset.download else {}
    if split in expected:
        return expected[split]
    if not Path(source.annotations).is_file():
        if dataset.synthetic is not None:
            pictures = dataset.synthetic.train_images if purpose == "training" else dataset.synthetic.val_images
            return round(pictures * (1 + dataset.synthetic.people) / 2)  # as many as there are in the mean
        raise ConfigError(
            f"{source.annotations} is not there: say how many people {split} has with --persons {split}=NUMBER"
        )
    log.info("%s: counting the people of %s", split, source.annotations)
    return len(coco.ground_truth(Path(source.annotations), dataset.keypoints, training=purpose == "training").people)
