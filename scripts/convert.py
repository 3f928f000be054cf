"""Convert a COCO split to TFRecord shards and a manifest, with Apache Beam.

Options of a runner follow after `--`: convert.py ... --runner DataflowRunner -- --project=p --region=europe-west4
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib import cli, remote

if TYPE_CHECKING:
    from pipeline_lib.data.coco import Part


def main(arguments: argparse.Namespace) -> None:
    """Write the shards beside `--output`, then the manifest."""
    from pipeline_lib.config import COCO_KEYPOINTS, ConversionSettings, KeypointSchema, Reach
    from pipeline_lib.data import verdict
    from pipeline_lib.data.convert import convert

    settings = cli.settings(ConversionSettings, arguments.settings)
    given = {name: getattr(arguments, name) for name in ("runner", "mode", "workers")}
    changes = {name: value for name, value in given.items() if value is not None}
    options = (*settings.options, *arguments.beam_option, *arguments.options)
    settings = cli.settings(ConversionSettings, json.dumps({**settings.model_dump(), **changes, "options": options}))
    convert(
        arguments.output,
        annotations=arguments.annotations,
        images=arguments.images,
        detected=cli.data_file(arguments.detections) if arguments.detections else None,
        split=arguments.split or arguments.output.resolve().parent.name,
        purpose=arguments.purpose,
        schema=COCO_KEYPOINTS
        if arguments.keypoints is None
        else cli.settings(KeypointSchema, arguments.keypoints, "--keypoints"),
        settings=settings,
        part=_part(arguments),
        reach=cli.settings(Reach, arguments.reach, "--reach") if arguments.reach else None,
        verdict=verdict.read(arguments.validation) if arguments.validation else None,
        shards=arguments.shards or None,
        of_detections=verdict.read(arguments.detections_validation) if arguments.detections_validation else None,
    )


def _part(arguments: argparse.Namespace) -> "Part | None":
    from pipeline_lib.data.coco import Part

    if arguments.holdout is not None:
        return Part(arguments.holdout, held_out=True)
    return None if arguments.without_holdout is None else Part(arguments.without_holdout, held_out=False)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--annotations", type=cli.data_file, required=True, help="COCO keypoint annotations (JSON)")
    options.add_argument("--images", type=remote.place, required=True, help="folder of the images")
    options.add_argument("--detections", nargs="?", help="person detections (JSON); needed for that purpose only")
    options.add_argument(
        "--validation",
        type=Path,
        help="what scripts/validate.py said of annotations and images (default: validate them here)",
    )
    options.add_argument("--detections-validation", nargs="?", help="the same of the detections")
    options.add_argument(
        "--purpose",
        choices=["training", "ground_truth", "detections"],
        required=True,
        help="annotated people without crowds and unlabelled ones; all annotated people; detected people",
    )
    part = options.add_mutually_exclusive_group()
    part.add_argument("--holdout", type=cli.fraction, metavar="FRACTION", help="only that fraction of the images")
    part.add_argument("--without-holdout", type=cli.fraction, metavar="FRACTION", help="only the images that it leaves")
    options.add_argument("--split", help="name of the split in the manifest (default: the folder of --output)")
    options.add_argument("--settings", default="{}", help="the section conversion of the configuration, as JSON")
    options.add_argument(
        "--reach",
        nargs="?",
        help="of crop records, as JSON: height and width of the crops, largest scale and rotation",
    )
    options.add_argument("--keypoints", help="the data set's keypoint schema, as JSON (default: COCO's 17)")
    options.add_argument("--runner", help="Beam runner, instead of the settings' one")
    options.add_argument(
        "--mode", choices=["in_memory", "multi_threading", "multi_processing"], help="how FnApiRunner runs its workers"
    )
    options.add_argument("--workers", type=cli.positive, help="workers of multi_threading and multi_processing")
    options.add_argument(
        "--beam-option", action="append", default=[], metavar="--NAME=VALUE", help="an option of Beam; may be repeated"
    )
    options.add_argument(
        "--shards", nargs="?", help="folder of the shards, a path or gs:// (default: that of the manifest)"
    )
    options.add_argument("--output", type=Path, required=True, help="output: the manifest")
    options.add_argument("options", nargs="*", metavar="-- --NAME=VALUE", help="more options of Beam")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
