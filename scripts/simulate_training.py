"""Take the place of train.py in a simulated search: the same files, after a time and with a loss that are made up."""

import argparse

from pipeline_lib import cli
from pipeline_lib.config import Simulation, TrainSettings


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib.data.records import read_manifest
    from pipeline_lib.train import simulated

    for manifest in (arguments.train_manifest, arguments.val_manifest):
        read_manifest(manifest)
    simulated.train(
        initial=arguments.initial,
        weights=arguments.weights,
        history=arguments.history,
        settings=cli.settings(TrainSettings, arguments.settings),
        simulation=cli.settings(Simulation, arguments.simulation, "--simulation"),
        seed=arguments.seed,
        title=arguments.title,
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--simulation", required=True, help="JSON of the keys of `search.simulation`")
    options.add_argument("--initial", required=True, help="initial weights; the header names the architecture")
    options.add_argument("--train-manifest", required=True, help="manifest.json of the training records")
    options.add_argument("--val-manifest", required=True, help="manifest.json of the validation records")
    options.add_argument("--settings", default="{}", help="JSON of the keys of `train` that differ from the defaults")
    options.add_argument("--seed", type=cli.non_negative, default=1, help="of losses and kills (default: 1)")
    options.add_argument("--device", help="not used: nothing is computed")
    options.add_argument("--accelerators", help="not used, either")
    options.add_argument("--may-fail", action="store_true", help="not used: nothing fails but what is killed")
    options.add_argument("--title", default="training", help="what is trained, shown in the progress lines")
    options.add_argument("--weights", required=True, help="output: the initial weights once more")
    options.add_argument("--history", required=True, help="output: history.csv")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
