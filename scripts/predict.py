"""Predict the keypoints of every person of a set of records, as a COCO result list."""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli, remote

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts, devices, startup
    from pipeline_lib.config import EvaluationConfig, KeypointSchema
    from pipeline_lib.data import records
    from pipeline_lib.errors import ArtifactError
    from pipeline_lib.evaluate.predict import on_crops, predict
    from pipeline_lib.nets import files

    settings = cli.settings(EvaluationConfig, arguments.settings)
    if arguments.flip is not None:
        settings = settings.model_copy(update={"flip_test": arguments.flip})
    architecture, weights = files.load(arguments.weights)
    files.check_finite(arguments.weights, weights)
    architecture = architecture.resized(arguments.height or architecture.height, arguments.width or architecture.width)
    manifest = records.read_manifest(arguments.manifest)
    schema = (
        cli.settings(KeypointSchema, arguments.keypoints, "--keypoints") if arguments.keypoints else manifest.keypoints
    )
    if len(schema.names) != architecture.keypoints:
        raise ArtifactError(
            f"{arguments.weights}: a network for {architecture.keypoints} keypoints, but the data set of "
            f"{arguments.manifest} has {len(schema.names)}; use weights that were trained on it"
        )
    devices.check(arguments.device)
    devices.lease(arguments.device, arguments.accelerators, f"predictions of {arguments.weights}")
    startup.load_keras(str(arguments.weights))
    from pipeline_lib.nets import build_architecture

    devices.configure(settings.cpu_threads, deterministic=True)
    with devices.strategy(arguments.device).scope():
        network = on_crops(build_architecture(architecture, weights=weights))
    batches = records.dataset(
        manifest,
        height=architecture.height,
        width=architecture.width,
        batch=settings.batch,
        metadata=True,
        threads=settings.cpu_threads,
    )
    with records.readable_errors():
        results = predict(
            network, batches.as_numpy_iterator(), schema=schema, settings=settings, examples=manifest.examples
        )
    artifacts.write_json(arguments.results, results)
    log.info("wrote %d people to %s", len(results), arguments.results)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weights", type=Path, required=True, help="weights file of a network (safetensors)")
    options.add_argument("--manifest", type=remote.place, required=True, help="manifest.json of the records")
    options.add_argument("--keypoints", help="the data set's keypoints as JSON (default: the manifest's)")
    options.add_argument("--height", type=cli.positive, help="input height in pixels (default: the weights file's)")
    options.add_argument("--width", type=cli.positive, help="input width in pixels (default: the weights file's)")
    options.add_argument("--settings", default="{}", help="`evaluation` of the configuration as JSON")
    options.add_argument("--flip", choices=("aligned", "released", "off"), help="flip test instead of the settings'")
    options.add_argument("--device", choices=("auto", "cpu", "gpu", "tpu"), default="auto", help="where to compute")
    options.add_argument("--accelerators", type=cli.non_negative, help="TPUs or GPUs to lease (default: 1)")
    options.add_argument("--results", type=Path, required=True, help="output: COCO result list (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
