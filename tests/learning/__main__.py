"""Train networks on synthetic pictures and print their losses beside the best constant heat maps'; `make learn`."""

import argparse
import logging
import os
import tempfile
from pathlib import Path

# Before TensorFlow loads: its messages would run through the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pipeline_lib import cli
from pipeline_lib.nets.registry import NAMES
from tests.learning import measure


def main(arguments: argparse.Namespace) -> None:
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    training = measure.settings(arguments.epochs, arguments.rate, arguments.threads)
    rows = []
    with tempfile.TemporaryDirectory(prefix="evopose-learning-") as folder:
        manifest = measure.persons(Path(folder))
        for name in arguments.networks or NAMES:
            row = measure.learn(name, manifest, Path(folder), training)
            logging.info("%s: %.0f %% of the loss of the best constant heat maps", name, 100 * row.ratio)
            rows.append(row)
    print(measure.table(rows))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.learning", description=__doc__)
    options.add_argument("networks", nargs="*", metavar="NETWORK", help=f"which: {', '.join(NAMES)} (default: all)")
    options.add_argument("--epochs", type=cli.positive, default=measure.EPOCHS, help="of 7 steps (%(default)s)")
    options.add_argument("--rate", type=float, default=measure.RATE, help="highest learning rate (%(default)s)")
    options.add_argument("--threads", type=cli.positive, default=os.cpu_count(), help="CPU threads (all cores)")
    return options


if __name__ == "__main__":
    options = parser()
    if unknown := set(options.parse_args().networks) - set(NAMES):
        options.error(f"{', '.join(sorted(unknown))}: one of {', '.join(NAMES)} is expected")
    cli.run(main, options)
