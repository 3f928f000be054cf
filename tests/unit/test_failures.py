"""Trainings that fail: a loss that is no number, memory that does not suffice, and what a search makes of them."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib import artifacts
from pipeline_lib.config import TrainSettings
from pipeline_lib.errors import ArtifactError, EvoPoseError, TrainingFailed
from pipeline_lib.nets import files
from pipeline_lib.search import population
from pipeline_lib.search.genotype import encode
from pipeline_lib.train import memory, state, trainer
from pipeline_lib.train.model import PoseModel
from tests.unit.conftest import TINY

ROOT = Path(__file__).parents[2]
SETTINGS = TrainSettings(epochs=1, batch=4, batch_norm_momentum=0.9)


def exhaust() -> None:
    """Ask TensorFlow for four terabytes."""
    tf.zeros([2**40])


def train(manifest: Path, initial: Path, folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    may_fail = changes.pop("may_fail", False)
    trainer.train(
        initial=initial,
        train_manifest=manifest,
        val_manifest=manifest,
        weights=folder / "weights.safetensors",
        history=folder / "history.csv",
        settings=TrainSettings(**{**dict(SETTINGS), **changes}),
        seed=3,
        device="cpu",
        title="generation 1, child_02",
        may_fail=may_fail,
    )
    return folder


def score(folder: Path) -> population.Score:
    command = [sys.executable, "scripts/score.py", "--weights", folder / "weights.safetensors"]
    command += ["--history", folder / "history.csv", "--score", folder / "score.json"]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    return population.read(population.Score, folder / "score.json")


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: the next so many trainings ask for more memory than there is."""

    def next_ones(number: int) -> list[int]:
        fit, parts = PoseModel.fit, []

        def hungry(model: PoseModel, *arguments: Any, **options: Any) -> Any:
            parts.append(model.accumulation)
            if len(parts) <= number:
                exhaust()
            return fit(model, *arguments, **options)

        monkeypatch.setattr(PoseModel, "fit", hungry)
        return parts

    return next_ones


def test_what_does_not_fit_is_tried_with_half_as_many_persons_at_once(
    manifest: Path, initial: Path, tmp_path: Path, fails: Any, caplog: pytest.LogCaptureFixture
) -> None:
    parts = fails(1)
    train(manifest, initial, tmp_path / "tried")
    assert parts == [1, 2]
    assert "4 persons at once do not fit into memory (" in caplog.text and "half as many are tried" in caplog.text
    assert not (tmp_path / "tried/.training").exists()
    fails(0)
    train(manifest, initial, tmp_path / "halved", accumulation=2)
    one, other = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("tried", "halved"))
    assert one == other
    assert score(tmp_path / "tried").status == "ok"


def test_a_training_that_died_before_its_weights_were_written_has_its_history(
    manifest: Path, initial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its epochs are done; Snakemake has removed the outputs of the job that failed."""

    def dies(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(files, "save", dies)
        with pytest.raises(RuntimeError, match="killed"):
            train(manifest, initial, tmp_path / "died", epochs=2)
    before = (tmp_path / "died/history.csv").read_bytes()
    (tmp_path / "died/history.csv").unlink()
    train(manifest, initial, tmp_path / "died", epochs=2)
    assert (tmp_path / "died/history.csv").read_bytes() == before and score(tmp_path / "died").status == "ok"


def test_a_training_that_does_not_fit_twice_failed(manifest: Path, initial: Path, tmp_path: Path, fails: Any) -> None:
    fails(2)
    with pytest.raises(
        TrainingFailed, match=r"child_02: out of memory with 2 persons at once \(.*OOM.*\); lower train"
    ):
        train(manifest, initial, tmp_path / "stops")
    assert not (tmp_path / "stops/weights.safetensors").exists()
    # The next process begins where this one ended, and is not refused: there may be more memory now.
    parts = fails(0)
    train(manifest, initial, tmp_path / "stops")
    assert parts == [2]
    fails(2)
    folder = train(manifest, initial, tmp_path / "noted", may_fail=True, evaluate_initial=True)
    np.testing.assert_equal(files.load(folder / "weights.safetensors")[1], files.load(initial)[1])
    found = score(folder)
    assert (found.status, found.loss, found.epoch) == ("failed", None, None)
    assert found.reason.startswith("generation 1, child_02: out of memory with 2 persons at once (")
    assert [row["epoch"] for row in artifacts.read_csv(folder / "history.csv")] == ["0"]
    # Nothing at all was measured.
    fails(2)
    folder = train(manifest, initial, tmp_path / "early", may_fail=True)
    (row,) = artifacts.read_csv(folder / "history.csv")
    assert (row["epoch"], row["step"], row["val_loss"]) == ("0", "0", "nan")
    # A part of one person cannot be halved.
    fails(1)
    with pytest.raises(TrainingFailed, match="out of memory with 1 persons at once"):
        train(manifest, initial, tmp_path / "one", accumulation=4)


def test_a_loss_that_is_no_number_is_a_failure_with_its_reason(manifest: Path, initial: Path, tmp_path: Path) -> None:
    ruin = {"base_rate": 1e30, "epochs": 3}
    found = score(train(manifest, initial, tmp_path / "best", may_fail=True, **ruin))
    assert (found.status, found.loss) == ("failed", None) and found.reason.endswith(" in epoch 1")
    with pytest.raises(TrainingFailed, match=r"lower train\.base_rate"):
        train(manifest, initial, tmp_path / "last", keep="last", **ruin)
    found = score(train(manifest, initial, tmp_path / "last", keep="last", may_fail=True, **ruin))
    assert found.status == "failed" and "lower train.base_rate" in found.reason
    # A user's mistake is an error all the same.
    with pytest.raises(ArtifactError, match="no such file"):
        train(tmp_path / "no.json", initial, tmp_path / "missing", may_fail=True)


def test_signs_of_exhausted_memory() -> None:
    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        exhaust()
    assert memory.exhausted(caught.value) and memory.exhausted(MemoryError())
    # As JAX and CUDA say it, and oneDNN on a CPU.
    for text in (
        "RESOURCE_EXHAUSTED: Attempting to reserve 9.00G at the bottom of memory",
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "Operation received an exception:Status: 1, message: could not create a primitive, in file mkl_conv_ops.cc",
    ):
        assert memory.exhausted(RuntimeError(text))
    assert not memory.exhausted(ValueError("memory of an elephant"))
    assert not memory.exhausted(RuntimeError("Status: 3, message: could not create a primitive"))


def test_other_errors_are_not_tried_again(tmp_path: Path) -> None:
    tried = []

    def attempt(settings: TrainSettings) -> None:
        tried.append(settings)
        raise ValueError("a bug")

    with state.opened(tmp_path / "w", "key") as store:
        with pytest.raises(ValueError, match="a bug"):
            memory.within(attempt, SETTINGS, store, "it")
        assert tried == [SETTINGS] and memory.OUT_OF_MEMORY not in store.attempts


@pytest.mark.parametrize(
    ("batch", "devices", "accumulation", "parts"),
    [(8, 1, 1, 2), (8, 2, 2, 4), (6, 1, 3, 6), (6, 2, 3, None), (5, 1, 1, None)],
)
def test_parts_are_halved_where_that_is_possible(
    batch: int, devices: int, accumulation: int, parts: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(batch=batch, devices=devices, accumulation=accumulation, base_rate=0.5)
    found = memory.halved(settings)
    assert found == (None if parts is None else settings.model_copy(update={"accumulation": parts}))
    monkeypatch.setattr(memory.keras.backend, "backend", lambda: "jax")
    assert memory.halved(settings) is None


def history(*rows: tuple[int, str, str]) -> list[dict[str, str]]:
    return [{"epoch": str(epoch), "loss": loss, "val_loss": val} for epoch, loss, val in rows]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (history((0, "", "9"), (1, "5", "6")), None),
        (history((0, "", "nan"), (1, "5", "6")), None),
        (history((1, "5", "6"), (2, "nan", "6")), "the loss is nan in epoch 2"),
        (history((1, "5", "inf"), (2, "4", "6")), "the validation loss is inf in epoch 1"),
        (history((0, "", "9")), "no epoch came to its end"),
        ([], "no epoch came to its end"),
    ],
)
def test_what_a_history_says(rows: list[dict[str, str]], reason: str | None) -> None:
    assert population.failure(rows) == reason


def a_generation(*reasons: str) -> tuple[population.Children, list[population.Score]]:
    genotype = TINY.genotype
    children = [population.Child(index=index, genotype=genotype, seed=1) for index in range(len(reasons))]
    scores = [
        population.Score(
            genotype=genotype, loss=None if reason else 2.0, epoch=1, parameters=5, multiply_adds=6,
            status="failed" if reason else "ok", reason=reason,
        )
        for reason in reasons
    ]  # fmt: skip
    return population.Children(generation=7, children=children), scores


def test_too_many_failures_stop_the_search_with_a_summary() -> None:
    children, scores = a_generation("", "it diverged", "", "no memory")
    population.check_failures(children, scores, 0.5)
    with pytest.raises(EvoPoseError) as caught:
        population.check_failures(children, scores, 0.49)
    said = str(caught.value)
    assert said.startswith("generation 7: 2 of 4 trainings failed, more than search.max_failed (0.49) allows:\n")
    assert "\n  child_01: it diverged\n  child_03: no memory\n" in said and "run again" in said
    ranked = population.rank(children, scores, [], 5e6, -0.07)
    assert [one.status for one in ranked] == ["ok", "ok", "failed", "failed"]
    rows = population.population_rows(ranked, 2)
    assert [row["reason"] for row in rows] == [None, None, "it diverged", "no memory"]
    assert {row["genotype"] for row in rows} == {encode(TINY.genotype)}
    assert all(row["fitness"] is None or math.isfinite(row["fitness"]) for row in rows)
