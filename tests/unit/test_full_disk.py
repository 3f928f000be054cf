"""A training on a disk that is full, and on the same one with more room: a file system of its own, of a few kilobytes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.config import TrainSettings
from pipeline_lib.train import state, trainer

ROOT = Path(__file__).parents[2]
SETTINGS = TrainSettings(epochs=2, batch=4, batch_norm_momentum=0.9)
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


def training(manifest: Path, initial: Path, folder: Path | str) -> list[str]:
    command = [sys.executable, "scripts/train.py", "--initial", initial, "--train-manifest", manifest]
    command += ["--val-manifest", manifest, "--settings", SETTINGS.model_dump_json(), "--seed", 3, "--device", "cpu"]
    return [*map(str, command), "--weights", f"{folder}/weights.safetensors", "--history", f"{folder}/history.csv"]


def state_size(manifest: Path, initial: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that a state takes, in whole pages."""
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(state.Store, "remove", lambda store: None)
        trainer.train(
            initial=initial,
            train_manifest=manifest,
            val_manifest=manifest,
            weights=folder / "weights.safetensors",
            history=folder / "history.csv",
            settings=SETTINGS,
            seed=3,
            device="cpu",
        )
    (first, *_) = sorted(folder.glob(".training/*/0*"))
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(-(-path.stat().st_size // page) * page for path in first.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not _can_mount(), reason="this system lets nobody mount a file system of his own")
@pytest.mark.parametrize("states", [0, 1])
def test_a_training_goes_on_where_the_disk_was_full(
    manifest: Path, initial: Path, tmp_path: Path, states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at once, or when there is room for the first state only."""
    kilobytes = 4 + int(states * 1.5 * state_size(manifest, initial, tmp_path / "measured", monkeypatch)) // 1024
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    (tmp_path / "plain").mkdir()
    subprocess.run(
        training(manifest, initial, tmp_path / "plain"), cwd=ROOT, env=environment, capture_output=True, check=True
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size={kilobytes}k tmpfs {disk} || exit 90
        "$@" 2> {tmp_path}/first.txt; echo $? > {tmp_path}/code
        find {disk} -name '*.tmp' > {tmp_path}/left
        test ! -e {disk}/weights.safetensors || exit 91
        mount -o remount,size=50m {disk} || exit 92
        "$@" 2> {tmp_path}/second.txt || exit 93
        cp -r {disk}/. {tmp_path}/copied
    """
    arguments = training(manifest, initial, disk)
    done = subprocess.run(
        [*NAMESPACE, "bash", "-c", script, "bash", *arguments], cwd=ROOT, env=environment, check=False
    )
    first = (tmp_path / "first.txt").read_text()
    assert done.returncode == 0, (done.returncode, first[-2000:])
    assert (tmp_path / "code").read_text() == "2\n" and "Traceback" not in first
    assert "No space left on device" in first and "make room" in first
    assert not (tmp_path / "left").read_text()
    copied, plain = (tmp_path / name / "weights.safetensors" for name in ("copied", "plain"))
    assert copied.read_bytes() == plain.read_bytes()
    assert not (tmp_path / "copied/.training").exists()
    assert ("goes on after 1 epochs" in (tmp_path / "second.txt").read_text()) is bool(states)
