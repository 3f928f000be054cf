"""Results of a network as a zip file for COCO's evaluation server: checked, rounded, the best 20 people of an image."""

import argparse
import logging
from pathlib import Path

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib.data import coco_json, verdict
    from pipeline_lib.errors import about
    from pipeline_lib.evaluate import results, submission

    found = results.read(arguments.results, scored=True)
    validated = verdict.read(arguments.validation) if arguments.validation else None
    listed = coco_json.entries(verdict.read_content(arguments.images, validated), "images", arguments.images)
    images = [
        coco_json.integer_of(one, "id", f"{arguments.images}, images[{place}]") for place, one in enumerate(listed)
    ]
    with about(arguments.results):
        people = submission.submission(found, images, arguments.keypoints)
    submission.write(arguments.archive, people)
    log.info("%d of %d people in %d images: %s", len(people), len(found), len(images), arguments.archive)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--results", type=Path, required=True, help="COCO keypoint result list (JSON)")
    options.add_argument(
        "--images",
        type=cli.data_file,
        required=True,
        help="COCO annotations or image list of the predicted images (JSON)",
    )
    options.add_argument("--validation", type=Path, help="what the validation said of that file (JSON)")
    options.add_argument("--keypoints", type=int, default=17, help="keypoints of a person (default: %(default)s)")
    options.add_argument(
        "--archive", type=Path, required=True, help="output: person_keypoints_<images>_<algorithm>_results.zip"
    )
    return options


if __name__ == "__main__":
    cli.run(main, parser())
