"""The tiny experiment from synthetic images to the summary, and what a second run does."""

import csv
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline_lib.nets import files
from pipeline_lib.search.fitness import fitness
from tests import made_search
from tests.workflow.conftest import ROOT, TINY, Workplace
from tests.workflow.test_planning import jobs

# One worker runs the experiment that all tests here look at.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

SEARCH = Path("results/tiny/search")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_everything_is_there(finished: Workplace) -> None:
    for name in (
        "results/data/tiny/images/train/manifest.json",
        "results/tiny/search/gen_001/comparison.csv",
        "results/tiny/champion.json",
        "results/tiny/models/big/metrics_ground_truth.json",
        "results/tiny/models/big/metrics_detections.json",
        "results/tiny/mean_pose/metrics_ground_truth.json",
        "results/tiny/figures/overlays_big.png",
        "results/tiny/figures/fitness.svg",
        "results/tiny/summary.md",
        "logs/tiny/search/gen_001/child_00/train.log",
        "benchmarks/tiny/search/gen_001/child_00/train.tsv",
    ):
        assert (finished.folder / name).stat().st_size > 0, name


def test_the_survivors_are_the_fittest_of_children_and_parents(finished: Workplace) -> None:
    folder = finished.folder / SEARCH
    population = rows(folder / "gen_001" / "population.csv")
    assert {(row["generation"], row["child"]) for row in population} == {("0", "0"), ("1", "0"), ("1", "1")}
    scores = {
        (row["generation"], row["child"]): json.loads(
            (folder / f"gen_00{row['generation']}" / f"child_0{row['child']}" / "score.json").read_text()
        )
        for row in population
    }
    values = {key: fitness(one["loss"], one["parameters"], 5e6, -0.07) for key, one in scores.items()}
    assert [(row["generation"], row["child"]) for row in population] == sorted(values, key=values.__getitem__)
    parents = json.loads((folder / "gen_001" / "parents.json").read_text())["parents"]
    for parent, row in zip(parents, population[:2], strict=True):
        assert parent["fitness"] == pytest.approx(values[row["generation"], row["child"]])
        born = folder / f"gen_00{row['generation']}" / f"child_0{row['child']}" / "weights.safetensors"
        copied = folder / "gen_001" / "parents" / f"{parent['rank']}.safetensors"
        assert copied.read_bytes() == born.read_bytes()
    champion, _ = files.load(finished.folder / "results/tiny/champion.safetensors")
    assert [list(row) for row in champion.genotype] == parents[0]["genotype"]


def test_twins_and_control_are_trained_for_the_same_steps(finished: Workplace) -> None:
    folder = finished.folder / SEARCH / "gen_001"
    histories = {name: rows(folder / name / "history.csv") for name in ("child_00", "scratch_00", "control")}
    assert len({history[-1]["step"] for history in histories.values()}) == 1
    ancestor = rows(finished.folder / SEARCH / "gen_000" / "child_00" / "history.csv")
    best = min(float(row["val_loss"]) for row in ancestor[1:])
    assert float(histories["control"][0]["val_loss"]) == pytest.approx(best, rel=1e-5)
    scratch, _ = files.load(folder / "scratch_00" / "initial.safetensors")
    child, _ = files.load(folder / "child_00" / "initial.safetensors")
    assert scratch == child


def test_a_second_run_has_nothing_to_do(finished: Workplace) -> None:
    done = finished.snakemake()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def copied(finished: Workplace, tmp_path: Path, *without: str) -> Workplace:
    place = Workplace.__new__(Workplace)
    place.folder = tmp_path / "copy"
    shutil.copytree(finished.folder, place.folder, symlinks=True, ignore=shutil.ignore_patterns(*without))
    return place


def differing(folder: Path, other: Path) -> set[str]:
    """Files that two folders have in common with other bytes, or that only one of them has."""
    first, second = (
        {str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (folder, other)
    )
    return {name for name in first | second if first.get(name) != second.get(name)}


def test_a_generation_comes_back_with_the_same_bytes(finished: Workplace, tmp_path: Path) -> None:
    """From the parents' weights alone, with scrambled times and no records."""
    place = copied(finished, tmp_path, ".snakemake")
    made_search.scramble(place.folder / "results")
    made_search.lose_weights(place.folder / SEARCH, 1)
    trained = place.folder / SEARCH / "gen_001/child_00/weights.safetensors"
    trained.write_bytes(b"damaged")
    done = place.snakemake("-R", "mutate", "--config", "only=1")
    assert done.returncode == 0, done.stderr[-6000:]
    made = jobs(done.stdout + done.stderr)
    assert made == {"mutate": 1, "transfer": 2, "train_child": 2, "score": 2, "select": 1, "all": 1, "total": 9}
    # Seconds and images per second are in the histories.
    histories = {f"child_0{child}/history.csv" for child in range(2)}
    assert differing(place.folder / SEARCH / "gen_001", finished.folder / SEARCH / "gen_001") == histories
    assert not (place.folder / SEARCH / "gen_000/child_00/weights.safetensors").exists()


def test_a_copy_with_scrambled_times_is_restored(finished: Workplace, tmp_path: Path) -> None:
    place = copied(finished, tmp_path, ".snakemake")
    folders = ["results/data/tiny", "results/tiny"]

    def program(*words: str) -> None:
        command = [sys.executable, "scripts/restore_artifacts.py", *words]
        done = subprocess.run(
            command, cwd=place.folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr

    program("--make", *folders)
    for name in ("results", "benchmarks", "logs"):
        made_search.scramble(place.folder / name)
    assert jobs(place.snakemake("-n").stdout)["train_child"] == 6
    program(*folders)
    done = place.snakemake()
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr, done.stderr


def test_another_gamma_has_another_champion_without_a_training(finished: Workplace, tmp_path: Path) -> None:
    """A branch that takes over the whole search, ranked so that the largest network is the best."""
    place = copied(finished, tmp_path)
    shutil.rmtree(place.folder / "results/data")
    options = ("--config", "resume_from=2", "branch=large", "search={gamma: 25.0}")
    done = place.snakemake("search", *options)
    assert done.returncode == 0, done.stderr[-6000:]
    assert jobs(done.stdout + done.stderr) == {"adopt": 1, "adopt_parents": 1, "champion": 1, "search": 1, "total": 4}
    population = rows(finished.folder / SEARCH / "gen_001/population.csv")
    largest = max(population, key=lambda row: int(row["parameters"]))
    assert largest != population[0]
    champion = json.loads((place.folder / "results/tiny@large/champion.json").read_text())
    assert (champion["origin"]["generation"], champion["origin"]["child"]) == (
        int(largest["generation"]),
        int(largest["child"]),
    )
    found = rows(place.folder / "results/tiny@large/search/gen_000/population.csv")
    assert float(found[0]["fitness"]) == pytest.approx(
        fitness(float(found[0]["loss"]), int(found[0]["parameters"]), 5e6, 25.0)
    )
    assert differing(place.folder / "results/tiny", finished.folder / "results/tiny") == set()
    # A branch that has begun needs nothing else.
    shutil.rmtree(place.folder / "results/tiny")
    done = place.snakemake("search", *options)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr, done.stderr


def test_raising_generations_trains_nothing_again(finished: Workplace, tmp_path: Path) -> None:
    place = copied(finished, tmp_path)
    copy = place.folder
    config = yaml.safe_load((copy / "tiny.yaml").read_text())
    config["search"]["generations"] = 2
    config["report"] = {"overlays": 3}
    place.configure(config)
    done = place.snakemake("-n")
    assert done.returncode == 0, done.stderr
    planned = jobs(done.stdout + done.stderr)
    assert planned["train_child"] == planned["transfer"] == TINY["search"]["children"]
    assert "synthesize" not in planned
    assert "convert" not in planned
    assert "ancestor" not in planned


def test_final_networks_of_the_same_champion_are_not_trained_again(finished: Workplace, tmp_path: Path) -> None:
    """As a longer search may end; Snakemake asks for their training all the same."""
    place = copied(finished, tmp_path)
    model = place.folder / "results/tiny/models/big"
    before = {name: (model / name).read_bytes() for name in ("weights.safetensors", "history.csv")}
    target = str(model.relative_to(place.folder) / "weights.safetensors")
    done = place.snakemake(target, "-R", "scale")
    assert done.returncode == 0, done.stderr[-3000:]
    assert jobs(done.stdout + done.stderr)["train_model"] == 1
    assert "final training of big: the same was trained before" in done.stderr
    assert {name: (model / name).read_bytes() for name in before} == before
    done = place.snakemake(target, "-n")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_another_way_to_convert_makes_nothing_again(finished: Workplace) -> None:
    for conversion in (
        "{mode: multi_processing, workers: 2}",
        "{runner: DaskRunner, options: ['--dask_client_address=tcp://host:8786']}",
    ):
        done = finished.snakemake("-n", "--config", f"conversion={conversion}")
        assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr, done.stdout
    done = finished.snakemake("-n", "--config", "conversion={shard_size: 5}")
    assert jobs(done.stdout + done.stderr)["convert"] == 3


def test_data_are_made_where_nothing_can_be_trained(finished: Workplace, tmp_path: Path) -> None:
    place = copied(finished, tmp_path)
    (place.folder / "results/data/tiny/images/val_detections/manifest.json").unlink()
    eight = ("--config", "device=cpu", "train={devices: 8}")
    done = place.snakemake("data", *eight)
    assert done.returncode == 0, done.stderr[-3000:]
    assert jobs(done.stdout + done.stderr) == {"convert": 1, "data": 1, "total": 2}
    done = place.snakemake("search", *eight)
    assert done.returncode != 0 and "8 devices are asked for" in done.stderr


def test_an_estimate_is_shown_beside_what_was_spent(finished: Workplace, tmp_path: Path) -> None:
    place = copied(finished, tmp_path)
    command = [sys.executable, "scripts/plan.py", "--configfile", "tiny.yaml", "--config", "report={overlays: 12}"]
    command += ["--device", "cpu", "--seconds", "0.5", "--price", "1000", "--devices", "2"]
    done = subprocess.run(
        command, cwd=place.folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # The ancestor; two children, their twins from scratch, and the ancestor trained on.
    assert "6 evaluations in the search" in done.stdout and "for a device's hour" in done.stdout
    assert "not known yet" not in done.stdout  # the records are there
    estimated = json.loads((place.folder / "results/tiny/plan.json").read_text())
    assert {speed["network"] for speed in estimated["speeds"]} >= {"generation 0"}
    assert all(speed["read"] > 0 for speed in estimated["speeds"])
    done = place.snakemake()
    assert done.returncode == 0, done.stderr
    assert jobs(done.stdout + done.stderr) == {"costs": 1, "all": 1, "total": 2}
    costs = {row["name"]: row for row in rows(place.folder / "results/tiny/costs.csv")}
    assert {name: (row["trainings"], row["trained"]) for name, row in costs.items()} == {
        "generation 0": ("1", "1"), "generation 1": ("5", "5"), "big": ("1", "1"), "": ("7", "7"),
    }  # fmt: skip
    measured = float(rows_of_tsv(place.folder / "benchmarks/tiny/models/big/train.tsv")[0]["s"])
    assert float(costs["big"]["spent_device_hours"]) == pytest.approx(measured / 3600)
    assert float(costs[""]["spent_cost"]) == pytest.approx(1000 * float(costs[""]["spent_device_hours"]))
    assert "generation 1" in (place.folder / "results/tiny/costs.html").read_text()
    # An estimate that is damaged is named; nothing that was made goes.
    (place.folder / "results/tiny/plan.json").write_text("{}")
    done = place.snakemake()
    assert done.returncode != 0 and "plan.json: not an estimate" in (place.folder / "logs/tiny/costs.log").read_text()
    assert (place.folder / "results/tiny/summary.md").is_file()


def rows_of_tsv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_the_report_is_made_offline(finished: Workplace) -> None:
    done = finished.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    report = (finished.folder / "report.html").read_text()
    for text in ("2 Evolution", "3 Weight transfer", "5 Final networks", "overlays_big.png"):
        assert text in report, text


def test_what_is_made_only_when_asked_for(finished: Workplace, tmp_path: Path) -> None:
    """Frame rates, archives for COCO's server, the table of networks, and their place in the report."""
    place = copied(finished, tmp_path)
    copy = place.folder
    place.configure({**TINY, "evaluation": {"latency_passes": 4}})
    targets = ("all", "frame_rates", "submissions", "networks")
    done = place.snakemake(*targets)
    assert done.returncode == 0, done.stderr[-6000:]
    # Nothing else was made again, though the section of the predictions has another number.
    planned = set(jobs(done.stdout + done.stderr)) - {"total"}
    assert planned == {*targets[1:], "latency", "submission"}
    measured = json.loads((copy / "results/tiny/models/big/latency.json").read_text())
    assert measured["network"] == "big" and measured["passes"] == 4 and measured["fps"] > 0
    assert (measured["height"], measured["width"]) == (40, 40)
    for boxes in ("ground_truth", "detections"):
        name = "person_keypoints_val_big_results"
        archive = zipfile.ZipFile(copy / f"results/tiny/models/big/submission_{boxes}/{name}.zip")
        people = json.loads(archive.read(f"{name}.json"))
        predicted = json.loads((copy / f"results/tiny/models/big/predictions_{boxes}.json").read_text())
        assert {person["image_id"] for person in people} == {person["image_id"] for person in predicted}
    assert "evopose2d_s" in (copy / "results/tiny/networks.csv").read_text()
    done = place.snakemake(*targets, "--report", "report.html")
    assert done.returncode == 0, done.stderr
    assert "Published networks beside the paper" in (copy / "report.html").read_text()


def test_the_same_seed_gives_the_same_bytes(finished: Workplace, workplace: Workplace) -> None:
    done = workplace.snakemake("results/tiny/search/gen_001/parents.json", "--config", "device=cpu", profile="tpu")
    assert done.returncode == 0, done.stderr[-6000:]
    for name in (
        *("gen_001/children.json", "gen_001/genotypes.csv", "gen_001/parents.json"),
        *("gen_000/child_00/weights.safetensors", "gen_001/child_01/weights.safetensors"),
    ):
        assert (workplace.folder / SEARCH / name).read_bytes() == (finished.folder / SEARCH / name).read_bytes(), name
