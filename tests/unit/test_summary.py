"""The summary of a run: numbers arrive where they belong, in all three forms."""

import dataclasses
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline_lib import artifacts
from pipeline_lib.data import verdict
from pipeline_lib.data.verdict import Found, Verdict
from pipeline_lib.errors import ArtifactError
from pipeline_lib.plots import summary
from pipeline_lib.plots.metrics import METRICS
from pipeline_lib.plots.tables import Comparison, Individual
from pipeline_lib.search import population
from pipeline_lib.search.genotype import EVOPOSE2D_S, key

ROOT = Path(__file__).parents[2]


def individual(generation, child, loss, fitness, status="ok", rank=0):
    reason = "" if status == "ok" else "it diverged"
    return Individual(rank, generation, child, loss, 183_400, 6_420_000, fitness, status, True, "g", reason)


POOLS = {
    0: [individual(0, 0, 120.5, 110.25)],
    1: [individual(0, 0, 120.5, 110.25), individual(1, 0, 130.0, 119.0), individual(1, 1, None, None, "failed")],
    2: [individual(2, 1, 101.75, 99.5), individual(0, 0, 120.5, 110.25), individual(2, 0, 119.0, 118.0)],
}
CHAMPION = population.Individual(
    rank=0, genotype=key(EVOPOSE2D_S), loss=101.75, parameters=183_412, multiply_adds=6_420_000, status="ok", fitness=99.5,
    origin=population.Origin(generation=2, child=1),
)  # fmt: skip
ROW = Comparison(3, "module 6 stride 2->1", 0.5, 228.0, 113.5, 240.0, 205.0, 117.0, 111.0)


def metrics_file(folder, boxes="ground_truth", **values):
    content = {
        "schema_version": 1,
        "metrics": {name: 0.1 * index for index, name in enumerate((*METRICS, "ARM"), start=1)} | values,
        "explanations": {name: "no large persons" for name, value in values.items() if value == -1},
        "images": 100, "persons": 212, "results": 300,
    }  # fmt: skip
    path = folder / f"metrics_{boxes}.json"
    artifacts.write_json(path, content)
    return path


@pytest.fixture
def run(tmp_path):
    return summary.Run(
        experiment="demo",
        pools=POOLS,
        champion=CHAMPION,
        metrics=summary.read_metrics(
            [
                metrics_file(tmp_path / "evopose_m", AP=0.5126),
                metrics_file(tmp_path / "evopose_m", "detections", APL=-1.0),
            ]
        ),
        baselines=summary.read_metrics([metrics_file(tmp_path / "mean_pose", AP=0.081)]),
        compared=[ROW],
        places={"report": "results/demo/report.html"},
    )


def tables_of(text):
    """The Markdown tables of `text` as lists of rows of cells, without their rules."""
    found, before = [], False
    for line in text.splitlines():
        if line.startswith("|"):
            if not before:
                found.append([])
            if not line.startswith("| ---"):
                found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line.startswith("|")
    return found


def test_markdown_has_every_number(run):
    text = summary.as_markdown(run)
    search, compared, champion, networks, files = tables_of(text)
    assert "2 generations after the ancestor, 5 networks trained, 1 of them failed." in text
    assert "Failed trainings, born as generation.child: 1.1: it diverged." in text
    assert search[1:] == [
        ["0", "1", "110.25", "120.50", "0.183", "6.4", "0.0"],
        ["1", "2", "110.25", "120.50", "0.183", "6.4", "0.0"],
        ["2", "2", "99.50", "101.75", "0.183", "6.4", "2.1"],
    ]
    assert compared[1] == ["3", "module 6 stride 2->1", "50%", "228.0", "113.5", "240.0", "205.0", "111.0"]
    assert "113.5 with weight transfer, 205.0 from scratch, 111.0 for the ancestor trained on (from 117.0)" in text
    assert "Born in generation 2 as child 1: 183,412 parameters, 6.4 M multiply-adds" in text
    # Channels in channels, not in the genotype's unit of 8.
    assert [[int(cell) for cell in row[1:]] for row in champion[1:]] == [
        [blocks, kernel, 8 * channels, stride] for blocks, kernel, channels, stride in EVOPOSE2D_S.tolist()
    ]
    assert networks == [
        ["network", "boxes", "AP", "AP50", "AP75", "APM", "APL", "AR"],
        ["evopose_m", "ground truth", "0.513", "0.200", "0.300", "0.400", "0.500", "0.600"],
        ["evopose_m", "detections", "0.100", "0.200", "0.300", "0.400", "-", "0.600"],
        ["mean pose", "ground truth", "0.081", "0.200", "0.300", "0.400", "0.500", "0.600"],
    ]
    assert "APL is undefined: no large persons." in text and "212 persons with labelled keypoints in 100 images" in text
    assert files[1] == ["report", "results/demo/report.html"]


def test_html_has_the_same_cells(run):
    class Cells(HTMLParser):
        def __init__(self):
            super().__init__()
            self.rows, self.open = [], False

        def handle_starttag(self, tag, attributes):
            if tag == "tr":
                self.rows.append([])
            self.open = tag in ("td", "th")
            if self.open:
                self.rows[-1].append("")

        def handle_data(self, data):
            if self.open:
                self.rows[-1][-1] += data

        def handle_endtag(self, tag):
            self.open = False

    parser = Cells()
    parser.feed(summary.as_html(run))
    assert parser.rows == [row for table in tables_of(summary.as_markdown(run)) for row in table]
    assert "2->1" not in summary.as_html(run)  # escaped
    assert "http" not in summary.as_html(run)  # needs no network


def test_json_is_unrounded(run):
    content = json.loads(json.dumps(summary.as_json(run), allow_nan=False))
    assert content["search"]["evaluations"] == 5 and content["search"]["failed"] == 1
    assert content["search"]["generations"] == 2
    assert [best["fitness"] for best in content["search"]["best"]] == [110.25, 110.25, 99.5]
    assert content["models"][0]["metrics"]["AP"] == 0.5126 and content["models"][1]["boxes"] == "detections"
    assert content["baselines"][0]["metrics"]["AP"] == 0.081
    assert content["champion"]["origin"] == {"generation": 2, "child": 1}
    assert content["comparison"][0]["scratch_final"] == 205.0


def searched(patience, min_gain=0.0, generations=9, gamma=0.0):
    """Settings of a search with which J is the loss, unless `gamma` is another one."""
    convergence = None if patience is None else {"patience": patience, "min_gain": min_gain}
    return {
        "search": {"convergence": convergence, "generations": generations, "gamma": gamma, "target_parameters": 1e6}
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        (searched(None), ""),
        (
            searched(1),
            "The search ended after generation 2 of at most 9, those after generation 1 having been given: it had one in "
            "which J did not fall (search.convergence).",
        ),
        # From 120.5 to 101.75 are 15.6 %.
        (
            searched(2, 0.16),
            "The search ended after generation 2 of at most 9: it had 2 in a row in which J did not fall by 16 % "
            "(search.convergence).",
        ),
        (
            searched(2, 0.15),
            "The search went on to its last generation: it never had 2 in a row in which J did not fall by 15 % "
            "(search.convergence).",
        ),
    ],
)
def test_where_and_why_a_search_ended(run, settings, expected):
    ended = dataclasses.replace(run, settings=settings)
    assert summary.ending(ended) == expected == summary.as_json(ended)["search"]["ending"]
    assert (expected in summary.as_markdown(ended)) and ("search.convergence" in summary.as_html(ended)) == bool(
        expected
    )


def test_the_end_of_a_search_is_told_by_its_own_gamma(run):
    """Not by the J that a population was written with: here the second network has a hundredth of the parameters."""
    small = dataclasses.replace(POOLS[0][0], loss=120.6, parameters=1_834)
    pools = {0: POOLS[0], 1: [POOLS[0][0], small]}
    for gamma, ended in ((0.0, True), (-0.5, False)):
        found = summary.ending(dataclasses.replace(run, pools=pools, settings=searched(1, gamma=gamma)))
        assert ("ended after generation 1" in found) == ended


def test_one_is_no_plural(run):
    pools = {0: run.pools[0], 1: run.pools[1]}
    assert "1 generation after the ancestor, " in summary.as_markdown(dataclasses.replace(run, pools=pools))
    alone = summary.as_markdown(dataclasses.replace(run, pools={0: run.pools[0]}))
    assert "0 generations after the ancestor, 1 network trained" in alone


def test_without_comparison_its_part_is_left_out(run):
    text = summary.as_markdown(dataclasses.replace(run, compared=()))
    assert "Weight transfer" not in text and "## Champion" in text


def found(policy, number, *examples):
    return Found(policy=policy, number=number, examples=examples)


VALIDATION = {
    "train": Verdict(
        file="train.json",
        sha256="0",
        entries={"images": 1200, "annotations": 3400},
        found={"truncated_image": found("drop", 1234, *"abcde"), "missing_area": found("repair", 2, "f", "g")},
    ),
    "val_detections": Verdict(
        file="boxes.json", sha256="0", entries={"detections": 7}, found={"other_category": found("drop", 1, "x|y")}
    ),
}


def test_what_the_validation_found_comes_first_with_examples_of_each_kind(run):
    run = dataclasses.replace(run, validation=VALIDATION)
    text = summary.as_markdown(run)
    assert text.startswith("# demo\n\n## Data\n\nWhat the validation found (train: 1,200 images, 3,400 annotations; ")
    assert "val_detections: 7 detections" in text
    assert tables_of(text)[0] == [
        ["what", "kind", "done", "number"],
        ["train", "truncated_image", "dropped", "1,234"],
        ["train", "missing_area", "repaired", "2"],
        ["val_detections", "other_category", "dropped", "1"],
    ]
    for line in (
        "train, truncated_image: a; b; c; d; e, ...",
        "train, missing_area: f; g.",
        "val_detections, other_category: x|y.",
    ):
        assert f"\n\n{line}\n\n" in text and f"<p>{line}</p>" in summary.as_html(run)
    said = summary.as_json(run)["validation"]["train"]
    assert said["entries"] == {"images": 1200, "annotations": 3400}
    assert said["found"]["missing_area"] == {"policy": "repair", "number": 2, "examples": ["f", "g"]}


def test_a_clean_data_set_is_a_sentence(run):
    clean = Verdict(file="val.json", sha256="0", entries={"images": 5, "annotations": 0})
    text = summary.as_markdown(dataclasses.replace(run, validation={"val": clean}))
    assert "The validation found nothing wrong (val: 5 images)." in text and len(tables_of(text)) == 5


def test_what_was_not_evaluated_is_said_beside_the_metrics(run, tmp_path):
    path = metrics_file(tmp_path / "evopose_m")
    artifacts.write_json(path, artifacts.read_json(path) | {"left_out": {"images": 2, "persons": 1003}})
    text = summary.as_markdown(dataclasses.replace(run, metrics=summary.read_metrics([path])))
    assert "Left out by the validation, and not evaluated: 2 images, 1,003 persons." in text
    artifacts.write_json(path, artifacts.read_json(path) | {"left_out": {"images": 0, "persons": 0}})
    metrics = summary.read_metrics([path])
    text = summary.as_markdown(dataclasses.replace(run, metrics=metrics))
    assert "Left out" not in text and metrics[0].left_out == {}


def test_metrics_files_that_are_none_are_named(tmp_path):
    artifacts.write_json(tmp_path / "metrics_detections.json", {"metrics": {"AP": 0.1}})
    with pytest.raises(ArtifactError, match=r"metrics_detections\.json: not a metrics file"):
        summary.read_metrics([tmp_path / "metrics_detections.json"])
    with pytest.raises(ArtifactError, match=r"history\.csv: a file <network>/metrics_<boxes>\.json is expected"):
        summary.read_metrics([tmp_path / "history.csv"])


def test_program_prints_what_it_writes(tmp_path):
    columns = population.POPULATION_COLUMNS
    row = dict(zip(columns, (0, 0, 0, 120.5, 183_412, 6_420_000, 110.25, "ok", 1, "g", ""), strict=True))
    artifacts.write_csv(tmp_path / "population.csv", [row], columns)
    population.write(tmp_path / "champion.json", CHAMPION)
    verdict.write(tmp_path / "val.json", VALIDATION["train"])
    command = [
        sys.executable, str(ROOT / "scripts/summary.py"), "--experiment", "demo",
        "--populations", str(tmp_path / "population.csv"), "--champion", str(tmp_path / "champion.json"),
        "--metrics", str(metrics_file(tmp_path / "evopose_m")), "--baselines", str(metrics_file(tmp_path / "mean_pose")),
        "--validation", str(tmp_path / "val.json"),
        "--comparison",
        "--place", "report=results/demo/report.html",
        "--markdown", str(tmp_path / "summary.md"), "--json", str(tmp_path / "summary.json"), "--html", str(tmp_path / "s.html"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "summary.md").read_text()
    assert "| report | results/demo/report.html |" in done.stdout
    said = "The report is made by the command of this run with --report results/demo/report.html at its end."
    assert said in done.stdout
    content = artifacts.read_json(tmp_path / "summary.json")
    assert "| val | truncated_image | dropped | 1,234 |" in " ".join(done.stdout.split())
    assert content["validation"]["val"]["found"]["missing_area"]["number"] == 2
    assert content["experiment"] == "demo" and content["comparison"] == []
    assert [row["network"] for row in content["models"]] == ["evopose_m"]
    assert [row["network"] for row in content["baselines"]] == ["mean_pose"]
    artifacts.write_csv(tmp_path / "comparison.csv", [vars(ROW)], tuple(vars(ROW)))
    more = [
        word
        for name in command[1:]
        for word in ([name, str(tmp_path / "comparison.csv")] if name == "--comparison" else [name])
    ]
    compared = subprocess.run(
        [sys.executable, *more], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)}
    )
    assert compared.returncode == 0 and "module 6 stride 2->1" in compared.stdout, compared.stderr
    assert artifacts.read_json(tmp_path / "summary.json")["comparison"] == [vars(ROW)]
    assert (tmp_path / "s.html").read_text().startswith("<!DOCTYPE html>")
    (tmp_path / "champion.json").write_text("{")
    failed = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})
    assert failed.returncode == 2 and "champion.json" in failed.stderr and "Traceback" not in failed.stderr


def test_of_many_failures_the_first_are_listed(run):
    pool = [*POOLS[1], *(individual(1, child, None, None, "failed") for child in range(2, 9))]
    text = summary.as_markdown(dataclasses.replace(run, pools={**POOLS, 1: pool}))
    assert "1.5: it diverged; and 3 more." in text and "1.6" not in text
