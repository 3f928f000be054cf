"""The summary of a run: what was searched, what transfer was worth, what came out, how good it is, where it lies."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import SCHEMA_VERSION, read_document
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import ArtifactError
from pipeline_lib.plots import comparison, pages
from pipeline_lib.plots.metrics import METRICS, UNDEFINED
from pipeline_lib.plots.pages import Part, Table
from pipeline_lib.plots.tables import Comparison, Individual
from pipeline_lib.search import convergence, population
from pipeline_lib.search.fitness import fitness
from pipeline_lib.search.genotype import CHANNEL_UNIT

MEGA = 1e6
DONE = {"drop": "dropped", "repair": "repaired", "accept": "accepted"}
"""What a policy has done."""
SHOWN = 5
"""Failed trainings whose reasons are listed."""

_METRICS_FILE = re.compile(r"metrics_(?P<boxes>\w+)\.json")


@dataclass(frozen=True)
class Metrics:
    """A metrics_<boxes>.json: COCO metrics of a network on ground truth boxes or detections.

    `left_out`: how many images and persons the validation left out of them, where it left out any.
    """

    network: str
    boxes: str
    metrics: Mapping[str, float]
    explanations: Mapping[str, str]
    persons: int
    images: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """For people: network and boxes."""
        return f"{self.network.replace('mean_pose', 'mean pose')}, {self.boxes.replace('_', ' ')}"


@dataclass(frozen=True)
class Run:
    """Everything that a summary is made of."""

    experiment: str
    pools: Mapping[int, Sequence[Individual]]
    champion: population.Individual | None
    metrics: Sequence[Metrics]
    baselines: Sequence[Metrics] = ()
    compared: Sequence[Comparison] = ()
    places: Mapping[str, str] | None = None
    fitness: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Verdict] = field(default_factory=dict)


def read_metrics(paths: Iterable[str | PathLike[str]]) -> list[Metrics]:
    """Metrics files named <network>/metrics_<boxes>.json; raises `ArtifactError` for any other name or content."""
    found = []
    for path in map(Path, paths):
        name = _METRICS_FILE.fullmatch(path.name)
        if name is None:
            raise ArtifactError(f"{path}: a file <network>/metrics_<boxes>.json is expected")
        content = read_document(path)
        try:
            values = {metric: float(content["metrics"][metric]) for metric in METRICS}
            read = Metrics(
                network=path.parent.name,
                boxes=name["boxes"],
                metrics=values,
                explanations={key: text for key, text in content["explanations"].items() if key in METRICS},
                persons=int(content["persons"]),
                images=int(content["images"]),
                left_out={what: int(number) for what, number in content.get("left_out", {}).items() if number},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArtifactError(f"{path}: not a metrics file ({error!r}); delete it and run again") from None
        found.append(read)
    return found


def parts(run: Run) -> list[Part]:
    """The summary's parts in the order of the story."""
    found = [Part("Data", _data(run.validation))] if run.validation else []
    found += [Part("Search", _search(run))] if run.pools else []
    if run.compared:
        found.append(Part("Weight transfer (generation 1)", _comparison(run.compared)))
    if run.champion is not None:
        found.append(Part("Champion", _champion(run.champion)))
    found.append(Part("Final networks", _metrics(run)))
    if run.places:
        found.append(Part("Files", _places(run.places)))
    return found


def counts(run: Run) -> dict[str, int]:
    """Generations after the ancestor's, networks trained in the search, and how many of those trainings failed."""
    individuals = [one for generation, pool in run.pools.items() for one in pool if one.generation == generation]
    return {
        "generations": max(run.pools),
        "evaluations": len(individuals),
        "failed": sum(one.status != "ok" for one in individuals),
    }


def _data(validation: Mapping[str, Verdict]) -> list[str | Table]:
    rows = [
        (name, kind, DONE[found.policy], f"{found.number:,}")
        for name, verdict in validation.items()
        for kind, found in verdict.found.items()
    ]
    looked_at = "; ".join(
        f"{name}: {', '.join(f'{number:,} {what}' for what, number in verdict.entries.items() if number)}"
        for name, verdict in validation.items()
    )
    if not rows:
        return [f"The validation found nothing wrong ({looked_at})."]
    examples = [
        f"{name}, {kind}: {'; '.join(found.examples)}{', ...' if found.number > len(found.examples) else '.'}"
        for name, verdict in validation.items()
        for kind, found in verdict.found.items()
    ]
    table = Table(("what", "kind", "done", "number"), rows, left=3)
    return [f"What the validation found ({looked_at}), and the first of each kind:", table, *examples]


def _search(run: Run) -> list[str | Table]:
    counted = counts(run)
    failed = f", {counted['failed']} of them failed" if counted["failed"] else ""
    rows = [
        (
            f"{generation}",
            f"{sum(one.generation == generation for one in pool)}",
            _number(pool[0].fitness),
            _number(pool[0].loss),
            f"{pool[0].parameters / MEGA:.3f}",
            f"{pool[0].multiply_adds / MEGA:.1f}",
            f"{pool[0].generation}.{pool[0].child}",
        )
        for generation, pool in run.pools.items()
    ]
    header = (
        *("generation", "children", "best fitness J", "validation loss", "parameters (M)", "multiply-adds (M)"),
        "born as generation.child",
    )
    return [
        f"{_numbered(counted['generations'], 'generation')} after the ancestor, "
        f"{_numbered(counted['evaluations'], 'network')} trained{failed}. "
        "J and loss: lower is better.",
        *filter(None, [ending(run), run.fitness]),
        Table(header, rows),
        *_failures(run),
    ]


def ending(run: Run) -> str:
    """Where and why a search with `search.convergence` ended; nothing of another one."""
    search = run.settings.get("search") or {}
    settings = search.get("convergence")
    if not settings:
        return ""
    best = [
        min(
            (
                fitness(one.loss, one.parameters, search["target_parameters"], search["gamma"])
                for one in pool
                if one.loss is not None and one.status == "ok"
            ),
            default=None,
        )
        for pool in run.pools.values()
    ]
    last, end = max(run.pools), convergence.end(best, **settings)
    gain = f" by {100 * settings['min_gain']:g} %" if settings["min_gain"] else ""
    waited = f"{settings['patience']} in a row" if settings["patience"] > 1 else "one"
    if end > last:
        return f"The search went on to its last generation: it never had {waited} in which J did not fall{gain} (search.convergence)."
    given = f", those after generation {end} having been given" if end < last else ""
    return (
        f"The search ended after generation {last} of at most {search['generations']}{given}: it had {waited} in which J did "
        f"not fall{gain} (search.convergence)."
    )


def _failures(run: Run) -> list[str]:
    failed = [
        one for generation, pool in run.pools.items() for one in pool if one.generation == generation and one.reason
    ]
    listed = "; ".join(f"{one.generation}.{one.child}: {one.reason}" for one in failed[:SHOWN])
    more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    return [f"Failed trainings, born as generation.child: {listed}{more}."] if failed else []


def _numbered(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _comparison(rows: Sequence[Comparison]) -> list[str | Table]:
    return [
        "Validation loss at the start and at the end of equally many steps: each child with inherited weights, its twin "
        "from scratch, and the ancestor trained on (control).",
        Table(comparison.HEADER, comparison.cells(rows), left=2),
        comparison.outcome(rows),
    ]


def _champion(champion: population.Individual) -> list[str | Table]:
    rows = [
        (f"{module}", f"{blocks}", f"{kernel}", f"{channels * CHANNEL_UNIT}", f"{stride}")
        for module, (blocks, kernel, channels, stride) in enumerate(champion.genotype, start=1)
    ]
    return [
        f"Born in generation {champion.origin.generation} as child {champion.origin.child}: "
        f"{champion.parameters:,} parameters, {champion.multiply_adds / MEGA:.1f} M multiply-adds, "
        f"validation loss {_number(champion.loss)}, fitness J {_number(champion.fitness)}.",
        Table(("module", "blocks", "kernel", "channels", "stride"), rows),
    ]


def _metrics(run: Run) -> list[str | Table]:
    everything = [*run.metrics, *run.baselines]
    rows = [
        (
            row.network.replace("mean_pose", "mean pose"),
            row.boxes.replace("_", " "),
            *map(_metric, row.metrics.values()),
        )
        for row in everything
    ]
    notes = sorted({f"{name} is undefined: {text}." for row in everything for name, text in row.explanations.items()})
    sizes = {(row.persons, row.images) for row in everything}
    data = "; ".join(
        f"{persons} persons with labelled keypoints in {images} images" for persons, images in sorted(sizes)
    )
    left_out = {what: number for row in everything for what, number in row.left_out.items()}
    less = ", ".join(f"{number:,} {what}" for what, number in left_out.items())
    return [
        f"Keypoint precision and recall on the validation split by pycocotools ({data}); 0 to 1, higher is better. "
        "The mean pose puts the average person into each box.",
        *([f"Left out by the validation, and not evaluated: {less}."] if less else []),
        Table(("network", "boxes", *METRICS), rows, left=2),
        *notes,
    ]


def _places(places: Mapping[str, str]) -> list[str | Table]:
    table = Table(("what", "where"), list(places.items()), left=2)
    if "report" not in places:
        return [table]
    # The run that sums up cannot make the report, which shows the summary.
    return [table, f"The report is made by the command of this run with --report {places['report']} at its end."]


def _metric(value: float) -> str:
    return "-" if value == UNDEFINED else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def as_markdown(run: Run) -> str:
    """The summary as Markdown that reads well in a terminal."""
    return pages.as_markdown(run.experiment, parts(run))


def as_html(run: Run) -> str:
    """The summary as one page of HTML that needs no other file."""
    return pages.as_html(run.experiment, parts(run))


def as_json(run: Run) -> dict[str, Any]:
    """The summary's numbers, unrounded."""
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": run.experiment,
        "settings": dict(run.settings),
        "validation": {
            name: {"entries": verdict.entries}
            | {"found": {kind: found.model_dump(mode="json") for kind, found in verdict.found.items()}}
            for name, verdict in run.validation.items()
        },
        "search": counts(run)
        | {
            "fitness": run.fitness,
            "ending": ending(run),
            "best": [{"pool": pool} | asdict(best[0]) for pool, best in run.pools.items()],
        }
        if run.pools
        else None,
        "comparison": [asdict(row) for row in run.compared],
        "champion": None if run.champion is None else run.champion.model_dump(mode="json"),
        "models": [asdict(row) for row in run.metrics],
        "baselines": [asdict(row) for row in run.baselines],
        "places": dict(run.places or {}),
    }
