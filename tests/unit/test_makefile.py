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


def test_the_environment_behind_a_link_is_never_changed(tmp_path):
    """It may be that of another checkout. What is installed there already is used."""
    other, link = tmp_path / "other", tmp_path / "link"
    (other / "bin").mkdir(parents=True)
    (other / "bin/python").symlink_to(sys.executable)
    link.symlink_to(other)
    before = sorted(path.relative_to(other) for path in other.rglob("*"))
    for accelerator in ("cpu", "tpu"):
        done = make("install", f"ACCELERATOR={accelerator}", f"VENV={link}")
        assert (
            done.returncode != 0 and f"{link} is a link to {other}, perhaps the environment of another" in done.stderr
        )
        assert f"make VENV={other}" in done.stderr
    assert sorted(path.relative_to(other) for path in other.rglob("*")) == before
    (other / ".installed-cpu").touch()
    assert make("install", f"VENV={link}").returncode == 0
    # Nor is one made anew: the link leads to nothing that runs.
    (other / "bin/python").unlink()
    done = make("venv", f"VENV={link}")
    assert done.returncode != 0 and "is a link to" in done.stderr and not (other / "bin/python").exists()


@pytest.mark.parametrize("line", ["experiment: mine", 'experiment: "mine"  # quoted', "experiment:  'mine'"])
def test_the_report_of_any_configuration(tmp_path, line):
    config = tmp_path / "mine.yaml"
    config.write_text(f"seed: 1\n{line}\n")
    done = make("-n", "report", f"CONFIG={config}")
    assert f"--configfile {config} --report results/mine/report.html" in done.stdout
    done = make("-n", "report", f"CONFIG={config}", "BRANCH=small")
    assert "--report results/mine@small/report.html" in done.stdout
    done = make("-n", "report")
    assert "--configfile config/config.yaml --report results/demo/report.html" in done.stdout
