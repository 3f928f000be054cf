"""COCO keypoint metrics of a result list, as JSON and as a table on stdout."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.config import KeypointSchema
    from pipeline_lib.data import coco_json, verdict
    from pipeline_lib.errors import about
    from pipeline_lib.evaluate import coco, results

    schema = cli.settings(KeypointSchema, arguments.keypoints, "--keypoints")
    annotations = coco_json.read(arguments.annotations)
    left_out = None
    if arguments.validation:
        validated = verdict.read(arguments.validation)
        verdict.check(validated, arguments.annotations)
        annotations, left_out = validated.evaluated(annotations, len(schema.names)), validated.left_out()
    with about(arguments.annotations):
        truth = coco.truth(annotations, len(schema.names))
    rows = {}
    for name, path in ((arguments.name, arguments.results), ("mean pose", arguments.baseline_results)):
        if path is not None:
            found = results.read(path, scored=True)
            with about(path):
                rows[name] = coco.evaluate(truth, found, schema.sigmas)
    network = rows[arguments.name]
    written = {"schema_version": artifacts.SCHEMA_VERSION, **network}
    if left_out is not None:
        written["left_out"] = left_out
    if arguments.baseline_results is not None:
        written["baseline"] = rows["mean pose"]
    artifacts.write_json(arguments.metrics, written)
    print(coco.table(rows))
    if left_out is not None and any(left_out.values()):
        print(f"left out by the validation: {left_out['images']} images, {left_out['persons']} persons")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--annotations", type=cli.data_file, required=True, help="COCO keypoint annotations (JSON)")
    options.add_argument(
        "--validation", type=Path, help="what the validation said of them (JSON): what it left out is not evaluated"
    )
    options.add_argument("--results", type=Path, required=True, help="COCO keypoint result list (JSON)")
    options.add_argument("--baseline-results", type=Path, help="result list of the mean pose, shown beside it")
    options.add_argument("--keypoints", required=True, help="the data set's keypoints as JSON: names, sigmas, ...")
    options.add_argument("--metrics", type=Path, required=True, help="where the metrics go (JSON)")
    options.add_argument("--name", default="network", help="name of the table's row")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
