"""Table 4: the common ancestor of the searches, which needs no run."""

from pipeline_lib.nets import registry
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots.architecture import stages
from pipeline_lib.plots.networks import KEYPOINTS
from pipeline_lib.plots.pages import Table
from pipeline_lib.plots.paper.sheet import Sheet, pair
from pipeline_lib.plots.paper.table2 import SIZE
from pipeline_lib.search.genotype import ANCESTOR

FIELDS = ("blocks", "kernel", "stride", "shrinkage", "channels")
COLUMNS = ("module", *(f"paper_{name}" for name in FIELDS), *FIELDS, "height", "width")


def sheet() -> Sheet:
    """The table, computed."""
    height, width = SIZE
    network = registry.architecture(ANCESTOR, height, width, KEYPOINTS)
    assert isinstance(network, Architecture)
    modules = [stage for stage in stages(network) if stage.name.startswith("module")]
    rows, cells = [], []
    for printed, found in zip(paper.table4(), modules, strict=True):
        shrinkage = height // found.size[0]
        own = (found.blocks, found.kernel, int(found.stride), shrinkage, found.channels)
        theirs = tuple(getattr(printed, name) for name in FIELDS)
        cells.append(
            (
                found.name,
                *(pair(theirs[place], f"{own[place]}") for place in range(3)),
                pair(_shape(*theirs[3:]), _shape(shrinkage, found.channels)),
                f"{found.size[0]}x{found.size[1]}x{found.channels}",
            )
        )
        rows.append(
            {"module": printed.module, "height": found.size[0], "width": found.size[1]}
            | {f"paper_{name}": value for name, value in zip(FIELDS, theirs, strict=True)}
            | dict(zip(FIELDS, own, strict=True))
        )
    return Sheet(
        title="Table 4: the common ancestor",
        blocks=[
            "The ancestor of the searches: each cell has what the paper prints, then what is computed here from the genotype.",
            Table(("component", "blocks", "kernel", "stride", "output shape", f"output at {height}x{width}"), cells),
        ],
        columns=COLUMNS,
        rows=rows,
    )


def _shape(shrinkage: int, channels: int) -> str:
    return f"(h/{shrinkage}, w/{shrinkage}, {channels})"
