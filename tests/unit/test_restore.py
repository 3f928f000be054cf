"""Copied results: what is checked, what is refused, and the order of the times that files get."""

import itertools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib import restore
from pipeline_lib.errors import ArtifactError

ROOT = Path(__file__).parents[2]
# In the order of the workflow; in one line what is made from nothing else in it.
EXPERIMENT = [
    ["search/gen_000/children.json", "search/gen_000/genotypes.csv"],
    ["search/gen_000/child_00/initial.safetensors"],
    ["search/gen_000/child_00/weights.safetensors", "search/gen_000/child_00/history.csv"],
    ["search/gen_000/child_00/score.json"],
    ["search/gen_000/population.csv", "search/gen_000/parents.json", "search/gen_000/parents/0.safetensors"],
    ["search/gen_001/children.json"],
    ["search/gen_001/child_00/inheritance.json", "search/gen_001/scratch_11/initial.safetensors"],
    ["search/gen_001/control/history.csv", "search/gen_001/child_00/weights.safetensors"],
    ["search/gen_001/child_00/score.json"],
    ["search/gen_001/parents/0.safetensors"],
    ["search/gen_001/comparison.csv", "search/gen_001/decided"],
    ["search/gen_010/children.json"],
    ["search/gen_010/parents.json"],
    ["search/gen_1000/children.json"],
    ["champion.json", "champion.safetensors"],
    ["models/search/model.json", "models/search/initial.safetensors"],
    ["models/search/weights.safetensors"],
    ["models/search/predictions_ground_truth.json", "models/search/latency.json", "mean_pose/predictions_detections.json"],
    ["refiner/weights.safetensors"],
    ["models/search/predictions_ground_truth_refined.json"],
    ["models/search/metrics_ground_truth_refined.json", "models/search/metrics_ground_truth.json"],
    ["figures/fitness.svg", "networks.csv"],
    ["summary.md", "summary.json", "plan.json"],
    ["costs.csv", "costs.html"],
]  # fmt: skip
DATA = [
    ["source/annotations/person_keypoints_val.json", "source/images/train/000001.png"],
    ["images/val/00000-of-00001.tfrecord", "crops/64x64/val/00000-of-00001.tfrecord"],
    ["images/val/manifest.json", "crops/64x64/val/manifest.json"],
]


def made(folder: Path, steps: list[list[str]], more: tuple[str, ...] = ()) -> Path:
    """Files with their names as content, and times in no order."""
    numbers = random.Random(3)
    for name in [*(name for step in steps for name in step), *more]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
        stamp = 1.5e9 + 1e8 * numbers.random()
        os.utime(folder / name, (stamp, stamp))
    return folder


def stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


def ordered(folder: Path, steps: list[list[str]]) -> None:
    times = [[stamp(folder / name) for name in step] for step in steps]
    for before, after in itertools.pairwise(times):
        assert max(before) < min(after)


def test_times_follow_the_workflow(tmp_path):
    experiment = made(tmp_path / "results/demo", EXPERIMENT, ("report.html",))
    data = made(tmp_path / "results/data/synthetic", DATA)
    assert restore.make(experiment) == sum(map(len, EXPERIMENT)) + 1
    restore.make(data)
    for folder in (experiment, data):
        listed = json.loads((folder / "artifacts.json").read_text())["files"]
        assert all(entry["bytes"] == len(name) for name, entry in listed.items()) and "artifacts.json" not in listed
    assert [stamped.extra for stamped in restore.restore([data, experiment])] == [[], []]
    ordered(data, DATA)
    ordered(experiment, EXPERIMENT)
    assert stamp(data / DATA[-1][0]) < stamp(experiment / EXPERIMENT[0][0])
    assert stamp(experiment / EXPERIMENT[-1][0]) < stamp(experiment / "report.html")
    # Nothing lies in the future, or the next output would be older than what it is made from.
    (tmp_path / "next").touch()
    assert stamp(experiment / "report.html") <= stamp(tmp_path / "next")


def test_a_whole_folder_of_results(tmp_path):
    results = tmp_path / "results"
    for name in ("images", "a", "a@b"):  # an experiment's name says nothing of what it is
        made(results / name, EXPERIMENT)
    made(results / "data/synthetic", DATA)
    made(results / "paper", [["table1.md"]])
    restore.make(results)
    restore.restore([results])
    for name in ("images", "a", "a@b"):
        ordered(results / name, EXPERIMENT)
    ordered(results / "data/synthetic", DATA)
    last, first = EXPERIMENT[-1][0], EXPERIMENT[0][0]
    assert stamp(results / "data/synthetic" / DATA[-1][0]) < stamp(results / "a" / first)
    assert stamp(results / "a" / last) < stamp(results / "a@b" / first)
    assert stamp(results / "images" / last) < stamp(results / "paper/table1.md")


def test_the_order_of_the_folders_is_that_of_the_times(tmp_path):
    folders = [made(tmp_path / name, [["models/m/weights.safetensors"]]) for name in ("z", "a")]
    for folder in folders:
        restore.make(folder)
    restore.restore(folders)
    z, a = (stamp(folder / "models/m/weights.safetensors") for folder in folders)
    assert z < a


def test_data_come_first_whatever_was_named_first(tmp_path):
    experiment = made(tmp_path / "results/demo", EXPERIMENT)
    data = made(tmp_path / "results/data/synthetic", DATA)
    for folder in (experiment, data):
        restore.make(folder)
    assert [stamped.files for stamped in restore.restore([experiment, data])] == [
        sum(map(len, EXPERIMENT)),
        sum(map(len, DATA)),
    ]
    assert stamp(data / DATA[-1][0]) < stamp(experiment / EXPERIMENT[0][0])


def test_benchmarks_are_not_older_than_what_was_measured(tmp_path):
    made(tmp_path / "results/demo", EXPERIMENT)
    restore.make(tmp_path / "results/demo")
    made(tmp_path / "benchmarks/demo", [["search/gen_000/select.tsv"]])
    made(tmp_path / "benchmarks/other", [["champion.tsv"]])
    other = stamp(tmp_path / "benchmarks/other/champion.tsv")
    restore.restore([tmp_path / "results/demo"])
    assert stamp(tmp_path / "benchmarks/demo/search/gen_000/select.tsv") == stamp(tmp_path / "results/demo/costs.csv")
    assert stamp(tmp_path / "benchmarks/other/champion.tsv") == other


def test_what_is_missing_or_differs_is_named_and_nothing_is_stamped(tmp_path):
    folder = made(tmp_path / "demo", EXPERIMENT)
    restore.make(folder)
    (folder / "champion.json").unlink()
    (folder / "summary.md").write_text("summary.mD")  # as long
    (folder / "networks.csv").write_text("longer than before")
    before = {path: stamp(path) for path in folder.rglob("*")}
    other = made(tmp_path / "other", EXPERIMENT)
    restore.make(other)
    unchanged = stamp(other / "champion.json")
    with pytest.raises(ArtifactError) as caught:
        restore.restore([other, folder])
    text = str(caught.value)
    assert text.startswith(
        f"{folder}: missing: champion.json; not as listed in artifacts.json: networks.csv, summary.md; "
    )
    assert {path: stamp(path) for path in folder.rglob("*")} == before
    assert stamp(other / "champion.json") == unchanged


def test_many_are_counted(tmp_path):
    folder = made(tmp_path, [[f"figures/{index:02d}.svg" for index in range(25)]])
    restore.make(folder)
    for path in (folder / "figures").iterdir():
        path.unlink()
    with pytest.raises(ArtifactError, match=r"missing: figures/00\.svg, .*figures/09\.svg and 15 more;"):
        restore.restore([folder])


def test_extra_files_are_mentioned_and_left_alone(tmp_path):
    folder = made(tmp_path, [["champion.json"]], (".training/state", ".hidden"))
    (folder / "link.json").symlink_to(folder / "champion.json")
    assert restore.make(folder) == 1
    made(folder, [["models/new/weights.safetensors", "notes.txt"]])
    before = stamp(folder / "notes.txt")
    (stamped,) = restore.restore([folder])
    assert stamped.files == 1 and stamped.extra == ["notes.txt", "models/new/weights.safetensors"]
    assert stamp(folder / "notes.txt") == before


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "a/../../outside", "./champion.json", "a//b", "link/outside", ""]
)
def test_paths_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    folder = made(tmp_path / "demo", [["champion.json"]])
    made(tmp_path, [["outside"]])
    (folder / "link").symlink_to(tmp_path)
    restore.make(folder)
    listed = json.loads((folder / "artifacts.json").read_text())
    listed["files"][name] = next(iter(listed["files"].values()))
    (folder / "artifacts.json").write_text(json.dumps(listed))
    before = stamp(tmp_path / "outside")
    with pytest.raises(ArtifactError, match=re.escape(f"it lists what is not in {folder}: {name}; ")):
        restore.restore([folder])
    assert stamp(tmp_path / "outside") == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, r"artifacts\.json: no such file; make it where the results are in order \(option --make\)"),
        ("{", r"artifacts\.json: not readable as JSON .*; get it again$"),
        ('{"files": {}}', r"artifacts\.json: not a manifest of files: files: .*at least 1"),
        ('{"files": {"a": {"sha256": "12", "bytes": 3}}}', r"not a manifest of files: files\.a\.sha256"),
        ('{"schema_version": 2, "files": {}}', "schema_version is 2, written by a newer version"),
    ],
)
def test_a_manifest_that_is_none_is_named(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "artifacts.json").write_text(content)
    with pytest.raises(ArtifactError, match=expected):
        restore.restore([tmp_path])


def test_what_cannot_be_listed(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere: no such folder"):
        restore.make(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="there are no files to list"):
        restore.make(tmp_path)


def test_the_program_says_what_it_found(tmp_path):
    folder = made(tmp_path / "results/demo", [["champion.json"], ["summary.md"]])

    def program(*words):
        command = [sys.executable, str(ROOT / "scripts/restore_artifacts.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)

    done = program("--make", str(folder))
    assert done.returncode == 0 and "demo: 2 files are listed in artifacts.json" in done.stderr
    made(folder, [["notes.txt"]])
    done = program(str(folder))
    assert done.returncode == 0 and "demo: 2 files are as they were, and have times in their order" in done.stderr
    assert "WARNING" in done.stderr and "not in artifacts.json, and left alone: notes.txt" in done.stderr
    ordered(folder, [["champion.json"], ["summary.md"]])
    (folder / "champion.json").unlink()
    done = program(str(folder))
    assert done.returncode == 2 and "missing: champion.json" in done.stderr and "Traceback" not in done.stderr
