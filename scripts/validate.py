"""Validate COCO annotations and their images, or detections, before the conversion: what is wrong, and what is done about it."""

import argparse
from pathlib import Path

from pipeline_lib import cli, remote


def main(arguments: argparse.Namespace) -> None:
    """Write the verdict to `--verdict`; without one when something fatal was found."""
    from pipeline_lib.config import COCO_KEYPOINTS, KeypointSchema, ValidationConfig
    from pipeline_lib.data import validation, verdict

    policies = cli.settings(ValidationConfig, arguments.settings)
    if arguments.detections:
        before = verdict.read(arguments.validation) if arguments.validation else None
        found = validation.validate_detections(arguments.detections, arguments.annotations, policies, before)
    else:
        found = validation.validate(
            arguments.annotations,
            COCO_KEYPOINTS
            if arguments.keypoints is None
            else cli.settings(KeypointSchema, arguments.keypoints, "--keypoints"),
            policies,
            images=arguments.images,
            annotated=not arguments.image_list,
            workers=arguments.workers,
        )
    verdict.write(arguments.verdict, found)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--annotations", type=cli.data_file, required=True, help="COCO keypoint annotations (JSON)")
    options.add_argument("--image-list", action="store_true", help="they list images alone")
    options.add_argument("--images", type=remote.place, help="folder of the images, which are looked at")
    options.add_argument("--keypoints", help="the data set's keypoint schema, as JSON (default: COCO's 17)")
    options.add_argument(
        "--detections", type=cli.data_file, help="person detections (JSON), which are validated instead"
    )
    options.add_argument("--validation", type=Path, help="with detections: what was said of the annotations (JSON)")
    options.add_argument(
        "--settings", default="{}", help="the section dataset.validation of the configuration, as JSON"
    )
    options.add_argument("--workers", type=cli.positive, default=1, help="threads that look at images (default: 1)")
    options.add_argument(
        "--verdict", type=Path, required=True, help="output: what was found, left out and repaired (JSON)"
    )
    return options


if __name__ == "__main__":
    cli.run(main, parser())
