"""Ancestor and final networks that start from trained weights, planned and run."""

import copy
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS
from pipeline_lib.nets import files
from pipeline_lib.nets.layers import initial_weights
from pipeline_lib.nets.spec import Architecture
from tests.workflow.conftest import ROOT, TINY, Workplace
from tests.workflow.test_planning import jobs

ANCESTOR = "results/tiny/search/gen_000/child_00"


def donor(path: Path, offset: float) -> None:
    space = TINY["search"]["space"]
    network = Architecture(
        TINY["search"]["ancestor"], 32, 32, expansion=(1,) * 7, stem=space["stem"], head=8, head_layers=1
    )
    weights = {name: values + np.float32(offset) for name, values in initial_weights(network, 9).items()}
    files.save(path, network, weights, COCO_KEYPOINTS.names)


def test_the_ancestor_starts_from_a_file(workplace: Workplace) -> None:
    config = copy.deepcopy(TINY)
    config["search"]["pretrained"] = "own weights.safetensors"
    workplace.configure(config)
    missing = workplace.snakemake("-n")
    assert missing.returncode != 0
    assert (
        "pretrained weights: no such file: search.pretrained: own weights.safetensors"
        in missing.stdout + missing.stderr
    )
    donor(workplace.folder / "own weights.safetensors", 0.5)
    done = workplace.snakemake(f"{ANCESTOR}/initial.safetensors")
    assert done.returncode == 0, done.stderr[-3000:]
    made = files.load(workplace.folder / ANCESTOR / "initial.safetensors")[1]
    given = files.load(workplace.folder / "own weights.safetensors")[1]
    for name, values in given.items():
        np.testing.assert_array_equal(made[name], values, err_msg=name)
    report = json.loads((workplace.folder / ANCESTOR / "inheritance.json").read_text())
    assert (report["source"], report["fraction"]) == ("own weights.safetensors", 1)
    assert report["keypoints"]["inherited"] == list(COCO_KEYPOINTS.names)
    log = (workplace.folder / "logs/tiny/search/gen_000/child_00/seed_ancestor.log").read_text()
    assert "child_00: 100.0 % of the parameters come from a search network" in log

    done = workplace.snakemake("-n", "--forceall")
    planned = jobs(done.stdout + done.stderr)
    assert (planned["seed_ancestor"], planned["initialise"]) == (1, 2), "twins start from scratch"
    # Another file: what was made of the old one is made anew.
    assert "seed_ancestor" not in workplace.snakemake("-n", f"{ANCESTOR}/initial.safetensors").stdout
    donor(workplace.folder / "own weights.safetensors", 0.25)
    done = workplace.snakemake("-n", f"{ANCESTOR}/initial.safetensors")
    assert jobs(done.stdout + done.stderr)["seed_ancestor"] == 1


@pytest.mark.parametrize("place", ["b0.weights.h5", "gs://bucket/b0.weights.h5"])
def test_a_final_network_waits_for_its_file(workplace: Workplace, place: str) -> None:
    config = copy.deepcopy(TINY)
    config["final"]["models"]["seeded"] = {"height": 32, "width": 32, "pretrained": place}
    workplace.configure(config)
    (workplace.folder / "b0.weights.h5").touch()
    target = "results/tiny/models/seeded/inheritance.json"
    # Messages hide what is asked for here.
    shutil.copytree(ROOT / "workflow", workplace.folder / "workflow")
    rules = workplace.folder / "workflow/rules/models.smk"
    rules.write_text(re.sub(r"^ +message:\n.*\n", "", rules.read_text(), flags=re.MULTILINE))
    done = workplace.snakemake("-n", "-p", target, "--snakefile", "workflow/Snakefile")
    assert done.returncode == 0, done.stderr[-3000:]
    planned = done.stdout.partition("rule scale:")[2]
    inputs = re.search(r"^ +input: (.*)$", planned, re.MULTILINE)[1].split(", ")
    assert inputs == ["results/tiny/champion.safetensors", *([] if place.startswith("gs") else [place])]
    assert f'"pretrained":"{place}"' in planned
    assert f"--report {target}" in planned
