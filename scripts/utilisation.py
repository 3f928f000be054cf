"""How busy a simulated search (search.simulation) kept its devices: a table, JSON, and a figure."""

import argparse
from dataclasses import asdict
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.plots import style, utilisation
    from pipeline_lib.search import simulation

    attempts = simulation.attempts(arguments.search)
    found = simulation.utilisation(attempts, arguments.devices)
    if arguments.json:
        artifacts.write_json(arguments.json, {"schema_version": artifacts.SCHEMA_VERSION, **asdict(found)})
    if arguments.figure:
        style.save(utilisation.draw(attempts, arguments.devices), arguments.figure)
    print(utilisation.as_text(found))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--search", type=Path, required=True, help="results/<experiment>/search of the simulation")
    options.add_argument("--devices", type=cli.positive, required=True, help="how many there were")
    options.add_argument("--json", type=Path, help="output: the numbers, times in seconds (JSON)")
    options.add_argument("--figure", type=Path, help="output: busy devices over time (SVG or PNG)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
