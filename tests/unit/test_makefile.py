"""The Makefile where no Python is on the path, and the report of any configuration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="there is no make")


def make(*arguments, path=None):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PYTHON"))}
    if path is not None:
        environment["PATH"] = str(path)
    return subprocess.run(
        [MAKE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )  # fmt: skip


@pytest.fixture
def without_python(tmp_path):
    """A path with what the Makefile's lines call, but no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sed", "true"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def test_an_environment_that_is_there_needs_no_other_python(tmp_path, without_python):
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").symlink_to(sys.executable)
    done = make("venv", f"VENV={environment}", path=without_python)
    assert done.returncode == 0, done.stderr
    # One that was asked for is looked at.
    done = make("venv", f"VENV={environment}", "PYTHON=/nowhere/python3.12", path=without_python)
    assert done.returncode != 0 and "PYTHON=/nowhere/python3.12 does not run" in done.stderr


def test_without_any_python_it_is_said(tmp_path, without_python):
    done = make("venv", f"VENV={tmp_path}/venv", path=without_python)
    assert done.returncode != 0 and "No Python 3.11, 3.12 or 3.13 found" in done.stderr


@pytest.mark.parametrize("line", ["experiment: mine", 'experiment: "mine"  # quoted', "experiment:  'mine'"])
def test_the_report_of_any_configuration(tmp_path, line):
    config = tmp_path / "mine.yaml"
    config.write_text(f"seed: 1\n{line}\n")
    done = make("-n", "report", f"CONFIG={config}")
    assert f"--configfile {config} --report results/mine/report.html" in done.stdout
    done = make("-n", "report")
    assert "--configfile config/config.yaml --report results/demo/report.html" in done.stdout
