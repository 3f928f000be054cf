"""Kill searches N times and compare their ends with a calm one's; `make chaos N=100`."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from pipeline_lib import cli
from tests.chaos import harness


def main(arguments: argparse.Namespace) -> None:
    logging.info("%d kills in %d phases; each search takes minutes", arguments.number, len(harness.PHASES))
    with tempfile.TemporaryDirectory(prefix="evopose-chaos-") as folder:
        calm = harness.Search(Path(folder) / "calm", arguments.seed)
        calm.finish()
        expected, kills, different = calm.outcome(), [], []
        for search, killed in harness.chaos(Path(folder), arguments.number, arguments.seed):
            kills += killed
            found = search.outcome()
            names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            if names:
                different.append(f"{search.place.folder.name}: {', '.join(names)} after {', '.join(killed)}")
    print(harness.histogram(kills))
    print(f"{len(kills)} kills; {len(different)} searches came to another end")
    if different:
        sys.exit("\n".join(different))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    options.add_argument("number", nargs="?", type=cli.positive, default=100, help="of kills (%(default)s)")
    options.add_argument("--seed", type=cli.non_negative, default=1, help="of moments and victims (%(default)s)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
