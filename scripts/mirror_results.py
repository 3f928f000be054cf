"""Copy results to a bucket: what is new or has changed. scripts/restore_artifacts.py --source gets them back."""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import mirror
    from pipeline_lib.artifacts import SCHEMA_VERSION, write_json
    from pipeline_lib.errors import EvoPoseError

    places = {str(folder): mirror.address(arguments.mirror, folder) for folder in arguments.folders}
    record = {"schema_version": SCHEMA_VERSION, "mirror": places, "problem": None}
    if arguments.record:
        write_json(arguments.record, record)  # before: it is copied, too
    try:
        for folder, to in places.items():
            mirror.copy(Path(folder), to, arguments.below or [""])
    except EvoPoseError as error:
        if not arguments.tolerant:
            raise
        log.warning("%s; the copy at the end of the run makes up for it", error)
        if arguments.record:
            write_json(arguments.record, {**record, "problem": str(error)})


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="folders of results")
    options.add_argument(
        "--mirror", required=True, help="address below which they are copied, such as gs://bucket/evopose"
    )
    options.add_argument(
        "--below", action="append", metavar="PATH", help="only what begins so in its folder; may be repeated"
    )
    options.add_argument("--tolerant", action="store_true", help="a bucket that cannot be used is only told of")
    options.add_argument("--record", type=Path, help="output: where they were copied to (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
