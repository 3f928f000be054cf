"""Table 2: EvoPose2D-S, the champion of the paper's search E3, beside the champion of the search that was run here."""

from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import count_network, profiled_multiply_adds
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots.architecture import Stage, stages
from pipeline_lib.plots.networks import GIGA, KEYPOINTS, MEGA
from pipeline_lib.plots.pages import Table
from pipeline_lib.plots.paper import results
from pipeline_lib.plots.paper.results import NOTHING, Found, Place, Status
from pipeline_lib.plots.paper.sheet import LEGEND, Sheet, exact, noted, pair
from pipeline_lib.search import genotype, population

SIZE = (256, 192)
"""(height, width) of Table 2."""

COUNTED = ("", "EvoPose2D-S: paper / computed", "champion found here")
FIELDS = ("blocks", "kernel", "channels", "stride", "height", "width")
COLUMNS = ("component", *(f"paper_{name}" for name in FIELDS), *FIELDS, "status", "described", "experiment")


def sheet(place: Place) -> Sheet:
    """The table from the results at `place`."""
    found, champion = _champion(place)
    network = registry.architecture("evopose2d_s", *SIZE, KEYPOINTS)
    assert isinstance(network, Architecture)
    printed = {stage.name: stage for stage in stages(network)}
    own = {stage.name: stage for stage in stages(champion)} if champion else {}
    names = [*printed, *(name for name in own if name not in printed)]
    cells = [
        (name, *(pair(a, b) for a, b in zip(_cells(printed.get(name)), _here(own.get(name), found), strict=True)))
        for name in names
    ]
    return Sheet(
        title="Table 2: the champion of E3",
        blocks=[
            "EvoPose2D-S, which the paper's search E3 found, module by module beside the champion of E3 as it was run here: "
            f"{found.described}. Output is height x width of the component's output.",
            LEGEND,
            Table(("component", "blocks", "kernel", "channels", "stride", "output"), cells),
            Table(COUNTED, _counts(network, champion, found)),
            *noted(results.notes([found])),
        ],
        columns=COLUMNS,
        rows=[
            {"component": name}
            | dict(zip((f"paper_{field}" for field in FIELDS), _values(printed.get(name)), strict=True))
            | dict(zip(FIELDS, _values(own.get(name)), strict=True))
            | {"status": str(found.status), "described": found.described, "experiment": found.experiment}
            for name in names
        ],
    )


def _champion(place: Place) -> tuple[Found, Architecture | None]:
    """The state of the search, and its champion where there is one to be shown."""
    found: Found = results.search(place, experiments.CHAMPION)
    if not found.measured:
        return found, None
    document, weights = (place.folder(experiments.CHAMPION) / name for name in experiments.CHAMPION_FILES)
    try:
        return found, _read(document, weights)
    except ArtifactError as error:
        return Found(
            found.experiment, Status.DAMAGED, f"{Status.DAMAGED}, {results.SEE_NOTES}", (*found.problems, str(error))
        ), None


def _read(document: Path, weights: Path) -> Architecture:
    architecture = files.load_architecture(weights)
    if population.read(population.Champion, document).genotype != genotype.key(architecture.genotype):
        raise ArtifactError(f"{weights}: not the network of {document.name} beside it; delete both and run again")
    return architecture


def _values(stage: Stage | None) -> tuple[object, ...]:
    if stage is None:
        return (None,) * len(FIELDS)
    return stage.blocks, stage.kernel, stage.channels, stage.stride, *stage.size


def _cells(stage: Stage | None) -> tuple[str, ...]:
    if stage is None:
        return (NOTHING,) * 5
    return f"{stage.blocks}", f"{stage.kernel}", f"{stage.channels}", stage.stride, f"{stage.size[0]}x{stage.size[1]}"


def _here(stage: Stage | None, found: Found) -> list[str]:
    return [found.cell(None if stage is None else cell) for cell in _cells(stage)]


def _counts(network: Architecture, champion: Architecture | None, found: Found) -> Sequence[Sequence[str]]:
    printed = next(row for row in paper.table3() if row.network == "evopose2d_s")
    here = None if champion is None else count_network(champion)["parameters"] / MEGA
    work = None if champion is None else profiled_multiply_adds(champion) / GIGA
    return [
        (
            "parameters (M)",
            exact(printed.params_M, count_network(network)["parameters"] / MEGA, 3),
            found.cell(here, "{:.3f}".format),
        ),
        (
            "multiply-adds (G)",
            exact(printed.flops_G, profiled_multiply_adds(network) / GIGA, 3),
            found.cell(work, "{:.3f}".format),
        ),
    ]
