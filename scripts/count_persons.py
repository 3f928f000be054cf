"""Count the persons, images and detections of a data set, and compare them with the numbers that are expected."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    """Write the numbers to `--counts`."""
    from pipeline_lib import artifacts
    from pipeline_lib.config import DatasetConfig
    from pipeline_lib.data.inventory import inventory

    artifacts.write_json(arguments.counts, inventory(cli.settings(DatasetConfig, arguments.dataset, "--dataset")))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset", required=True, help="the section dataset of the configuration, as JSON")
    options.add_argument("--counts", type=Path, required=True, help="output: the numbers (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
