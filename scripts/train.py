"""Train a network from initial weights: trained weights and a history with one row for each epoch."""

import argparse

from pipeline_lib import cli, devices, startup
from pipeline_lib.config import TrainSettings


def main(arguments: argparse.Namespace) -> None:
    settings = cli.settings(TrainSettings, arguments.settings)
    devices.check(arguments.device)
    # What is missing is said before TensorFlow takes its seconds.
    from pipeline_lib.artifacts import load_metadata
    from pipeline_lib.data.records import read_manifest

    load_metadata(arguments.initial)
    for manifest in (arguments.train_manifest, arguments.val_manifest):
        read_manifest(manifest)
    devices.lease(arguments.device, arguments.accelerators, arguments.title, settings.devices)
    startup.load_keras(arguments.title)
    from pipeline_lib.train.trainer import train

    train(
        initial=arguments.initial,
        train_manifest=arguments.train_manifest,
        val_manifest=arguments.val_manifest,
        weights=arguments.weights,
        history=arguments.history,
        settings=settings,
        seed=arguments.seed,
        device=arguments.device,
        title=arguments.title,
        may_fail=arguments.may_fail,
        reuse=arguments.reuse,
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--initial", required=True, help="initial weights; the header names the architecture")
    options.add_argument("--train-manifest", required=True, help="manifest.json of the training records")
    options.add_argument("--val-manifest", required=True, help="manifest.json of the validation records")
    options.add_argument("--settings", default="{}", help="JSON of the keys of `train` that differ from the defaults")
    options.add_argument(
        "--seed", type=cli.non_negative, default=1, help="of order, augmentation and stochastic depth (default: 1)"
    )
    options.add_argument("--device", choices=devices.CHOICES, default="auto", help="what to train on (default: auto)")
    options.add_argument(
        "--accelerators", type=cli.non_negative, help="TPUs or GPUs to lease (default: for train.devices)"
    )
    options.add_argument("--title", default="training", help="what is trained, shown in the progress lines")
    options.add_argument(
        "--may-fail", action="store_true", help="a loss that is no number or a lack of memory is noted, and is no error"
    )
    options.add_argument(
        "--reuse",
        action="store_true",
        help="keep the outputs in .training/ beside them, and take these when the same training is asked for again",
    )
    options.add_argument("--weights", required=True, help="output: the trained weights.safetensors")
    options.add_argument("--history", required=True, help="output: history.csv")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
