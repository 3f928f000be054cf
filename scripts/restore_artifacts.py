"""Check copied results against their manifest, and give them times with which Snakemake sees that there is nothing to be done.

A download or copy gives files times in any order. With --make the manifest is written, where the results were made.
"""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import mirror, restore

    if arguments.make:
        for folder in arguments.folders:
            log.info("%s: %d files are listed in %s", folder, restore.make(folder), restore.MANIFEST)
        return
    for folder in arguments.folders if arguments.source else ():
        source = mirror.address(arguments.source, folder)
        log.info("%s: %d files fetched from %s", folder, mirror.fetch(source, folder), source)
    for folder, stamped in zip(arguments.folders, restore.restore(arguments.folders), strict=True):
        log.info("%s: %d files are as they were, and have times in their order", folder, stamped.files)
        if stamped.extra:
            log.warning("%s: not in %s, and left alone: %s", folder, restore.MANIFEST, ", ".join(stamped.extra))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="folders of results, such as results/data/synthetic results/demo; what is made from another one after that",
    )
    options.add_argument("--source", help="mirror to fetch them from, such as gs://bucket/evopose (storage.mirror)")
    options.add_argument("--make", action="store_true", help="write the manifest of each folder")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
