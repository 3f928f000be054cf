"""COCO result list of the mean-pose predictor: the average training person in every ground-truth box."""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.config import KeypointSchema
    from pipeline_lib.data import verdict
    from pipeline_lib.evaluate import baseline

    schema = cli.settings(KeypointSchema, arguments.keypoints, "--keypoints")
    verdicts = [path and verdict.read(path) for path in (arguments.train_validation, arguments.validation)]
    results = baseline.predict(arguments.train_annotations, arguments.annotations, schema, *verdicts)
    artifacts.write_json(arguments.results, results)
    log.info("mean pose: %d people in %s", len(results), arguments.results)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--train-annotations", type=cli.data_file, required=True, help="COCO annotations of the training split"
    )
    options.add_argument(
        "--annotations", type=cli.data_file, required=True, help="COCO annotations with the boxes to fill"
    )
    options.add_argument("--train-validation", type=Path, help="what the validation said of the training split (JSON)")
    options.add_argument("--validation", type=Path, help="what it said of the other annotations (JSON)")
    options.add_argument("--keypoints", required=True, help="the data set's keypoints as JSON: names, sigmas, ...")
    options.add_argument("--results", type=Path, required=True, help="output: COCO result list (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
