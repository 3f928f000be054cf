"""A training that is asked for again after it has ended: what it wrote is put in its place, if it is the same training."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import TrainSettings
from pipeline_lib.train import trainer
from pipeline_lib.train.model import PoseModel

SETTINGS = TrainSettings(epochs=1, batch=4, batch_norm_momentum=0.9)
NAMES = ("weights.safetensors", "history.csv")


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[PoseModel]:
    """The models that were trained."""
    trained: list[PoseModel] = []
    fit = PoseModel.fit

    def noted(model: PoseModel, *arguments: Any, **options: Any) -> Any:
        trained.append(model)
        return fit(model, *arguments, **options)

    monkeypatch.setattr(PoseModel, "fit", noted)
    return trained


def train(manifest: Path, initial: Path, folder: Path, *, seed: int = 3, reuse: bool = True) -> dict[str, bytes]:
    trainer.train(
        initial=initial,
        train_manifest=manifest,
        val_manifest=manifest,
        weights=folder / NAMES[0],
        history=folder / NAMES[1],
        settings=SETTINGS,
        seed=seed,
        device="cpu",
        reuse=reuse,
    )
    return {name: (folder / name).read_bytes() for name in NAMES}


def weights(found: dict[str, bytes]) -> bytes:
    """The history has times."""
    return found[NAMES[0]]


def forget(folder: Path) -> None:
    """What Snakemake does before it runs a job."""
    for name in NAMES:
        (folder / name).unlink()


def test_the_same_training_is_not_trained_again(
    manifest: Path, initial: Path, tmp_path: Path, fits: list[PoseModel], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = train(manifest, initial, tmp_path)
    assert len(fits) == 1
    (kept,) = tmp_path.glob(".training/*/*")
    assert kept.name == "finished", "no state is left"
    for name in NAMES:
        assert (tmp_path / name).stat().st_ino == (kept / name).stat().st_ino, "it takes no room"
        os.utime(tmp_path / name, (1, 1))
    for _ in range(2):
        forget(tmp_path)
        assert train(manifest, initial, tmp_path) == first
        assert all((tmp_path / name).stat().st_mtime > 10**9 for name in NAMES), "Snakemake would make them again"
    assert len(fits) == 1
    assert "the same was trained before; its weights and history are taken" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((".training", *NAMES))


def test_another_training_is_trained(manifest: Path, initial: Path, tmp_path: Path, fits: list[PoseModel]) -> None:
    first = weights(train(manifest, initial, tmp_path))
    assert weights(train(manifest, initial, tmp_path, seed=4)) != first
    assert len(fits) == 2
    # Of the one before nothing is left.
    assert weights(train(manifest, initial, tmp_path)) == first
    assert len(fits) == 3
    assert weights(train(manifest, initial, tmp_path, reuse=False)) == first
    assert len(fits) == 4 and not (tmp_path / ".training").exists()


def test_nothing_damaged_is_put_back(manifest: Path, initial: Path, tmp_path: Path, fits: list[PoseModel]) -> None:
    first = weights(train(manifest, initial, tmp_path))
    # In its own place: that is the same file.
    with (tmp_path / NAMES[0]).open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"?")
    forget(tmp_path)
    assert weights(train(manifest, initial, tmp_path)) == first
    assert len(fits) == 2
    for damage in ("{", "{}", "[]", None):
        (checksums,) = tmp_path.glob(".training/*/finished/sha256.json")
        checksums.unlink() if damage is None else checksums.write_text(damage)
        forget(tmp_path)
        assert weights(train(manifest, initial, tmp_path)) == first
    assert len(fits) == 6


def test_a_file_system_without_links(
    manifest: Path, initial: Path, tmp_path: Path, fits: list[PoseModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    first = train(manifest, initial, tmp_path)
    forget(tmp_path)
    assert train(manifest, initial, tmp_path) == first
    assert len(fits) == 1
