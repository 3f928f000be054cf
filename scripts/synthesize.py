"""Make the synthetic data set: pictures of articulated people with COCO annotations and detections."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    """Write the data set below `--output`."""
    from pipeline_lib.config import SyntheticConfig
    from pipeline_lib.data.synthetic import synthesize

    synthesize(cli.settings(SyntheticConfig, arguments.settings), arguments.seed, arguments.output, arguments.workers)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--settings", default="{}", help="the section dataset.synthetic of the configuration, as JSON")
    options.add_argument("--seed", type=cli.non_negative, required=True, help="everything is drawn from it; 0 or more")
    options.add_argument("--workers", type=cli.positive, default=1, help="processes that draw pictures (default: 1)")
    options.add_argument("--output", type=Path, required=True, help="folder for images/ and annotations/")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
