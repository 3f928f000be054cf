"""Refine the keypoints of a COCO result list, of whatever network, by a trained refiner."""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli, remote

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts, devices, startup
    from pipeline_lib.config import EvaluationConfig, KeypointSchema, RefineConfig
    from pipeline_lib.data import coco, verdict
    from pipeline_lib.errors import ArtifactError, about
    from pipeline_lib.evaluate import results as result_list
    from pipeline_lib.evaluate.refine import on_crops, refine
    from pipeline_lib.nets import files

    settings = cli.settings(EvaluationConfig, arguments.settings)
    schema = cli.settings(KeypointSchema, arguments.keypoints, "--keypoints")
    network, weights = files.load_refiner(arguments.weights)
    files.check_finite(arguments.weights, weights)
    if len(schema.names) != network.keypoints:
        raise ArtifactError(
            f"{arguments.weights}: a refiner of {network.keypoints} keypoints, but the data set has {len(schema.names)}; "
            "use weights that were trained on it"
        )
    results = result_list.read(arguments.results)
    validated = verdict.read(arguments.validation) if arguments.validation else None
    listed = coco.images(arguments.annotations, validated)
    images = {image.image_id: arguments.images / image.file_name for image in listed}
    # What the weights were trained with; their file knows the size of the input.
    sigma = RefineConfig(height=network.height, width=network.width, sigma=arguments.sigma).pose_sigma
    devices.check(arguments.device)
    devices.lease(arguments.device, arguments.accelerators, f"refinement by {arguments.weights}")
    startup.load_keras(str(arguments.weights))
    from pipeline_lib.nets import build_architecture

    devices.configure(settings.cpu_threads, deterministic=True)
    with devices.strategy(arguments.device).scope():
        refiner = on_crops(build_architecture(network, weights=weights), sigma)
    size = network.height, network.width
    upright = validated.upright if validated else ()
    with about(arguments.results):
        refined = refine(refiner, results, images, size=size, schema=schema, settings=settings, upright=upright)
    artifacts.write_json(arguments.refined, refined)
    log.info("wrote %d people to %s", len(refined), arguments.refined)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weights", type=Path, required=True, help="weights file of a refiner (safetensors)")
    options.add_argument("--results", type=Path, required=True, help="COCO keypoint result list (JSON)")
    options.add_argument(
        "--annotations", type=cli.data_file, required=True, help="COCO file that lists the images (JSON)"
    )
    options.add_argument("--images", type=remote.place, required=True, help="folder of the images")
    options.add_argument("--validation", type=Path, help="what the validation said of the annotations (JSON)")
    options.add_argument("--keypoints", required=True, help="the data set's keypoints as JSON: names, flip_pairs, ...")
    options.add_argument("--sigma", type=float, help="`refine.sigma` of its training (default: by the height)")
    options.add_argument("--settings", default="{}", help="`evaluation` of the configuration as JSON")
    options.add_argument("--device", choices=("auto", "cpu", "gpu", "tpu"), default="auto", help="where to compute")
    options.add_argument("--accelerators", type=cli.non_negative, help="TPUs or GPUs to lease (default: 1)")
    options.add_argument("--refined", type=Path, required=True, help="output: COCO result list (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
