"""Train a refiner, which makes poses better: its weights and a history with one row for each epoch."""

import argparse
from pathlib import Path

from pipeline_lib import cli, devices, remote, startup
from pipeline_lib.config import RefineConfig

TITLE = "training of the refiner"


def main(arguments: argparse.Namespace) -> None:
    settings = cli.settings(RefineConfig, arguments.settings)
    devices.check(arguments.device)
    # What is missing is said before TensorFlow takes its seconds.
    from pipeline_lib.data.records import read_manifest
    from pipeline_lib.evaluate import results

    for manifest in (arguments.train_manifest, arguments.val_manifest):
        read_manifest(manifest)
    estimates = [
        [] if path is None else results.read(path) for path in (arguments.train_estimates, arguments.val_estimates)
    ]
    devices.lease(arguments.device, arguments.accelerators, TITLE, settings.train.devices)
    startup.load_keras(TITLE)
    from pipeline_lib.train import refiner

    refiner.train(
        train_manifest=arguments.train_manifest,
        train_annotations=arguments.train_annotations,
        train_estimates=estimates[0],
        val_manifest=arguments.val_manifest,
        val_annotations=arguments.val_annotations,
        val_estimates=estimates[1],
        train_validation=arguments.train_validation,
        val_validation=arguments.val_validation,
        weights=arguments.weights,
        history=arguments.history,
        report=arguments.report,
        settings=settings,
        seed=arguments.seed,
        device=arguments.device,
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    for split, of in (("train", "training"), ("val", "validation")):
        options.add_argument(
            f"--{split}-manifest", type=remote.place, required=True, help=f"manifest.json of the {of} records"
        )
        options.add_argument(
            f"--{split}-annotations",
            type=cli.data_file,
            required=True,
            help="COCO annotations that they were made from (JSON)",
        )
        options.add_argument(
            f"--{split}-validation", type=Path, help="what the validation said of these annotations (JSON)"
        )
        options.add_argument(
            f"--{split}-estimates",
            type=Path,
            help="COCO result list of a pose network on them, for missing labels (JSON)",
        )
    options.add_argument("--settings", default="{}", help="`refine` of the configuration as JSON")
    options.add_argument(
        "--seed", type=cli.non_negative, default=1, help="of weights, order, augmentation and errors (default: 1)"
    )
    options.add_argument("--device", choices=devices.CHOICES, default="auto", help="what to train on (default: auto)")
    options.add_argument(
        "--accelerators", type=cli.non_negative, help="TPUs or GPUs to lease (default: for train.devices)"
    )
    options.add_argument(
        "--report", type=Path, required=True, help="output: inheritance.json, what came from refine.pretrained"
    )
    options.add_argument("--weights", type=Path, required=True, help="output: the trained weights.safetensors")
    options.add_argument("--history", type=Path, required=True, help="output: history.csv")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
