"""What the Snakefile asks the library: the configuration, the splits, the numbers in paths, the shell around a program."""

import logging
import os
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from pipeline_lib import cli, config, devices, hardware, remote
from pipeline_lib.config import COCO_KEYPOINTS, Augmentation, Config, InputSize, Reach, Split
from pipeline_lib.config.dataset import DATAFLOW_RUNNER, VIDEOS
from pipeline_lib.config.storage import CACHE, CACHE_GB
from pipeline_lib.errors import ArtifactError, ConfigError, EvoPoseError
from pipeline_lib.nets import pretrained, registry
from pipeline_lib.paper import experiments
from pipeline_lib.search import genotype, scaling

log = logging.getLogger(__name__)

# Options of Snakemake with which it runs no job.
PLANNING = ("--dry-run", "--dryrun", "--dag", "--rulegraph", "--filegraph", "--lint", "--summary", "--unlock")

TRAIN, VAL, DETECTIONS, TEST = "train", "val", "val_detections", "test_detections"
# Of these names annotations are validated; detections as _DETECTED of them.
ANNOTATED = (TRAIN, VAL, "test")
_DETECTED = "_detections"
# The training images of a search with a hold-out, and the others; the fraction is part of the name.
SEARCHED, HELD_OUT = "search", "holdout"
# Which boxes a network is evaluated on, and the records that hold them.
BOXES = {"ground_truth": VAL, "detections": DETECTIONS}
# Those of images without public annotations are predicted for COCO's server alone, the training images for a refiner.
PREDICTED = {**BOXES, "test": TEST, "train": TRAIN}
_REFINED = "_refined"
# What the conversion keeps of a split (the training filter drops crowds and persons without a labelled keypoint).
PURPOSE = {
    TRAIN: "training",
    VAL: "ground_truth",
    DETECTIONS: "detections",
    TEST: "detections",
    SEARCHED: "training",
    HELD_OUT: "ground_truth",
}

# Keys of `conversion` that change no byte of the records.
HOW_CONVERTED = ("runner", "mode", "workers", "options")
# Nor, of crops that are final, their resolution, of raw ones, the quality of JPEGs, and all of these of whole images.
OF_PARTS = ("crop_resolution",)
OF_JPEGS = ("jpeg_quality",)
OF_CROPS = ("crop_encoding", *OF_JPEGS, *OF_PARTS)

GENERATION = r"\d\d\d+"

# The target rules that get the data set, without and with its optional archives.
GETTING = ("coco", "coco_test")

# Those that look at no data.
WITHOUT_DATA = ("networks", "paper")


# Of Apache Beam, which takes seconds to import; a test compares them. Others are named with their module.
RUNNERS = (
    *("BundleBasedDirectRunner", "DaskRunner", "DataflowRunner", "DirectRunner", "FlinkRunner", "FnApiRunner"),
    *(
        "InteractiveRunner",
        "KafkaStreamsRunner",
        "PortableRunner",
        "PrismRunner",
        "PythonRPCDirectRunner",
        "SparkRunner",
    ),
    *("SwitchingDirectRunner", "TestDataflowRunner", "TestDirectRunner"),
)


def typed(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what the command line gave of them (`--config search={generations: 1}`) as YAML reads it.

    Snakemake leaves everything within braces as text.
    """
    return {key: _typed(value, given[key]) if key in given else value for key, value in values.items()}


def _typed(value: Any, given: Any, nested: bool = False) -> Any:
    if isinstance(value, Mapping) and isinstance(given, Mapping):
        return {key: _typed(part, given[key], True) if key in given else part for key, part in value.items()}
    if isinstance(value, list):
        return [_typed(part, part, True) for part in value]
    if not nested or not isinstance(value, str):
        return value
    try:
        read = yaml.safe_load(value) if value else None
    except yaml.YAMLError:  # text, of which is said that it is no number
        return value
    return read if read is None or isinstance(read, bool | int | float) else value


def load(raw: Mapping[str, Any], root: Path, words: Collection[str] = ()) -> Config:
    """The configuration of a Snakemake run, validated as far as it can be before any job.

    `words` are those of the command line. Raises `ConfigError` for a wrong key or value, a genotype outside of its space, or
    data that is not there, unless the command line asks to get it.
    """
    values = {key: value for key, value in raw.items() if key != "pathvars"}  # Snakemake's own
    loaded = config.load(values, root)
    search = loaded.search
    if search.enabled:
        genotype.validate(search.ancestor, search.space, search.ancestor)
    for name, model in loaded.final.models.items():
        if model.network is not None:
            try:
                network = registry.architecture(
                    model.network, model.height, model.width, len(loaded.dataset.keypoints.names)
                )
                if model.pretrained is not None:
                    pretrained.check_form(model.pretrained, network)
            except (ConfigError, ArtifactError) as error:
                raise ConfigError(f"final.models.{name}: {error}") from None
        elif model.coefficients is None:
            try:
                scaling.check(model.height, model.width, loaded.input.height, loaded.input.width)
            except ConfigError as error:
                raise ConfigError(f"final.models.{name}: {error}") from None
    _check_refiner(loaded)
    _require_runner(loaded.conversion.runner)
    _require_bucket(loaded)
    if loaded.dataset.synthetic is not None:
        synthetic_folder(loaded)
        if loaded.dataset.keypoints.names != COCO_KEYPOINTS.names:
            raise ConfigError(
                "dataset.keypoints: the synthetic data set has COCO's 17 keypoints; leave the key out, or leave `synthetic` "
                "out and name a data set with these keypoints"
            )
    if (problem := _missing(loaded)) and not _goes_without_data(loaded, words):
        # What can be got can be planned without: a dry run tells what there will be to do.
        known = loaded.dataset.download is not None or loaded.dataset.by_hand is not None
        if not known or not plans_only(words):
            raise ConfigError(problem)
        log.warning("%s. This command goes on as if all were there.", problem)
    return loaded


def _check_refiner(loaded: Config) -> None:
    """Raise `ConfigError` for a refiner that cannot be."""
    refine = loaded.refine
    if not refine.enabled:
        return
    try:
        network = registry.refiner(refine.network, refine.height, refine.width, len(loaded.dataset.keypoints.names))
        if refine.pretrained is not None:
            pretrained.check_form(refine.pretrained, network)
    except (ConfigError, ArtifactError) as error:
        raise ConfigError(f"refine: {error}") from None


def plans_only(words: Collection[str]) -> bool:
    """Whether a command line of Snakemake runs no job; short options may be joined, such as -np."""
    return any(word in PLANNING or re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*", word) for word in words)


def _require_runner(name: str) -> None:
    known = {runner.lower() for runner in RUNNERS}
    is_path = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name)  # of a class
    if not is_path and not {name.lower(), f"{name.lower()}runner"} & known:
        raise ConfigError(
            f"conversion.runner: {name} is none of Beam's runners ({', '.join(RUNNERS)}); name one of these, or another "
            "one with its module, such as package.module.Runner"
        )


def _require_bucket(loaded: Config) -> None:
    """Raise `ConfigError` when the workers of Dataflow would look for data on this machine."""
    if not loaded.conversion.runs_on(DATAFLOW_RUNNER):
        return
    places = {f"dataset.{name}.images": split.images for name, split in loaded.dataset.splits().items()}
    places["conversion.shards"] = loaded.conversion.shards or "beside the manifests"
    if here := [f"{key}: {path}" for key, path in places.items() if not remote.is_remote(path)]:
        raise ConfigError(
            f"conversion.runner: the workers of {DATAFLOW_RUNNER} see no files of this machine, which these are: "
            f"{', '.join(here)}; put them into a bucket (gs://), or take another runner"
        )


def _goes_without_data(loaded: Config, words: Collection[str]) -> bool:
    """Whether a command line asks for what needs no data, or for the data set itself: for a target rule or a record of it."""
    if any(word in WITHOUT_DATA for word in words):
        return True
    records = f"results/data/{loaded.dataset.name}/files/"
    return loaded.dataset.download is not None and any(word in GETTING or word.startswith(records) for word in words)


def synthetic_folder(loaded: Config) -> str:
    """The folder that the synthetic data set is written to; raises `ConfigError` when its paths are not as written."""
    train, val = loaded.dataset.train, loaded.dataset.val
    folder = Path(train.annotations).parent.parent
    for key, path, tail in (
        ("train.images", train.images, "images/train"),
        ("train.annotations", train.annotations, "annotations/person_keypoints_train.json"),
        ("val.images", val.images, "images/val"),
        ("val.annotations", val.annotations, "annotations/person_keypoints_val.json"),
        ("val.detections", val.detections, "annotations/person_detections_val.json"),
    ):
        if path is None or Path(path) != folder / tail:
            raise ConfigError(f"dataset.{key}: the synthetic data set is written to {folder / tail}, not to {path}")
    return str(folder)


def _missing(loaded: Config) -> str | None:
    """What is wrong and what to do when data or pretrained weights are not where the configuration says."""
    dataset = loaded.dataset
    splits = (("train", dataset.train), ("val", dataset.val)) if dataset.synthetic is None else ()
    paths = {f"dataset.{name}.{kind}": path for name, split in splits for kind, path in split if path is not None}
    problems = []
    if missing := [f"{key}: {path}" for key, path in paths.items() if not _is_there(path)]:
        what_to_do = "put the data there or name its place in the data set's file (config/datasets/)"
        if dataset.download is not None:
            what_to_do = (
                "`make coco` gets the data, and says where detections come from; without them, leave `detections` out of the "
                "data set's file (config/datasets/)"
            )
        elif dataset.by_hand is not None:
            what_to_do = f"{dataset.by_hand}; or name their place in the data set's file (config/datasets/)"
        problems.append(f"data set '{dataset.name}': no such file or folder: {', '.join(missing)}; {what_to_do}")
    begins = loaded.search.enabled and loaded.first_generation == 0
    weights = {"search.pretrained": loaded.search.pretrained if begins else None}
    weights |= {f"final.models.{name}.pretrained": model.pretrained for name, model in loaded.final.models.items()}
    weights |= {"refine.pretrained": loaded.refine.pretrained if loaded.refine.enabled else None}
    if missing := [
        f"{key}: {path}" for key, path in weights.items() if any(not Path(file).is_file() for file in local(path))
    ]:
        problems.append(
            f"pretrained weights: no such file: {', '.join(missing)}; put them there (those below results/ "
            "are made by their own experiment), name their place, or leave the key out"
        )
    return "; ".join(problems) or None


def _is_there(path: str) -> bool:
    """Whether there is such a file or folder; of a bucket the job that needs it will say so."""
    return remote.is_remote(path) or Path(path).exists()


def existing(path: str | None) -> list[str]:
    """`local` of a file that is there; of another one nothing, since a dry run goes on without it."""
    return [file for file in local(path) if Path(file).is_file()]


def archives(loaded: Config, optional: bool) -> list[str]:
    """The names of the archives that the data set is got from, with or without the optional ones."""
    download = loaded.dataset.download
    return [] if download is None else [name for name, one in download.archives.items() if optional or not one.optional]


def local(path: str | None) -> list[str]:
    """The path as a file that Snakemake can look at: none for one in a bucket."""
    return [] if path is None or remote.is_remote(path) else [path]


def splits(loaded: Config) -> list[str]:
    """The record sets of the data set: detections only where it has them, a hold-out only where a search uses one."""
    found = [TRAIN, VAL]
    if loaded.dataset.val.detections:
        found.append(DETECTIONS)
    return found + [split for split in search_splits(loaded) if split not in found]


def record_sets(loaded: Config) -> list[str]:
    """Every record set that can be asked for: the `splits`, and test images where the data set has detections of them."""
    return splits(loaded) + ([TEST] if loaded.dataset.test is not None and loaded.dataset.test.detections else [])


def record_folders(loaded: Config) -> dict[str, Reach | None]:
    """The folders of record sets below the data set's, and what the crops in them are made for; None: whole images."""
    if loaded.conversion.records == "images":
        return {"images": None}
    sizes = [loaded.input] if loaded.search.enabled else []
    reaches = [search_reach(loaded, SEARCHED)] if loaded.search.enabled else []
    for model in loaded.final.models.values():
        reaches.append(loaded.final.train.augmentation.reach(model.height, model.width))
        sizes.append(model)
    if loaded.refine.enabled:
        reaches.append(_reach(loaded.refine.train.augmentation, TRAIN, loaded.refine))
        sizes.append(loaded.refine)
    reaches += [Reach(height=size.height, width=size.width) for size in sizes]
    return {_crops(reach): reach for reach in reaches}


def search_reach(loaded: Config, split: str) -> Reach:
    """What a search's crops can reach; only training crops are changed."""
    return _reach(loaded.search.train.augmentation, split, loaded.input)


def search_records(loaded: Config, split: str) -> str:
    """The folder, below the data set's, of a record set that a search reads."""
    return _folder(loaded, search_reach(loaded, split), split)


def final_records(loaded: Config, model: str, split: str) -> str:
    """The folder, below the data set's, of a record set that a final network is trained or evaluated on."""
    return _folder(loaded, _reach(loaded.final.train.augmentation, split, loaded.final.models[model]), split)


def refiner_records(loaded: Config, split: str) -> str:
    """The folder, below the data set's, of a record set that the refiner is trained or measured on."""
    return _folder(loaded, _reach(loaded.refine.train.augmentation, split, loaded.refine), split)


def all_records(loaded: Config) -> list[str]:
    """The folders of the record sets that the search, the final networks and the refiner need."""
    found = [search_records(loaded, split) for split in search_splits(loaded)]
    for model in loaded.final.models:
        found += [final_records(loaded, model, split) for split in (TRAIN, *(BOXES[name] for name in boxes(loaded)))]
    if loaded.refine.enabled:
        found += [refiner_records(loaded, split) for split in (TRAIN, VAL)]
    return list(dict.fromkeys(found))


def manifest(loaded: Config, folder: str) -> Path:
    """The manifest of a folder of `all_records`."""
    return Path("results/data") / loaded.dataset.name / folder / "manifest.json"


def estimate(loaded: Config) -> Path:
    """Where scripts/plan.py keeps what the run would take."""
    return Path("results") / loaded.folder / "plan.json"


def _folder(loaded: Config, reach: Reach, split: str) -> str:
    return f"{'images' if loaded.conversion.records == 'images' else _crops(reach)}/{split}"


def _crops(reach: Reach) -> str:
    return f"crops/{reach.name}"


def _reach(augmentation: Augmentation, split: str, size: InputSize) -> Reach:
    if purpose(split) == "training":
        return augmentation.reach(size.height, size.width)
    return Reach(height=size.height, width=size.width)


def reach(loaded: Config, folder: str) -> str:
    """The value of the conversion's option `--reach` for a folder of records; nothing for whole images."""
    found = record_folders(loaded)[folder]
    return "" if found is None else settings(found)


def content(loaded: Config, folder: str) -> str:
    """The settings of the conversion that the bytes of a folder of records depend on, as JSON text."""
    found = record_folders(loaded)[folder]
    without = ["shards", *HOW_CONVERTED]
    if found is None:
        without += OF_CROPS
    elif found.is_final:  # the crop itself
        without += OF_PARTS
    if loaded.conversion.crop_encoding == "raw":
        without += OF_JPEGS
    return settings(loaded.conversion, *without)


def search_splits(loaded: Config) -> tuple[str, ...]:
    """The record sets that a search trains and measures its loss on; none without a search."""
    if not loaded.search.enabled:
        return ()
    if loaded.search.fitness_split == "val":
        return TRAIN, VAL
    return f"{SEARCHED}_{loaded.search.holdout:g}", f"{HELD_OUT}_{loaded.search.holdout:g}"


def purpose(split: str) -> str:
    """What the conversion keeps of a record set."""
    return PURPOSE[split if split in PURPOSE else split.partition("_")[0]]


def part(loaded: Config, split: str) -> str:
    """The option of the conversion that says which images of the training annotations a record set has."""
    kind = split.partition("_")[0]
    if kind == HELD_OUT:
        return f"--holdout {loaded.search.holdout:g}"
    return f"--without-holdout {loaded.search.holdout:g}" if kind == SEARCHED else ""


def boxes(loaded: Config) -> list[str]:
    """The kinds of boxes that networks are evaluated on."""
    return [name for name, split in BOXES.items() if split in splits(loaded)]


def refined(kinds: Iterable[str]) -> list[str]:
    """What the results of a refiner are called, for the kinds of boxes that a pose network predicted on."""
    return [f"{kind}{_REFINED}" for kind in kinds]


def with_refined(loaded: Config, kinds: Sequence[str]) -> list[str]:
    """The kinds of results that there are of a final network: `kinds` of boxes, each also refined where that is asked for."""
    return [*kinds, *(refined(kinds) if loaded.refine.enabled else [])]


def predicted_split(kind: str) -> str:
    """The record set whose people a kind of results has, refined or not."""
    return PREDICTED[kind.removesuffix(_REFINED)]


def estimates(loaded: Config) -> str:
    """The final network whose estimates a refiner learns from where there are no labels."""
    return loaded.refine.estimates or next(iter(loaded.final.models))


def annotated(name: str) -> str:
    """The split, one of `ANNOTATED`, whose images and annotations a record set has."""
    split = name.removesuffix(_DETECTED)
    return split if split in ANNOTATED else TRAIN


def validated(loaded: Config) -> list[str]:
    """What is validated for a run: annotations of splits with their images, and detections."""
    names = [[annotated(name), *([name] if name.endswith(_DETECTED) else [])] for name in splits(loaded)]
    return list(dict.fromkeys(name for part in names for name in part))


def split_of(loaded: Config, name: str) -> Split:
    """The images behind a record set, its annotations as a COCO file, and its detections; these two on this machine."""
    own = annotated(name)
    split = loaded.dataset.splits()[own]
    files = {kind: path for kind, path in split if kind != "images" and path and remote.is_remote(path)}
    here = {kind: f"{_source(loaded)}/{own}/{kind}/{remote.Remote(path).name}" for kind, path in files.items()}
    if loaded.dataset.format == "posetrack":
        here["annotations"] = joined(loaded, own)
    return split.model_copy(update=here) if here else split


def fetches(loaded: Config) -> bool:
    """Whether annotations or detections lie in a bucket: they are fetched once, for all that read them."""
    return any(
        kind != "images" and path and remote.is_remote(path)
        for split in loaded.dataset.splits().values()
        for kind, path in split
    )


def _source(loaded: Config) -> str:
    return f"results/data/{loaded.dataset.name}/source"


def joined(loaded: Config, split: str) -> str:
    """The COCO file that a data set's videos are joined to."""
    return f"{_source(loaded)}/annotations/person_keypoints_{split}.json"


def videos(loaded: Config, split: str) -> list[str]:
    """The files of a split's videos that there are; those of a bucket are looked for by the job that joins them."""
    folder = loaded.dataset.splits()[split].annotations
    return [] if remote.is_remote(folder) else sorted(map(str, Path(folder).glob(VIDEOS)))


def is_made(loaded: Config, path: str) -> bool:
    """Whether a rule makes this file of the data set."""
    return loaded.dataset.synthetic is not None or path.startswith(f"{_source(loaded)}/")


def number(value: int, digits: int = 3) -> str:
    """A number as it is written in paths."""
    return f"{value:0{digits}d}"


def settings(section: BaseModel, *without: str) -> str:
    """A section as the JSON text of a `--settings` option: what differs from the defaults, `without` some keys."""
    return section.model_dump_json(exclude_defaults=True, exclude=set(without))


def device(loaded: Config, default_resources: Mapping[str, Any] | None) -> str:
    """The device to train on: the configuration's, unless that is `auto` and the profile names one."""
    if loaded.device != "auto":
        return loaded.device
    named = _of_profile(default_resources, "device") or "auto"
    if named not in devices.CHOICES:
        raise ConfigError(f"default resource device of the profile: {named!r} is none of {', '.join(devices.CHOICES)}")
    return named


def number_of_profile(resources: Mapping[str, Any] | None, name: str) -> int | None:
    """A resource of the profile that is a number, such as its pool of `accelerator`; None where it says nothing."""
    text = _of_profile(resources, name)
    if text is not None and not (text.isdigit() and int(text)):
        raise ConfigError(f"resource {name} of the profile: an integer above 0 is expected, not {text!r}")
    return None if text is None else int(text)


def name_accelerators(default_resources: Mapping[str, Any] | None) -> None:
    """Have this process and its jobs use the accelerators that the profile names, unless the environment names others."""
    if named := _of_profile(default_resources, "accelerators"):
        os.environ.setdefault(hardware.NAMES, named)
    for kind in hardware.KINDS:  # a wrong name is said now
        hardware.names(kind)


def name_cache(loaded: Config) -> None:
    """Have this process and its jobs keep shards of a bucket where the configuration says, unless the environment does.

    It is no parameter of any rule: where copies are kept changes no result.
    """
    os.environ.setdefault(CACHE_GB, f"{loaded.storage.cache_gb:g}")
    if loaded.storage.cache is not None:
        os.environ.setdefault(CACHE, loaded.storage.cache)


def shards(loaded: Config, records: str, split: str) -> str:
    """The folder of a record set's shards; nothing where they lie beside their manifest."""
    folder = loaded.conversion.shards
    return "" if folder is None else f"{folder}/{loaded.dataset.name}/{records}/{split}"


def _of_profile(resources: Mapping[str, Any] | None, name: str) -> str | None:
    """A resource of the profile; Snakemake keeps one that is a string as the text of a Python expression."""
    resource = dict(resources or {}).get(name)
    return None if resource is None else str(getattr(resource, "raw", resource)).strip("'\"")


def check_device(loaded: Config, kind: str, each: int | None = None, pool: int | None = None) -> None:
    """Raise `EvoPoseError` when the device `kind` is not on this machine, or fewer of it than a training asks for.

    An accelerator is `each` devices (default: what those of this machine are); the profile allows a `pool` of accelerators.
    """
    devices.check(kind)
    wanted = {"final.train.devices": loaded.final.train.devices}
    if loaded.refine.enabled:
        wanted["refine.train.devices"] = loaded.refine.train.devices
    if loaded.search.enabled:
        wanted = {"search.train.devices": loaded.search.train.devices, **wanted}
    for key, cores in wanted.items():
        number = devices.accelerators(kind, cores, each)
        if cores > 1 and not number:
            raise EvoPoseError(
                f"{key}: {cores} devices are asked for, but trainings run on the CPU here, which is one; set it (or "
                "train.devices) to 1, or run where there are as many accelerators"
            )
        try:
            devices.check_number(kind, number)
        except EvoPoseError as error:
            raise EvoPoseError(f"{key}: {error}") from None
        if pool is not None and number > pool:
            raise EvoPoseError(
                f"{key}: {cores} devices are {number} accelerators, but the profile lets a run have {pool}; say how many there "
                f"are with --resources accelerator={number}"
            )


def shell_prefix(root: Path, conda: bool) -> str:
    """Shell text before every rule's command.

    It makes the library importable and, outside of conda, this Python the `python` of the command; it hands on a copy
    of Snakemake's stderr, on which programs show progress while their own stderr goes to the rule's log, and who started them.
    """
    path = "" if conda else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    return (
        f"set -euo pipefail; {path}"
        f"export PYTHONPATH={shlex.quote(str(root))}${{{{PYTHONPATH:+:$PYTHONPATH}}}} {cli.CONSOLE_VARIABLE}=3 "
        f"{cli.PARENT_VARIABLE}=$PPID; exec 3>&2; "
    )


def simulates(loaded: Config) -> bool:
    """Whether the trainings of the search only take their time."""
    return loaded.search.enabled and loaded.search.simulation is not None


def trainer(loaded: Config) -> str:
    """The program that trains a child, as shell text: script and its own options."""
    if loaded.search.simulation is None:
        return "scripts/train.py"
    return f"scripts/simulate_training.py --simulation {shlex.quote(settings(loaded.search.simulation))}"


def fitness_note(loaded: Config) -> str:
    """What the report says of the data that fitness was measured on, and of whose generations a branch has."""
    if not loaded.search.enabled:
        return ""
    if simulates(loaded):
        return "The trainings of this search were simulated: its losses are made up, and nothing was learned."
    if loaded.search.fitness_split == "val":
        note = "Fitness was measured on the validation split, on which the final networks are evaluated too (as in the paper)."
    else:
        note = (
            f"Fitness was measured on a hold-out of {100 * loaded.search.holdout:g} % of the training images, on which the "
            "search did not train; the final networks are evaluated on the validation split."
        )
    if loaded.branch is not None:
        note += (
            f" The generations before {loaded.resume_from} are those of {loaded.experiment}, ranked with this branch's "
            "Gamma and T."
        )
    return note


def figures(loaded: Config, curves: Sequence[int], compared: bool) -> list[str]:
    """Names of the figures of a run: of the search, of every final network, and the training curves of some generations.

    `compared`: whether generation 1 has been compared with its twins from scratch.
    """
    names = ["metrics.svg"]
    if loaded.search.enabled:
        names += ["fitness.svg", "pareto.svg", "architecture.svg"]
        names += [f"training_gen_{number(generation)}.svg" for generation in curves]
    names += ["comparison.svg"] if compared else []
    for model in loaded.final.models:
        names += [f"training_{model}.svg", f"overlays_{model}.png"]
    return names


def submissions(loaded: Config) -> list[str]:
    """The archives for COCO's server, of every final network on every kind of boxes, below models/.

    Those of test images only where these and their detections are.
    """
    kinds = boxes(loaded)
    test = loaded.dataset.test
    if test is not None and test.detections and _is_there(test.detections) and _is_there(test.images):
        kinds.append("test")
    return [
        f"{model}/submission_{kind}/person_keypoints_{image_set(split_of(loaded, predicted_split(kind)))}_{model}_results.zip"
        for model in loaded.final.models
        for kind in with_refined(loaded, kinds)
    ]


def image_set(split: Split) -> str:
    """What COCO calls the images of a split, by the name of its annotations: val2017, test-dev2017."""
    stem = Path(split.annotations).stem.removeprefix("person_keypoints_").removeprefix("image_info_")
    return re.sub(r"[^A-Za-z0-9-]+", "-", stem)


def paper(loaded: Config, item: str, folder: Path, root: Path) -> list[str]:
    """The files below `folder` that there are of what a table or figure of the paper is made from (`experiments.files`).

    With their full paths: the active configuration may be one of these experiments, and none of its rules is to make a file
    because a table has it.
    """
    found = experiments.files(item, folder / "results", loaded.paper_prefix, root / "config" / "experiments")
    return [str(path.absolute()) for path in found]
