"""Measure the hot paths and print a table; `make bench`, or `python -m tests.benchmarks pipeline --seconds 20`."""

import argparse
import importlib
import logging
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Before TensorFlow loads: its messages would run through the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pipeline_lib import artifacts, cli, devices
from pipeline_lib.errors import ConfigError
from tests.benchmarks.measure import Row, Settings

BENCHMARKS = ("pipeline", "step", "start", "dag", "memory")
ON_REQUEST = ("device",)
"""Measured only if they are named."""


def main(arguments: argparse.Namespace) -> None:
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    if arguments.json.is_dir():
        raise ConfigError(f"--json: {arguments.json} is a folder; name a file")
    settings = Settings(
        *(arguments.seconds, arguments.images, arguments.batch, arguments.threads, arguments.evaluations),
        arguments.deterministic,
    )
    devices.configure(settings.threads, settings.deterministic)
    rows: list[Row] = []
    for name in arguments.benchmarks or BENCHMARKS:
        logging.info("benchmark %s", name)
        with tempfile.TemporaryDirectory(prefix="evopose-bench-") as folder:
            rows += importlib.import_module(f"tests.benchmarks.{name}").measure(settings, Path(folder))
    artifacts.write_json(
        arguments.json,
        {
            "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
            "settings": settings.__dict__,
            **artifacts.provenance(),
            "rows": [row.__dict__ for row in rows],
        },
    )
    print(table(rows))
    logging.info("%s", arguments.json)


def table(rows: Sequence[Row]) -> str:
    """The rows as text; ratios are to the first row of a benchmark's group."""
    cells = [("benchmark", "variant", "value", "unit", "ratio")]
    cells += [
        (row.benchmark, row.variant, f"{row.value:,.3g}" if row.value < 100 else f"{row.value:,.0f}", row.unit,
         "" if row.ratio is None else f"{row.ratio:.2f}")
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        "  ".join(text.rjust(width) if column in (2, 4) else text.ljust(width)
                  for column, (text, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in cells
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    options.add_argument(
        "benchmarks",
        nargs="*",
        metavar="BENCHMARK",
        help=f"which: {', '.join(BENCHMARKS)} (default: all), and on request {', '.join(ON_REQUEST)}",
    )
    options.add_argument(
        "--seconds", type=cli.positive_number, default=8, help="of each measurement (default: %(default)s)"
    )
    options.add_argument(
        "--images", type=cli.positive, default=64, help="640x480 pictures with 8 people each (%(default)s)"
    )
    options.add_argument("--batch", type=cli.positive, default=32, help="of the input pipeline (default: %(default)s)")
    options.add_argument(
        "--threads", type=cli.positive, default=os.cpu_count(), help="of pipeline and step (all cores)"
    )
    options.add_argument("--evaluations", type=cli.positive, default=1000, help="of the dry run (default: %(default)s)")
    options.add_argument(
        "--deterministic", action=argparse.BooleanOptionalAction, default=True,
        help="operations that give the same bytes each time, as trainings have them (default: yes)",
    )  # fmt: skip
    options.add_argument("--json", type=Path, default=Path("results/bench.json"), help="output (%(default)s)")
    return options


if __name__ == "__main__":
    options = parser()
    known = (*BENCHMARKS, *ON_REQUEST)
    if unknown := set(options.parse_args().benchmarks) - set(known):
        options.error(f"{', '.join(sorted(unknown))}: one of {', '.join(known)} is expected")
    cli.run(main, options)
