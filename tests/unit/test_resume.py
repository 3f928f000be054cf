"""Trainings that are interrupted and go on: the same bytes as without."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib import artifacts
from pipeline_lib.config import Augmentation, TrainSettings
from pipeline_lib.errors import EvoPoseError, Preempted
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import initial_weights
from pipeline_lib.train import state, trainer
from pipeline_lib.train.progress import Progress
from tests.unit.conftest import TINY

ROOT = Path(__file__).parents[2]
EPOCHS, STEPS = 3, 2  # of five persons
SETTINGS = TrainSettings(
    epochs=EPOCHS,
    batch=5,
    l2=0.01,
    batch_norm_momentum=0.9,
    base_rate=0.01,
    stochastic_depth=0.5,
    evaluate_initial=True,
    augmentation=Augmentation(),
)
DEEP = TINY.__class__(**{**TINY.__dict__, "genotype": [[2, 3, 1, 1], *TINY.genotype[1:]]})


class Place:
    """A folder with initial weights, and the training that starts from them."""

    def __init__(self, folder: Path, records: Path, settings: TrainSettings = SETTINGS) -> None:
        self.folder, self.records, self.settings = folder, records, settings
        self.folder.mkdir(exist_ok=True)
        files.save(self.folder / "initial.safetensors", DEEP, initial_weights(DEEP, 1))

    def train(self, **changed: object) -> None:
        options: dict = {
            "initial": self.folder / "initial.safetensors",
            "train_manifest": self.records,
            "val_manifest": self.records,
            "weights": self.folder / "weights.safetensors",
            "history": self.folder / "history.csv",
            "settings": self.settings,
            "seed": 3,
            "device": "cpu",
        }
        trainer.train(**{**options, **changed})

    @property
    def states(self) -> list[str]:
        return sorted(path.name for path in (self.folder / state.FOLDER).glob("*/0*"))

    def result(self) -> tuple[bytes, list[dict[str, str]]]:
        """The weights' bytes, and the history but for its times."""
        rows = artifacts.read_csv(self.folder / "history.csv")
        timeless = [{key: row[key] for key in row if key not in ("seconds", "images_per_second")} for row in rows]
        return (self.folder / "weights.safetensors").read_bytes(), timeless


@pytest.fixture(scope="module")
def uninterrupted(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[dict[str, str]]]:
    place = Place(tmp_path_factory.mktemp("whole"), manifest)
    place.train()
    return place.result()


def ask_at(monkeypatch: pytest.MonkeyPatch, where: str, place: tuple[int, int]) -> None:
    """Have this process get SIGTERM once, in the callback `where` of (epoch, batch)."""
    known = getattr(Progress, where)
    left = [place]

    def called(self: Progress, batch: int, logs: object = None) -> None:
        known(self, batch, logs)
        if left == [(self._epoch, batch)]:
            left.clear()
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Progress, where, called)


@pytest.mark.slow
@pytest.mark.parametrize(
    "where, place, saved",
    [
        ("on_train_batch_end", (0, 0), "000000_000001"),
        ("on_train_batch_end", (1, 0), "000001_000001"),
        ("on_train_batch_end", (2, 1), "000002_000002"),
        ("on_test_batch_end", (1, 1), "000001_000002"),
        ("on_epoch_end", (1, 1), "000002_000000"),
    ],
)
def test_sigterm_ends_at_the_step_and_the_next_run_gives_the_same_bytes(
    where,
    place,
    saved,
    uninterrupted,
    manifest,
    tmp_path,
    monkeypatch,
):
    trained = Place(tmp_path, manifest)
    ask_at(monkeypatch, where, place)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="the next run goes on"):
        trained.train()
    assert signal.getsignal(signal.SIGTERM) is before
    assert trained.states[-1] == saved
    assert not (tmp_path / "weights.safetensors").exists()
    trained.train()
    assert trained.result() == uninterrupted
    assert not (tmp_path / state.FOLDER).exists()


@pytest.mark.slow
def test_a_killed_training_goes_on_from_the_last_epoch_and_gives_the_same_bytes(manifest, tmp_path):
    """All in processes of their own: in that of the tests TensorFlow may have more threads, which gives other bytes."""

    settings = SETTINGS.model_copy(update={"epochs": 30})  # some time is left to kill it in

    def command(folder: Path) -> list[str]:
        return [
            *(sys.executable, "scripts/train.py", "--initial", str(folder / "initial.safetensors")),
            *("--train-manifest", str(manifest), "--val-manifest", str(manifest), "--seed", "3", "--device", "cpu"),
            *("--settings", settings.model_dump_json(), "--weights", str(folder / "weights.safetensors")),
            *("--history", str(folder / "history.csv")),
        ]

    whole, trained = Place(tmp_path / "whole", manifest), Place(tmp_path / "killed", manifest)
    subprocess.run(command(whole.folder), cwd=ROOT, capture_output=True, check=True)
    with subprocess.Popen(command(trained.folder), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not trained.states:
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    saved = trained.states[-1]
    assert "000001_000000" <= saved < "000030_000000"
    done = subprocess.run(command(trained.folder), cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"goes on after {int(saved[:6])} epochs and 0 steps" in done.stderr
    assert trained.result() == whole.result()
    assert not (trained.folder / state.FOLDER).exists()


@pytest.fixture
def store(tmp_path):
    with state.opened(tmp_path / "weights.safetensors", "key") as opened:
        yield opened


def a_state(epoch: int, step: int = 0, **options) -> state.State:
    return state.State(epoch, step, {"model/00000": np.full(3, epoch + step / 10, np.float32)}, **options)


def test_a_state_comes_back_as_it_was_saved(store):
    best = {"stem/kernel": np.arange(4, dtype=np.float32)}
    rows = [{"epoch": 1, "val_loss": 2.5}, {"epoch": 2, "val_loss": float("nan")}]
    store.save(a_state(2, 7, best=best, rows=rows, values={"best_loss": float("inf"), "ended": False}))
    found = store.load()
    assert (found.epoch, found.step, found.values) == (2, 7, {"best_loss": float("inf"), "ended": False})
    assert found.rows[0] == rows[0] and np.isnan(found.rows[1]["val_loss"])
    np.testing.assert_array_equal(found.variables["model/00000"], np.full(3, 2.7, np.float32))
    np.testing.assert_array_equal(found.best["stem/kernel"], best["stem/kernel"])


def test_nothing_saved_is_nothing_to_go_on_from(store):
    assert store.load() is None


def test_the_two_newest_states_are_kept_in_the_order_of_training(store):
    for epoch, step in ((0, 3), (1, 0), (1, 9), (9, 0), (10, 0)):
        store.save(a_state(epoch, step))
    assert sorted(path.name for path in store.folder.iterdir() if path.is_dir()) == ["000009_000000", "000010_000000"]
    assert store.load().epoch == 10


@pytest.mark.parametrize("name", ["state.json", "variables.safetensors", "best.safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_of_a_damaged_state_the_one_before_is_taken(store, name, damage, caplog):
    best = {"stem/kernel": np.arange(4, dtype=np.float32)}
    store.save(a_state(1, best=best))
    store.save(a_state(2, best=best))
    path = store.folder / "000002_000000" / name
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.unlink()
    found = store.load()
    assert found.epoch == 1
    assert "000002_000000: a damaged state" in caplog.text
    assert not path.parent.exists()


def test_an_unfinished_state_is_none(store):
    store.save(a_state(1))
    (store.folder / ".000002_000000.tmp").mkdir()
    assert store.load().epoch == 1
    store.save(a_state(2))
    assert store.load().epoch == 2


def test_a_state_that_cannot_be_written_is_an_error_and_the_one_before_stays(store, monkeypatch):
    store.save(a_state(1))

    def full(path, tensors, metadata=None):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "save_weights", full)
    with pytest.raises(EvoPoseError, match=r"state of the training cannot be written.*No space left.*make room"):
        store.save(a_state(2))
    assert store.load().epoch == 1
    assert [path.name for path in store.folder.iterdir()] == ["000001_000000"]


def test_a_second_writer_is_refused_and_told_who_the_first_is(store, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "WAIT", 0.3)
    with (
        pytest.raises(EvoPoseError, match=f"already being trained by process {os.getpid()} on "),
        state.opened(tmp_path / "weights.safetensors", "key"),
    ):
        pass


def test_a_second_writer_waits_for_the_first_one_to_end(tmp_path, caplog):
    """It may be saving its state."""
    caplog.set_level(logging.INFO)
    code = (
        "import sys, time\nfrom pipeline_lib.train import state\n"
        "with state.opened(sys.argv[1], 'key'):\n    print('held', flush=True)\n    time.sleep(1)\n"
    )
    weights = str(tmp_path / "weights.safetensors")
    with subprocess.Popen([sys.executable, "-c", code, weights], cwd=ROOT, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        with state.opened(weights, "key"):
            assert first.wait(5) == 0
    assert f"being trained by process {first.pid} on " in caplog.text


def test_the_lock_ends_with_its_process(tmp_path):
    code = (
        "import os, sys\nfrom pipeline_lib.train import state\n"
        "with state.opened(sys.argv[1], 'key'):\n    os.kill(os.getpid(), 9)\n"
    )
    weights = str(tmp_path / "weights.safetensors")
    assert subprocess.run([sys.executable, "-c", code, weights], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    with state.opened(weights, "key") as opened:
        assert opened.load() is None


def test_states_of_another_training_are_removed_and_never_taken(tmp_path, caplog):
    weights = tmp_path / "weights.safetensors"
    caplog.set_level("INFO")
    with state.opened(weights, "first") as opened:
        opened.save(a_state(1))
    with state.opened(weights, "second") as opened:
        assert opened.load() is None
        assert [path.name for path in (tmp_path / state.FOLDER).iterdir() if path.is_dir()] == ["second"]
    assert "first: left by another training" in caplog.text


def test_attempts_are_counted_by_kind_over_processes(tmp_path):
    weights = tmp_path / "weights.safetensors"
    for kinds in (("started", "preempted"), ("started",)):
        with state.opened(weights, "key") as opened:
            for kind in kinds:
                opened.count(kind)
    with state.opened(weights, "key") as opened:
        assert opened.attempts == {"started": 2, "preempted": 1}
    for damaged in ("{", "[]", '{"started": null}', '{"started": 1e999}'):
        (opened.folder / "attempts.json").write_text(damaged)
        with state.opened(weights, "key") as opened:
            assert opened.attempts == {}


def test_the_key_depends_on_every_input_and_on_the_code(tmp_path, monkeypatch):
    inputs = {"files": ["a", "b", "c"], "settings": {"epochs": 1}, "seed": 1}
    same = state.key(inputs)
    assert same == state.key(dict(reversed(inputs.items())))
    assert same != state.key({**inputs, "seed": 2})
    assert same != state.key({**inputs, "files": ["a", "c", "b"]})
    assert same != state.key({**inputs, "settings": {"epochs": 2}})
    monkeypatch.setattr(state, "_code", lambda: "another")
    assert same != state.key(inputs)
