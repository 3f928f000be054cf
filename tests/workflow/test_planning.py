"""What Snakemake plans and refuses, without running a job."""

import copy
import os
import re
import subprocess
import sys

import pytest

from tests.workflow.conftest import ROOT, TINY, Workplace


def jobs(text: str) -> dict[str, int]:
    """Jobs of each rule in the statistics of a dry run."""
    return {name: int(number) for name, number in re.findall(r"^(\w+) +(\d+)$", text, flags=re.MULTILINE)}


def test_a_dry_run_plans_every_step(workplace: Workplace) -> None:
    done = workplace.snakemake("-n")
    assert done.returncode == 0, done.stderr
    planned = jobs(done.stdout + done.stderr)
    # Ancestor, 2 children, their 2 twins and the control.
    assert planned["train_child"] == 6
    assert planned["transfer"] == planned["score"] - 1 == 2
    assert planned["mutate"] == planned["select"] == planned["select_ancestor"] == planned["train_model"] == 1
    assert planned["convert"] == 3
    assert planned["predict"] == 2
    assert planned["evaluate"] == 3


@pytest.mark.parametrize(
    ("target", "ends"),
    [("data", {"convert": 3}), ("search", {"convert": 2, "train_child": 3, "select": 1, "champion": 1})],
)
def test_parts_of_the_workflow_are_targets(workplace: Workplace, target: str, ends: dict[str, int]) -> None:
    done = workplace.snakemake(target, "-n", "--quiet", "rules")
    assert done.returncode == 0, done.stderr
    planned = jobs(done.stdout + done.stderr)
    assert ends.items() <= planned.items()
    beyond = {"initialise", "train_child", "champion"} if target == "data" else {"scale", "train_model", "compare"}
    assert not beyond & planned.keys()


def test_frame_rates_belong_to_a_run_that_asks_for_them(workplace: Workplace) -> None:
    done = workplace.snakemake("-n", "--quiet", "rules")
    assert "latency" not in jobs(done.stdout + done.stderr)
    workplace.configure({**TINY, "evaluation": {"frame_rate": True}})
    done = workplace.snakemake("-n", "--quiet", "rules")
    assert done.returncode == 0, done.stderr
    assert jobs(done.stdout + done.stderr)["latency"] == 1


def test_two_hundred_generations_are_planned(workplace: Workplace) -> None:
    config = copy.deepcopy(TINY)
    config["search"] |= {"generations": 200, "children": 1, "parents": 1}
    workplace.configure(config)
    done = workplace.snakemake("-n", "--quiet", "rules")
    assert done.returncode == 0, done.stderr[-2000:]
    assert jobs(done.stdout + done.stderr)["mutate"] == 200
    # One deep target, reached by recursion through all generations.
    deep = workplace.snakemake("results/tiny/search/gen_200/parents.json", "-n", "--quiet", "rules")
    assert deep.returncode == 0, deep.stderr[-2000:]
    assert jobs(deep.stdout + deep.stderr)["select"] == 200


def test_without_transfer_every_child_starts_from_scratch(workplace: Workplace) -> None:
    config = copy.deepcopy(TINY)
    config["search"] |= {"transfer": False, "compare_scratch": False}
    workplace.configure(config)
    done = workplace.snakemake("-n")
    planned = jobs(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    assert planned["initialise"] == 3
    assert "transfer" not in planned


@pytest.mark.parametrize("graph", ["dag", "rulegraph", "filegraph"])
def test_graphs_on_stdout_are_dot_alone(workplace: Workplace, graph: str) -> None:
    done = workplace.snakemake(f"--{graph}")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"digraph snakemake_dag \{.*\}\s*", done.stdout, flags=re.DOTALL)
    assert "train_child" in done.stdout


def test_the_tpu_profile_plans_without_a_tpu_but_does_not_run(workplace: Workplace) -> None:
    assert workplace.snakemake("-n", profile="tpu").returncode == 0
    done = workplace.snakemake(profile="tpu")
    assert done.returncode != 0
    assert "no TPU here" in done.stderr
    assert "device=cpu" in done.stderr
    assert not (workplace.folder / "results").exists(), "a job ran"


def test_the_tpu_profile_stays_with_the_tpu_when_other_keys_are_given(workplace: Workplace) -> None:
    done = workplace.snakemake("--config", "seed=4", profile="tpu")
    assert done.returncode != 0
    assert "no TPU here" in done.stderr


def test_the_workflow_is_drawn(workplace: Workplace) -> None:
    """The rules of the demo, and the jobs of a search that is small enough to be looked at."""
    (workplace.folder / "workflow").symlink_to(ROOT / "workflow")
    command = [sys.executable, str(ROOT / "scripts/draw_dag.py"), "--output", "drawn"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=workplace.folder, capture_output=True, text=True, env=environment, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    rules, dag = ((workplace.folder / f"drawn/{name}.mmd").read_text() for name in ("rulegraph", "dag"))
    assert rules.startswith("---\n") and dag.startswith("---\n")
    for rule in ("synthesize", "mutate", "transfer", "compare", "champion", "summary"):
        assert len(re.findall(rf"\[\"?{rule}\b", rules)) == 1, rule
    found = [len(re.findall(rf"\[\"?{rule}\b", dag)) for rule in ("ancestor", "mutate", "transfer", "score", "compare")]
    assert found == [1, 1, 2, 3, 0]


BAD = {
    "unknown key": ({"searching": 1}, "searching: unknown key"),
    "unknown nested key": ({"search": {"mu": 3}}, "search.mu: unknown key"),
    "wrong type": ({"search": {"generations": "many"}}, "search.generations"),
    "sides": ({"input": {"height": 33, "width": 32}}, "33x32 is not divisible by the overall stride 8"),
    "mu": ({"search": {"parents": 9}}, "larger than the pool of generation 1"),
    "genotype": ({"search": {"ancestor": [[9, 3, 1, 1], *TINY["search"]["ancestor"][1:]]}}, "module 1 has 9 blocks"),
    "dataset file": ({"dataset": "config/datasets/nothing.yaml"}, "nothing.yaml cannot be read"),
    "name": ({"experiment": "data"}, "results/data/ is not an experiment's"),
    "runner": ({"conversion": {"runner": "Nobody"}}, "conversion.runner: Nobody is none of Beam's runners"),
    "devices": (
        {"train": {"batch": 8, "devices": 2}, "device": "cpu"},
        "search.train.devices: 2 devices are asked for",
    ),
    "data": ({"dataset": "config/datasets/coco2017.yaml"}, "data set 'coco2017': no such file or folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_configuration_is_one_message_before_any_job(workplace: Workplace, name: str) -> None:
    change, message = BAD[name]
    config = copy.deepcopy(TINY)
    for key, value in change.items():
        config[key] = config.get(key, {}) | value if isinstance(value, dict) else value
    workplace.configure(config)
    done = workplace.snakemake()
    assert done.returncode != 0
    assert message in done.stderr
    assert "onfiguration: configuration" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (workplace.folder / "results").exists(), "a job ran"


def test_numbers_within_braces_on_the_command_line_are_numbers(workplace: Workplace) -> None:
    change = "search={generations: 2, children: {1: 2, 2: 3}, compare_scratch: false}"
    done = workplace.snakemake("-n", "--quiet", "rules", "--config", change)
    assert done.returncode == 0, done.stderr[-2000:]
    assert jobs(done.stdout + done.stderr)["train_child"] == 1 + 2 + 3


def test_as_many_accelerators_as_a_training_shares_have_to_be_there_before_any_job(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(TINY)
    config["final"]["train"]["devices"] = 4
    workplace.configure(config)
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "gpu:0,gpu:1,gpu:2")
    done = workplace.snakemake(profile="profiles/gpu")
    assert done.returncode != 0
    assert (
        "final.train.devices: 4 accelerators are asked for, but there are 3 here (gpu:0, gpu:1, gpu:2)" in done.stderr
    )
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "gpu:0,gpu:1,gpu:2,gpu:3")
    done = workplace.snakemake()
    assert "but the profile lets a run have 1; say how many there are with --resources accelerator=4" in done.stderr
    assert not (workplace.folder / "results").exists(), "a job ran"


@pytest.mark.parametrize(("cores", "accelerators"), [("", "4"), ("cores_per_accelerator=8", "1")])
def test_the_profile_says_how_many_devices_an_accelerator_is(
    workplace: Workplace, cores: str, accelerators: str
) -> None:
    config = copy.deepcopy(TINY)
    config["final"]["train"]["devices"] = 4
    workplace.configure(config)
    given = ("--default-resources", "device='tpu'", cores) if cores else ()
    done = workplace.snakemake("-n", "-p", *given, profile="tpu")
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert set(re.findall(r"scripts/train.py .*--accelerators (\d).*models/big", text)) == {accelerators}
    assert set(re.findall(r"scripts/train.py .*--accelerators (\d).*search/gen", text)) == {"1"}


def test_nothing_in_a_bucket_is_an_input_of_a_rule(workplace: Workplace) -> None:
    """A dry run asks no bucket; the mirror waits for the results, and nothing for the mirror."""
    config = copy.deepcopy(TINY)
    config["dataset"] = {
        "name": "far",
        **{split: {"images": f"gs://b/{split}", "annotations": f"gs://b/{split}.json"} for split in ("train", "val")},
    }
    config["conversion"] = {"shards": "gs://b/records"}
    config["storage"] = {"mirror": "gs://b/results"}
    workplace.configure(config)
    done = workplace.snakemake("-n")
    assert done.returncode == 0, done.stderr[-3000:]
    planned = jobs(done.stdout + done.stderr)
    assert (planned["fetch"], planned["convert"], planned["mirror_generation"], planned["mirror"]) == (2, 2, 2, 1)
    files = re.findall(r"^ +(?:input|output): (.*)$", done.stdout, re.MULTILINE)
    assert files and "gs://" not in " ".join(files)
    only = workplace.snakemake("-n", "results/tiny/summary.md")
    assert not jobs(only.stdout + only.stderr).keys() & {"mirror", "mirror_generation"}
