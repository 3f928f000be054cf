"""Table 5: the compound coefficients of EvoPose2D-M and L, which need no run."""

from pipeline_lib.paper import tables as paper
from pipeline_lib.plots.pages import Table
from pipeline_lib.plots.paper.sheet import EXACT, Sheet, exact
from pipeline_lib.search.scaling import coefficients

FIELDS = ("phi", "depth_coefficient", "width_coefficient")
COLUMNS = ("network", "height", "width", *(column for name in FIELDS for column in (f"paper_{name}", name)))


def sheet() -> Sheet:
    """The table, computed."""
    rows, cells = [], []
    for printed in paper.table5():
        found = coefficients(printed.height, printed.width)
        theirs = [getattr(printed, name) for name in FIELDS]
        pairs = [exact(value, own, 4) for value, own in zip(theirs, found, strict=True)]
        cells.append((printed.network, f"{printed.height}x{printed.width}", *pairs))
        rows.append(
            {"network": printed.network, "height": printed.height, "width": printed.width}
            | {f"paper_{name}": value for name, value in zip(FIELDS, theirs, strict=True)}
            | dict(zip(FIELDS, found, strict=True))
        )
    return Sheet(
        title="Table 5: scaling coefficients",
        blocks=[
            "Compound coefficients (Eq. 4): each cell has what the paper prints, then what is computed here from the input "
            f"size. {EXACT}",
            Table(("network", "input", "phi", "depth coefficient", "width coefficient"), cells, left=2),
        ],
        columns=COLUMNS,
        rows=rows,
    )
