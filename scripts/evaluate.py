"""COCO keypoint metrics of a result list, as JSON and as a table on stdout."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.config import KeypointSchema
    from pipeline_lib.evaluate import coco

    sigmas = cli.settings(KeypointSchema, arguments.keypoints, "--keypoints").sigmas
    annotations = artifacts.read_json(arguments.annotations)
    network = coco.evaluate(annotations, artifacts.read_json(arguments.results), sigmas)
    rows = {arguments.name: network}
    if arguments.baseline_results is not None:
        rows["mean pose"] = coco.evaluate(annotations, artifacts.read_json(arguments.baseline_results), sigmas)
    written = {"schema_version": artifacts.SCHEMA_VERSION, **network}
    if arguments.baseline_results is not None:
        written["baseline"] = rows["mean pose"]
    artifacts.write_json(arguments.metrics, written)
    print(coco.table(rows))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--annotations", type=Path, required=True, help="COCO keypoint annotations (JSON)")
    options.add_argument("--results", type=Path, required=True, help="COCO keypoint result list (JSON)")
    options.add_argument("--baseline-results", type=Path, help="result list of the mean pose, shown beside it")
    options.add_argument("--keypoints", required=True, help="the data set's keypoints as JSON: names, sigmas, ...")
    options.add_argument("--metrics", type=Path, required=True, help="where the metrics go (JSON)")
    options.add_argument("--name", default="network", help="name of the table's row")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
