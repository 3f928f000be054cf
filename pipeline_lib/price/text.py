"""An estimate, and what was spent, as tables."""

from collections.abc import Sequence
from typing import Any

from pipeline_lib.plots.pages import Part, Table
from pipeline_lib.price.estimate import Estimate, Row
from pipeline_lib.price.spent import Spent
from pipeline_lib.price.work import SEARCH

GIGA = 1e9
UNITS = ("B", "kB", "MB", "GB", "TB")
COLUMNS = (
    "part",
    "name",
    "trainings",
    "trained",
    "estimated_device_hours",
    "spent_device_hours",
    "estimated_cost",
    "spent_cost",
)


def estimate(found: Estimate) -> list[Part]:
    """What a run will take."""
    rows = [
        (
            row.name,
            f"{row.number:,}",
            f"{row.multiply_adds / GIGA:.3g}",
            f"{row.images / row.devices:,.0f}",
            f"{row.devices}",
            f"{'' if row.measured else '~'}{duration(row.seconds)}",
            hours(row.device_hours),
        )
        for row in found.rows
    ]
    rows.append(("all", f"{sum(row.number for row in found.rows):,}", "", "", "", "", hours(found.device_hours)))
    header = ("training", "number", "multiply-adds (G)", "images a device", "devices", "time of one", "device-hours")
    speeds = [
        (
            speed.network,
            f"{speed.multiply_adds / GIGA:.3g}",
            f"{speed.part}",
            f"{1 / speed.train:.1f}",
            f"{1 / speed.validate:.1f}",
            "-" if speed.read is None else f"{1 / speed.read:.1f}",
            f"{speed.start + found.launch:.1f}",
        )
        for speed in found.speeds
    ]
    measured = (
        *("network", "multiply-adds (G)", "persons at once", "training (images/s)", "validation (images/s)"),
        *("reading (images/s)", "start (s)"),
    )
    stores = [(store.name, "not known yet" if store.bytes is None else size(store.bytes)) for store in found.storage]
    known = [store.bytes for store in found.storage if store.bytes is not None]
    stores.append(("all", size(sum(known))))
    number = f"{found.evaluations:,} evaluation{'' if found.evaluations == 1 else 's'}"
    evaluations = f"{number} in the search, " if found.evaluations else ""
    price = (
        "" if found.price is None else f", {money(found.device_hours, found)} at {found.price:g} for a device's hour"
    )
    return [
        Part(
            "",
            [
                f"{evaluations}{hours(found.device_hours)} device-hours{price}; with {found.at_once} "
                f"{'device' if found.at_once == 1 else 'devices'} {duration(3600 * found.hours)} from the first training to "
                "the last."
            ],
        ),
        Part("Trainings", [Table(header, rows), *_caveats(found)]),
        Part(f"Speed of this device ({found.device})", [Table(measured, speeds)]),
        Part("Storage", [Table(("what", "bytes"), stores)]),
    ]


def _caveats(found: Estimate) -> list[str]:
    said = []
    if any(not row.measured for row in found.rows):
        said.append("~: not measured, but in proportion to the multiply-adds of the network that is nearest in size.")
    if any(row.part == SEARCH for row in found.rows):
        said.append(
            "Children have not been born yet: their size is the mean of a search that selects parents by chance, and final "
            "networks are scaled from the ancestor until there is a champion."
        )
    if any(row.devices > 1 for row in found.rows):
        said.append("Devices that share a batch are taken to be so many times as fast as one.")
    if all(speed.read is None for speed in found.speeds):
        said.append("Reading is not measured before the conversion; when it is slower than the device, it decides.")
    said.append("Preparing the data, evaluation and interrupted work are not in it.")
    return said


def spending(planned: Estimate, trained: Sequence[Spent]) -> list[dict[str, Any]]:
    """Rows of costs.csv (`COLUMNS`): what was estimated and spent, and the sums; money is empty without a price."""
    names = {(row.part, row.name): row for row in planned.rows}
    done = {(one.part, one.name): one for one in trained}
    rows = [_spending(*key, names.get(key), done.get(key), planned) for key in dict.fromkeys([*names, *done])]
    total: dict[str, Any] = {"part": "all", "name": ""}
    for column in COLUMNS[2:]:
        values = [row[column] for row in rows if row[column] != ""]
        total[column] = sum(values) if values else ""
    return [*rows, total]


def _spending(part: str, name: str, row: Row | None, one: Spent | None, planned: Estimate) -> dict[str, Any]:
    estimated: Any = row.device_hours if row else ""
    actual: Any = one.device_hours if one else ""
    return {
        "part": part,
        "name": name,
        "trainings": row.number if row else 0,
        "trained": one.number if one else 0,
        "estimated_device_hours": estimated,
        "spent_device_hours": actual,
        "estimated_cost": "" if planned.price is None or estimated == "" else estimated * planned.price,
        "spent_cost": "" if planned.price is None or actual == "" else actual * planned.price,
    }


def spent_page(planned: Estimate, rows: Sequence[dict[str, Any]]) -> list[Part]:
    """The rows of `spending` for people."""
    with_price = planned.price is not None
    header = ["part", "name", "trainings", "of them trained", "device-hours estimated", "spent"]
    header += ["cost estimated", "spent"] if with_price else []
    cells = []
    for row in rows:
        line = [row["part"], row["name"], f"{row['trainings']:,}", f"{row['trained']:,}"]
        line += [hours(row[name]) for name in ("estimated_device_hours", "spent_device_hours")]
        line += [_money(row[name]) for name in ("estimated_cost", "spent_cost")] if with_price else []
        cells.append(line)
    price = f", at {planned.price:g} for a device's hour" if with_price else ""
    return [
        Part(
            "",
            [
                f"Estimated on {planned.device}{price}, and what histories and benchmarks say of the trainings. Work that was "
                "interrupted and done again is in it as far as its epochs were saved.",
                Table(header, cells, left=2),
            ],
        )
    ]


def money(device_hours: float, found: Estimate) -> str:
    """The price of device-hours."""
    return _money(device_hours * (found.price or 0.0))


def _money(value: Any) -> str:
    return "-" if value == "" else f"{value:,.2f}"


def hours(value: Any) -> str:
    """Device-hours with three significant digits."""
    if value == "":
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """For people: the largest unit in which it is at least 1."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(number: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in UNITS:
        if number < 1000 or unit == UNITS[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
