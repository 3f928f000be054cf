"""Refinement in the workflow: what is planned, and an experiment with it from end to end."""

import json
from pathlib import Path

import pytest

from pipeline_lib.nets import files
from tests.unit.made_results import SMOKE, raw
from tests.workflow.conftest import Workplace
from tests.workflow.test_commands import (
    ANNOTATIONS,
    CONFIG,
    DATA,
    MODELS,
    RESULTS,
    SOURCE,
    VERDICTS,
    Job,
    keypoints,
    metrics,
    ordered,
    plan,
    select,
)

REFINE = {"enabled": True, "network": "posefix_r101", "height": 96, "width": 64, "sigma": 2.5, "estimates": "flat"}
TRAIN = {"epochs": 6, "milestones": [4], "batch": 16, "cpu_threads": 2, "devices": 4}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    config = {**CONFIG, "refine": {**REFINE, "train": TRAIN}}
    return plan(tmp_path_factory.mktemp("refine"), config)


def test_one_refiner_is_trained_with_the_estimates_of_a_final_network(planned: list[Job]) -> None:
    (job,) = [job for job in planned if job.rule == "train_refiner"]
    assert job.program == "scripts/train_refiner.py"
    for split, name in (("train", "predictions_train.json"), ("val", "predictions_ground_truth.json")):
        assert job.one(f"--{split}-manifest") == f"{DATA}/{split}/manifest.json"
        assert job.one(f"--{split}-annotations") == ANNOTATIONS[split]
        assert job.one(f"--{split}-validation") == VERDICTS[split]
        assert job.one(f"--{split}-estimates") == f"{MODELS}/flat/{name}"
    expected = {key: value for key, value in REFINE.items() if key not in ("enabled", "estimates")}
    assert job.read("--settings") == {**expected, "train": TRAIN}
    assert (job.one("--seed"), job.one("--device"), job.threads) == ("3", "tpu", 2)
    assert job.resources["accelerator"] == job.one("--accelerators") == "4"
    for option, name in (
        ("weights", "weights.safetensors"),
        ("history", "history.csv"),
        ("report", "inheritance.json"),
    ):
        assert job.one(f"--{option}") == f"{RESULTS}/refiner/{name}"
    predict = select(planned, "predict", "--results")
    assert predict[f"{MODELS}/flat/predictions_train.json"].one("--manifest") == f"{DATA}/train/manifest.json"
    assert f"{MODELS}/big/predictions_train.json" not in predict


def test_every_result_list_is_refined_evaluated_and_packed(planned: list[Job]) -> None:
    ordered(planned)
    jobs = select(planned, "refine", "--refined")
    wanted = {path.replace("metrics_", "predictions_").replace(".json", "_refined.json"): path for path in metrics()}
    assert jobs.keys() == wanted.keys()
    for path, job in jobs.items():
        assert job.program == "scripts/refine.py"
        assert job.one("--results") == path.replace("_refined", "")
        assert job.one("--weights") == f"{RESULTS}/refiner/weights.safetensors"
        assert (job.one("--annotations"), job.one("--images")) == (ANNOTATIONS["val"], f"{SOURCE}/images/val")
        assert (job.one("--sigma"), job.one("--device")) == ("2.5", "tpu")
        assert job.read("--settings") == {"batch": 5, "cpu_threads": 4}
        assert (job.threads, job.resources["accelerator"], job.one("--accelerators")) == (4, "1", "1")
        keypoints(job)
    measured = select(planned, "evaluate", "--metrics")
    refined = [path.replace(".json", "_refined.json") for path in metrics()]
    assert {*metrics(), *refined} <= measured.keys()
    assert all(measured[path].one("--results") == path.replace("metrics_", "predictions_") for path in refined)
    (summary,) = [job for job in planned if job.rule == "summary"]
    assert sorted(summary.options["--metrics"]) == sorted([*metrics(), *refined])
    packed = select(planned, "submission", "--archive")
    archive = packed[f"{MODELS}/big/submission_detections_refined/person_keypoints_val_big_results.zip"]
    assert archive.one("--results") == f"{MODELS}/big/predictions_detections_refined.json"
    assert archive.one("--images") == ANNOTATIONS["val"]


@pytest.mark.slow
def test_an_experiment_with_posefix_runs_from_end_to_end(workplace: Workplace) -> None:
    frame_rate = {"evaluation": {"frame_rate": False}}
    workplace.configure(raw("table3_evopose2d_l_posefix", SMOKE, frame_rate))
    done = workplace.snakemake("--config", "experiment=fix", "device=cpu")
    assert done.returncode == 0, done.stderr[-6000:]
    folder = workplace.folder / "results/fix"
    network, _ = files.load_refiner(folder / "refiner/weights.safetensors")
    assert (network.network, network.height, network.width) == ("posefix_r50", 64, 64)
    lists = {name: read(folder / f"models/evopose2d_l/predictions_{name}.json") for name in ("detections", "train")}
    refined = read(folder / "models/evopose2d_l/predictions_detections_refined.json")
    assert len(lists["train"]) > 8
    for own, other in zip(refined, lists["detections"], strict=True):
        assert (own["image_id"], own["score"]) == (other["image_id"], other["score"])
        assert own["keypoints"][2::3] == other["keypoints"][2::3] and own["keypoints"] != other["keypoints"]
    text = (folder / "summary.md").read_text()
    assert "detections refined" in text and "ground truth refined" in text
    assert "Nothing to be done" in "".join(
        (again := workplace.snakemake("--config", "experiment=fix", "device=cpu")).stdout + again.stderr
    )


def read(path: Path) -> list[dict]:
    return json.loads(path.read_text())
