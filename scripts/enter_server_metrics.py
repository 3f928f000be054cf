"""Put what COCO's server answered for test-dev beside a final network's results, where `make paper` finds it."""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib.paper import server

    log.info("written: %s", server.enter(arguments.stats, arguments.model, arguments.refined))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--stats",
        type=Path,
        required=True,
        help="the server's answer (JSON): AP, AP50, AP75, APM, APL, AR, from 0 to 1",
    )
    options.add_argument("--model", type=Path, required=True, help="results/<experiment>/models/<name> of the network")
    options.add_argument("--refined", action="store_true", help="the answer is on results that a refiner made better")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
