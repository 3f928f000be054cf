"""Fetch a file of a data set out of a bucket: all of it, as it is stored there, or nothing."""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import buckets
    from pipeline_lib.artifacts import atomic_path
    from pipeline_lib.errors import DataError

    try:
        with atomic_path(arguments.file) as temporary:
            known = buckets.fetch(arguments.address, temporary)
    except FileNotFoundError:
        raise DataError(
            f"{arguments.address}: no such object, or no such bucket; correct the address in the data set's configuration"
        ) from None
    log.info("%s: %.1f MB", arguments.address, known.size / 1e6)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--address", required=True, help="where it lies, such as gs://bucket/annotations.json")
    options.add_argument("--file", type=Path, required=True, help="output: the file")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
