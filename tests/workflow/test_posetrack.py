"""A data set of videos in PoseTrack's form, from its files to AP, by a network that starts from one trained on COCO."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, POSETRACK_KEYPOINTS
from pipeline_lib.nets import files
from pipeline_lib.nets.layers import initial_weights
from pipeline_lib.nets.registry import architecture
from tests.unit.made_posetrack import video
from tests.workflow.conftest import TINY, Workplace
from tests.workflow.test_planning import jobs

NETWORK = "evopose2d_xs"
JOINED = "results/data/videos/source/annotations/person_keypoints_{}.json"


def configuration() -> dict:
    config = copy.deepcopy(TINY)
    config["dataset"] = {"name": "videos", "format": "posetrack", "keypoints": "posetrack"}
    for split in ("train", "val"):
        config["dataset"][split] = {"images": "pt", "annotations": f"pt/annotations/{split}"}
    config["search"] = {"enabled": False}
    model = {"network": NETWORK, "height": 32, "width": 32, "pretrained": "coco.safetensors"}
    train = {"epochs": 4, "patience": 1, "base_rate": 1e-12, "scale_rate": False}
    config["final"] = {"models": {NETWORK: model}, "train": train}
    config["train"] = {"batch": 4}
    return config


@pytest.fixture
def videos(workplace: Workplace) -> Workplace:
    root = workplace.folder / "pt"
    for number in (1, 2):
        video(root, "train", number)
    video(root, "val", 3, frames=3, labelled=(1,))
    workplace.configure(configuration())
    network = architecture(NETWORK, 32, 32, 17)
    files.save(workplace.folder / "coco.safetensors", network, initial_weights(network, 9), COCO_KEYPOINTS.names)
    return workplace


@pytest.mark.slow
def test_from_videos_to_metrics(videos: Workplace) -> None:
    done = videos.snakemake(f"results/tiny/models/{NETWORK}/metrics_ground_truth.json", "results/tiny/summary.md")
    assert done.returncode == 0, done.stderr[-6000:]
    ran = jobs(done.stdout + done.stderr)
    assert (ran["join_videos"], ran["convert"], ran["evaluate"]) == (2, 2, 2)
    folder = videos.folder
    truth = {split: json.loads((folder / JOINED.format(split)).read_text()) for split in ("train", "val")}
    assert [len(truth[split]["images"]) for split in ("train", "val")] == [4, 1]
    assert (
        "2 videos, 4 of 8 frames are labelled, with 8 people"
        in (folder / "logs/tiny/data/join_videos_train.log").read_text()
    )
    manifest = json.loads((folder / "results/data/videos/images/train/manifest.json").read_text())
    assert manifest["examples"] == 8 and tuple(manifest["keypoints"]["names"]) == POSETRACK_KEYPOINTS.names

    model = folder / f"results/tiny/models/{NETWORK}"
    report = json.loads((model / "inheritance.json").read_text())
    assert report["keypoints"]["new"] == ["head_bottom", "head_top"] and report["fraction"] > 0.99
    before = files.load(folder / "coco.safetensors")[1]["final_conv/kernel"]
    after = files.load(model / "initial.safetensors")[1]["final_conv/kernel"]
    changed = [place for place in range(17) if not np.array_equal(before[..., place], after[..., place])]
    assert changed == [1, 2]
    assert files.load_keypoints(model / "weights.safetensors") == POSETRACK_KEYPOINTS.names

    people = [person["image_id"] for person in truth["val"]["annotations"]]
    predicted = json.loads((model / "predictions_ground_truth.json").read_text())
    assert [person["image_id"] for person in predicted] == people
    metrics = json.loads((model / "metrics_ground_truth.json").read_text())
    assert (metrics["images"], metrics["persons"], metrics["results"]) == (1, 2, 2)
    assert 0 <= metrics["metrics"]["AP"] <= 1
    settings = json.loads((folder / "results/tiny/summary.json").read_text())["settings"]
    assert settings["dataset"] == "videos" and settings["models"][NETWORK]["train"]["patience"] == 1

    # Another video is noticed, and nothing else is done twice.
    assert jobs_of(videos) == {}
    video(folder / "pt", "val", 4)
    assert {name for name in jobs_of(videos) if name in ("join_videos", "convert", "train_model")} == {
        *("join_videos", "convert", "train_model")
    }
    assert jobs_of(videos)["join_videos"] == 1


def jobs_of(place: Workplace) -> dict[str, int]:
    done = place.snakemake("results/tiny/summary.md", "-n")
    assert done.returncode == 0, done.stderr[-3000:]
    return jobs(done.stdout + done.stderr)


def test_a_damaged_video_stops_the_run_and_is_named(videos: Workplace) -> None:
    path = Path("pt/annotations/val/000003_mpii_val.json")
    (videos.folder / path).write_text("{")
    done = videos.snakemake(JOINED.format("val"))
    assert done.returncode != 0 and f"{path}: not JSON" in done.stderr and "Traceback" not in done.stderr
    assert not (videos.folder / JOINED.format("val")).exists()
