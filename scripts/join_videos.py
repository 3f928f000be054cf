"""Make one COCO keypoint file of PoseTrack's annotations, a JSON file for each video: labelled frames, and people in them."""

import argparse
from pathlib import Path

from pipeline_lib import cli, remote


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib.config import KeypointSchema
    from pipeline_lib.data import posetrack

    schema = cli.settings(KeypointSchema, arguments.keypoints, "--keypoints")
    posetrack.join(arguments.videos, arguments.images, schema, arguments.annotations)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--videos", type=remote.place, required=True, help="folder of the videos' files (JSON)")
    options.add_argument(
        "--images", type=remote.place, required=True, help="folder that the frames' file names start from"
    )
    options.add_argument("--keypoints", required=True, help="the data set's keypoints as JSON: names, sigmas, ...")
    options.add_argument("--annotations", type=Path, required=True, help="output: COCO keypoint annotations (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
