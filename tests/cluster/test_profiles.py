"""Every profile plans a run, with a search and without one."""

import copy

import pytest

from tests.cluster.conftest import need
from tests.workflow.conftest import ROOT, TINY, Workplace
from tests.workflow.test_planning import jobs

PROFILES = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/config.yaml"))


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_plans_a_run(workplace: Workplace, name: str) -> None:
    need()
    done = workplace.snakemake("-n", "--quiet", "rules", profile=f"profiles/{name}")
    assert done.returncode == 0, done.stderr + done.stdout
    planned = jobs(done.stdout + done.stderr)
    assert (planned["train_child"], planned["train_model"], planned["predict"]) == (6, 1, 2)


@pytest.mark.parametrize("name", ["slurm", "slurm-generic", "kubernetes"])
def test_profiles_of_clusters_may_speak_of_rules_that_a_run_does_not_have(workplace: Workplace, name: str) -> None:
    need()
    config = copy.deepcopy(TINY)
    config["search"] = {"enabled": False}
    config["final"]["models"] = {"published": {"network": "evopose2d_xs", "height": 64, "width": 64}}
    workplace.configure(config)
    done = workplace.snakemake("-n", "--quiet", "rules", profile=f"profiles/{name}")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "train_child" not in jobs(done.stdout + done.stderr)
