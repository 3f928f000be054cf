"""What exists of the experiments of the paper, and whether it can stand beside the paper's values."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib import config, facts
from pipeline_lib.artifacts import read_document
from pipeline_lib.config import Config
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.paper import experiments, server
from pipeline_lib.plots import tables
from pipeline_lib.plots.metrics import METRICS, UNDEFINED
from pipeline_lib.plots.tables import Epoch, Individual

log = logging.getLogger(__name__)

DETECTIONS, GROUND_TRUTH = "detections", "ground_truth"
_REFINED = "_refined"
"""Behind the boxes of results that a refiner made better."""
PERCENT = 100
HOUR = 3600  # seconds
NOTHING = "-"
SEE_NOTES = "see the notes"
UNKNOWN = "unknown"
LATENCY_PASS = {"batch": 1, "dtype": "float32"}
"""What the paper's frame rates are of (caption of Table 3)."""


class Status(StrEnum):
    """How far an experiment is, and whether its results can be compared."""

    NOT_RUN = "not run"
    UNFINISHED = "unfinished"
    DAMAGED = "damaged"
    OTHER = "not comparable"
    COMPARABLE = "comparable"


@dataclass(frozen=True)
class Place:
    """Where results and experiments lie.

    Attributes:
        results: the folder of all results.
        prefix: before the name of every experiment's folder there, such as smoke_.
        experiments: config/experiments of a checkout; data set files are named from two folders above.
    """

    results: Path
    prefix: str
    experiments: Path

    def folder(self, experiment: str) -> Path:
        """The results of an experiment."""
        return self.results / f"{self.prefix}{experiment}"

    def meant(self, experiment: str) -> Config:
        """What the experiment's own file says; raises `ConfigError` where there is none, or it is not valid."""
        return _meant(self.experiments / f"{experiment}.yaml")


@cache
def _meant(path: Path) -> Config:
    try:
        return config.load(yaml.safe_load(path.read_text(encoding="utf-8")), path.parents[2])
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name the folder of the paper's experiments"
        ) from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a YAML mapping ({error})") from None


@dataclass(frozen=True)
class Found:
    """What exists of an experiment.

    Attributes:
        experiment: name of its folder.
        status: see `Status`.
        described: in a few words, what was measured with what, or why there is nothing.
        problems: sentences on what differs from the experiment's file, or is damaged.
    """

    experiment: str
    status: Status
    described: str
    problems: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether there are results, comparable or not."""
        return self.status in (Status.OTHER, Status.COMPARABLE)

    @property
    def label(self) -> str:
        """`described`, for a figure, which has no notes."""
        return str(self.status) if self.status is Status.DAMAGED else self.described

    def cell(self, value: Any, text: Callable[[Any], str] = str) -> str:
        """A measured value for a table: in brackets where it cannot be compared, in words where there is none."""
        if not self.measured:
            return str(self.status)
        if value is None:
            return NOTHING
        return f"({text(value)})" if self.status is Status.OTHER else text(value)


@dataclass(frozen=True)
class Training(Found):
    """The final training of an experiment's one network.

    Attributes:
        size: (height, width) of the input.
        metrics: of `METRICS` in percent, None where undefined; empty without results.
        server: the same of COCO test-dev, from COCO's server; empty where that was not asked.
        hours: of all epochs, validation included.
        history: the epochs so far.
        fps: images a second in the forward pass alone, as the paper measures it; fps_described: where.
    """

    size: tuple[int, int] | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    server: Mapping[str, float | None] = field(default_factory=dict)
    hours: float | None = None
    history: Sequence[Epoch] = ()
    fps: float | None = None
    fps_described: str = ""


@dataclass(frozen=True)
class Search(Found):
    """A search: the pool of every generation; empty without results."""

    pools: Mapping[int, Sequence[Individual]] = field(default_factory=dict)


def training(place: Place, experiment: str, refined: bool = False) -> Training:
    """What exists of an experiment without a search. A file that cannot be read makes it damaged, and is named.

    With `refined`, the metrics are those of the results that a refiner made better.
    """
    meant = place.meant(experiment)
    (model,) = meant.final.models
    folder = place.folder(experiment)
    summary, history = folder / experiments.SUMMARY, folder / "models" / model / "history.csv"
    if not summary.exists() and not history.exists():
        return Training(folder.name, Status.NOT_RUN, str(Status.NOT_RUN))
    try:
        return _training(place, folder, summary, history, model, meant, refined)
    except ArtifactError as error:
        log.warning("%s: %s", folder.name, error)
        return Training(folder.name, Status.DAMAGED, f"{Status.DAMAGED}, {SEE_NOTES}", (str(error),))


def _training(
    place: Place, folder: Path, summary: Path, history: Path, model: str, meant: Config, refined: bool
) -> Training:
    epochs = tables.read_history(history) if history.exists() else []
    trained = max((epoch.epoch for epoch in epochs), default=0)
    if not summary.exists():
        return Training(
            folder.name, Status.UNFINISHED, f"{Status.UNFINISHED}: {_number(trained, 'epoch')} so far", history=epochs
        )
    settings, measured = _summary(summary, model)
    own = settings["models"][model]
    if not epochs or not (trained == own["train"]["epochs"] or _stopped_early(epochs, own["train"])):
        described = f"{Status.UNFINISHED}: {trained} of {_number(own['train']['epochs'], 'epoch')}"
        return Training(folder.name, Status.UNFINISHED, described, history=epochs)
    wanted = DETECTIONS if meant.dataset.val.detections else GROUND_TRUTH
    kind = _REFINED if refined else ""
    boxes = wanted if f"{wanted}{kind}" in measured else GROUND_TRUTH
    metrics, seen = _metrics(summary, measured, f"{boxes}{kind}")
    cost = tables.read_cost(history)
    expected, images = facts.of(meant), _images(meant)
    differences = facts.differences(
        {key: value for key, value in settings.items() if key not in ("search", "models")} | {"model": own},
        {key: value for key, value in expected.items() if key not in ("search", "models")}
        | {"model": expected["models"][model]},
    )
    differences += _start(place, own["pretrained"], meant.final.models[model].pretrained)
    if boxes != wanted:
        differences.append("boxes: ground truth instead of detections")
    if left_out := measured[f"{boxes}{kind}"].get("left_out"):
        less = ", ".join(f"{number} {what}" for what, number in left_out.items())
        differences.append(f"left out of the validation split: {less}")
    if images is not None and seen != images:
        differences.append(f"validation images: {seen:,} instead of {images:,}")
    status = Status.OTHER if differences else Status.COMPARABLE
    described = _described(settings, own["height"], own["width"], own["train"])
    if trained < own["train"]["epochs"]:
        described += f" (ended early, after {trained})"
    fps, fps_described, unusable = _frame_rate(history.with_name("latency.json"), own)
    on_server, not_read = _server(history.with_name(server.file(refined)))
    return Training(
        experiment=folder.name,
        status=status,
        described=_marked(status, f"{described}, {cost.devices} x {cost.device}"),
        problems=(*([f"differs in {'; '.join(differences)}"] if differences else []), *unusable, *not_read),
        size=(own["height"], own["width"]),
        metrics=metrics,
        server=on_server,
        hours=None if cost.seconds is None else cost.seconds / HOUR,
        history=epochs,
        fps=fps,
        fps_described=fps_described,
    )


def _start(place: Place, own: str | None, meant: str | None) -> list[str]:
    """In what the file of weights `own` differs from that of `meant`, if that is to come from another experiment."""
    if own is None or (base := experiments.trained_by(meant)) is None:
        return []
    places = {f"{prefix}{base}": replace(place, prefix=prefix) for prefix in ("", place.prefix)}
    if (name := experiments.trained_by(own)) not in places:
        return [f"pretrained: {own} instead of {meant}"]
    found = training(places[name], base)
    return [] if found.status is Status.COMPARABLE else [f"pretrained: by {name} ({found.described})"]


def _stopped_early(epochs: Sequence[Epoch], train: Mapping[str, Any]) -> bool:
    """Whether a training that is shorter than it might be ended by its `patience`."""
    patience = train.get("patience")
    losses = [(epoch.val_loss, epoch.epoch) for epoch in epochs if epoch.epoch and epoch.val_loss is not None]
    return isinstance(patience, int) and bool(losses) and epochs[-1].epoch - min(losses)[1] >= patience


def _summary(path: Path, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings, {boxes: entry of a summary.json for the network `model`}); raises `ArtifactError` for other content."""
    content = read_document(path)
    try:
        own = content["settings"]["models"][model]
        train, sizes = own["train"], (own["height"], own["width"])
        numbers = (*sizes, train["epochs"], train["batch"])
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise ValueError(f"{numbers}: positive integers are expected")
        measured = {entry["boxes"]: entry for entry in content["models"] if entry["network"] == model}
        settings: dict[str, Any] = content["settings"]
        if not measured:
            raise ValueError("no metrics of this network")
    except (KeyError, TypeError, ValueError) as error:
        raise _unlike_a_summary(path, error) from None
    return settings, measured


def _metrics(path: Path, measured: Mapping[str, Any], boxes: str) -> tuple[dict[str, float | None], int]:
    try:
        entry = measured[boxes]
        values = {name: float(entry["metrics"][name]) for name in METRICS}
        wrong = {name: value for name, value in values.items() if value != UNDEFINED and not 0 <= value <= 1}
        if wrong:
            raise ValueError(f"{wrong}: not between 0 and 1")
        images = int(entry["images"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unlike_a_summary(path, error) from None
    return {name: None if value == UNDEFINED else _percent(value) for name, value in values.items()}, images


def _percent(value: float) -> float:
    return round(PERCENT * value, 6)


def _unlike_a_summary(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path}: not a summary of this version ({error!r}); delete it and run again")


def _frame_rate(path: Path, own: Mapping[str, Any]) -> tuple[float | None, str, tuple[str, ...]]:
    """(frames a second, where they were measured, why there are none); a measurement of another kind is not used."""
    if not path.exists():
        return None, "", ()
    try:
        measured = read_document(path)
        kind = {key: measured[key] for key in ("height", "width", *LATENCY_PASS)}
        fps, described = float(measured["fps"]), f"{measured['device']}, {int(measured['passes']):,} passes"
        if not 0 < fps < float("inf"):
            raise ValueError(f"fps {fps}: not a positive number")
    except (ArtifactError, KeyError, TypeError, ValueError) as error:
        return None, SEE_NOTES, (f"{path}: not a frame rate ({error!r})",)
    wanted = {"height": own["height"], "width": own["width"], **LATENCY_PASS}
    other = [f"{key} {kind[key]} instead of {value}" for key, value in wanted.items() if kind[key] != value]
    if other:
        return None, SEE_NOTES, (f"{path}: its frame rate is of {', '.join(other)}",)
    return fps, described, ()


def _server(path: Path) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """(metrics of test-dev in percent, why there are none) that were entered; nothing where none were."""
    if not path.exists():
        return {}, ()
    try:
        return {name: _percent(value) for name, value in server.read(path).items()}, ()
    except ArtifactError as error:
        return {}, (str(error),)


def search(place: Place, experiment: str) -> Search:
    """What exists of a search. A file that cannot be read makes it damaged, and is named."""
    meant = place.meant(experiment)
    folder = place.folder(experiment)
    files = sorted(folder.glob(experiments.POPULATIONS))
    if not files:
        return Search(folder.name, Status.NOT_RUN, str(Status.NOT_RUN))
    try:
        return _search(folder, files, facts.of(meant))
    except ArtifactError as error:
        log.warning("%s: %s", folder.name, error)
        return Search(folder.name, Status.DAMAGED, f"{Status.DAMAGED}, {SEE_NOTES}", (str(error),))


def _search(folder: Path, files: Sequence[Path], meant: Mapping[str, Any]) -> Search:
    pools = tables.read_populations(files)
    if missing := sorted(set(range(max(pools) + 1)) - set(pools)):
        raise ArtifactError(
            f"{folder}: population.csv of generation {missing[0]} is missing, though there are later ones; run again"
        )
    last = max(pools)
    summary = folder / experiments.SUMMARY
    if not summary.exists():
        described = f"{Status.UNFINISHED}: {_number(last, 'generation')} so far, settings not known before its end"
        return Search(folder.name, Status.UNFINISHED, described, pools=pools)
    try:
        settings = read_document(summary)["settings"]
        own = settings.get("search") or {}
        described = _described(settings, own["height"], own["width"], own["train"], last)
    except (KeyError, TypeError, AttributeError) as error:
        raise _unlike_a_summary(summary, error) from None
    keys = ("dataset", "synthetic", "preset", "search")
    differences = facts.differences(settings, {key: meant[key] for key in keys})
    planned = meant["search"]["generations"]
    if not differences and last < planned:
        text = f"{Status.UNFINISHED}: {last} of {planned} generations; {described}"
        return Search(folder.name, Status.UNFINISHED, text, pools=pools)
    status = Status.OTHER if differences else Status.COMPARABLE
    problems = (f"differs in {'; '.join(differences)}",) if differences else ()
    return Search(folder.name, status, _marked(status, described), problems, pools)


def _described(
    settings: Mapping[str, Any], height: int, width: int, train: Mapping[str, Any], generations: int | None = None
) -> str:
    data = f"{settings.get('dataset', UNKNOWN)}{': synthetic' if settings.get('synthetic') else ''}"
    searched = "" if generations is None else f"{_number(generations, 'generation')}, "
    return (
        f"{data}, {height}x{width}, {searched}{_number(train['epochs'], 'epoch')}, batch {train['batch']}, "
        f"preset {settings.get('preset', UNKNOWN)}"
    )


def _marked(status: Status, described: str) -> str:
    return described if status is Status.COMPARABLE else f"{status}: {described}"


def _number(value: int, noun: str) -> str:
    return f"{value} {noun}{'' if value == 1 else 's'}"


def _images(meant: Config) -> int | None:
    """The number of validation images of the experiment's data set, where its file says how many it has."""
    folder, download = Path(meant.dataset.val.images).name, meant.dataset.download
    archives = download.archives.values() if download else ()
    return next((archive.members[folder] for archive in archives if folder in archive.members), None)


def notes(found: Sequence[Found]) -> list[str]:
    """The problems of each experiment once, after its name."""
    lines = [f"{one.experiment}: {problem}." for one in found for problem in one.problems]
    return list(dict.fromkeys(lines))
