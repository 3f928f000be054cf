"""What a killed Snakemake has left locked is freed, what a living one has locked is not; its jobs end with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_lib import cli, controller, plan

ROOT = Path(__file__).parents[2]
CLAIMING = """
import sys, time
from pathlib import Path
from pipeline_lib import controller
controller.claim(Path(sys.argv[1]))
print("claimed", flush=True)
time.sleep(60)
"""


def claimer(folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", CLAIMING, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"claimed\n"
    return process


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".snakemake/locks").iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    for name in ("0.input.lock", "0.output.lock"):
        (tmp_path / ".snakemake/locks" / name).write_text("results/e/summary.md\n")
    return tmp_path


def test_locks_of_a_killed_snakemake_are_removed_and_those_of_a_living_one_are_not(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = claimer(folder)
    try:
        assert locks(folder) == []
        (folder / ".snakemake/locks/0.input.lock").write_text("its own\n")
        with claimer(folder) as second:
            second.kill()
        assert locks(folder) == ["0.input.lock"]
    finally:
        first.kill()
        first.wait()
    controller.claim(folder)
    assert locks(folder) == []
    assert "a Snakemake that was killed has left its files locked" in caplog.text
    assert [path.name.rpartition("_")[2] for path in (folder / controller.CLAIMS).iterdir()] == [f"{os.getpid()}.lock"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system says nothing of a parent's end")
@pytest.mark.parametrize("of_a_rule", [True, False])
def test_a_job_ends_with_its_snakemake_and_a_program_that_was_started_by_hand_does_not(
    tmp_path: Path, of_a_rule: bool
) -> None:
    program = tmp_path / "job.py"
    program.write_text(
        "import argparse, os, signal, sys, time\nfrom pathlib import Path\nfrom pipeline_lib import cli\n"
        "def main(arguments):\n"
        "    def note(*_):\n        Path('noted').touch()\n        sys.exit(0)\n"
        "    signal.signal(signal.SIGTERM, note)\n    Path('pid').write_text(str(os.getpid()))\n    time.sleep(60)\n"
        "cli.run(main, argparse.ArgumentParser())\n"
    )
    starting = f"import subprocess\nsubprocess.run(['{sys.executable}', 'job.py'])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({cli.CONSOLE_VARIABLE: "2"} if of_a_rule else {})
    with subprocess.Popen([sys.executable, "-c", starting], cwd=tmp_path, env=environment) as parent:
        _until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        parent.kill()
    job = int((tmp_path / "pid").read_text())
    try:
        if of_a_rule:
            _until((tmp_path / "noted").exists)
        else:
            time.sleep(0.5)
            os.kill(job, 0)  # it is still there
            assert not (tmp_path / "noted").exists()
    finally:
        if not of_a_rule:
            os.kill(job, signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system says nothing of a parent's end")
@pytest.mark.parametrize("killed", [True, False])
def test_a_job_that_was_still_starting_when_its_snakemake_was_killed_does_nothing(tmp_path: Path, killed: bool) -> None:
    (tmp_path / "job.py").write_text(
        "import argparse, time\nfrom pathlib import Path\nfrom pipeline_lib import cli\n"
        "Path('starting').touch()\n"
        "while not Path('go').exists():\n    time.sleep(0.05)\n"
        "try:\n"
        "    cli.run(lambda arguments: Path('ran').touch(), argparse.ArgumentParser())\n"
        "    Path('ended').write_text('0')\n"
        "except SystemExit as error:\n"
        "    Path('ended').write_text(str(error.code))\n"
    )
    command = plan.shell_prefix(ROOT, conda=False).format() + "exec python job.py"
    starting = f"import subprocess\nsubprocess.run(['bash', '-c', {command!r}])"
    with subprocess.Popen([sys.executable, "-c", starting], cwd=tmp_path) as parent:
        _until((tmp_path / "starting").exists)
        if killed:
            parent.kill()
            parent.wait()
        (tmp_path / "go").touch()
        _until(lambda: (tmp_path / "ended").exists() and (tmp_path / "ended").read_text())
    assert (tmp_path / "ended").read_text() == ("143" if killed else "0")
    assert (tmp_path / "ran").exists() != killed


def _until(condition: object) -> None:
    for _ in range(300):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 15 s")
