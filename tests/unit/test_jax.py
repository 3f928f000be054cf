"""Trainings under KERAS_BACKEND=jax, each in a process of its own, beside the same ones of TensorFlow."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, TrainSettings
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import count_network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None, reason="needs JAX (make install ACCELERATOR=jax VENV=.venv-jax)"
    ),
]
SETTINGS = TrainSettings(
    epochs=2, batch=4, l2=0.01, batch_norm_momentum=0.9, base_rate=0.001, stochastic_depth=0.0, keep="last"
)


def python(backend: str, *command: object, devices: int = 1) -> subprocess.CompletedProcess:
    """Run Python on `devices` virtual CPU devices of `backend`."""
    environment = os.environ | {"PYTHONPATH": ".", "KERAS_BACKEND": backend}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, check=False
    )


def train(
    backend: str, manifest: Path, initial: Path, folder: Path, devices: int = 1, **changes: object
) -> tuple[dict[str, np.ndarray], list[dict[str, str]]]:
    """The weights and the history of a training."""
    settings = TrainSettings(**{**dict(SETTINGS), "devices": devices, **changes})
    weights, history = folder / "weights.safetensors", folder / "history.csv"
    command = ["scripts/train.py", "--initial", initial, "--train-manifest", manifest, "--val-manifest", manifest]
    command += ["--settings", settings.model_dump_json(), "--seed", 3, "--device", "cpu"]
    done = python(backend, *command, "--weights", weights, "--history", history, devices=devices)
    assert done.returncode == 0, done.stderr[-3000:]
    with history.open(newline="") as stream:
        return files.load(weights)[1], list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def one(manifest: Path, initial: Path, tmp_path_factory: pytest.TempPathFactory):
    """The training on one device of JAX, whose step sees two batches one after the other."""
    folder = tmp_path_factory.mktemp("one")
    return train("jax", manifest, initial, folder, evaluate_initial=True)


def assert_same(found, wanted, before: Path, rel: float) -> None:
    """The same losses and rates, and weights that differ by less than `rel` of how far training moved them."""
    (weights, history), (others, rows) = found, wanted
    assert [row["step"] for row in history] == [row["step"] for row in rows]
    for row, other in zip(history, rows, strict=True):
        for column in ("loss", "data_loss", "val_loss", "learning_rate"):
            assert bool(row[column]) == bool(other[column])
            if row[column]:
                assert float(row[column]) == pytest.approx(float(other[column]), rel=rel), column
    start = files.load(before)[1]
    assert weights.keys() == others.keys()
    moved = max(np.abs(others[name] - start[name]).max() for name in others)
    assert moved > 1e-3
    for name in others:
        np.testing.assert_allclose(weights[name], others[name], rtol=0.02, atol=0.02 * moved, err_msg=name)


def test_losses_are_those_of_tensorflow(one, manifest: Path, initial: Path, tmp_path: Path) -> None:
    expected = train("tensorflow", manifest, initial, tmp_path, evaluate_initial=True)
    assert_same(one, expected, initial, 1e-4)
    assert [row["step"] for row in one[1]] == ["0", "2", "4"]
    assert {(row["device"], row["devices"]) for row in one[1]} == {("CPU", "1")}


def test_two_devices_train_as_one(one, manifest: Path, initial: Path, tmp_path: Path) -> None:
    """Batch normalisation included, whose statistics are those of the whole batch."""
    weights, rows = train("jax", manifest, initial, tmp_path, devices=2, evaluate_initial=True)
    assert {(row["device"], row["devices"]) for row in rows} == {("CPU", "2")}
    assert_same((weights, rows), one, initial, 1e-4)


def test_several_steps_in_an_execution_and_the_same_bytes(one, manifest: Path, initial: Path, tmp_path: Path) -> None:
    weights, rows = train("jax", manifest, initial, tmp_path, steps_per_execution=2, evaluate_initial=True)
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert all(np.array_equal(weights[name], one[0][name]) for name in one[0])
    assert [row["val_loss"] for row in rows] == [row["val_loss"] for row in one[1]]


def test_bfloat16_and_stochastic_depth(one, manifest: Path, initial: Path, tmp_path: Path) -> None:
    weights, rows = train(
        "jax", manifest, initial, tmp_path, precision="bfloat16", stochastic_depth=0.2, evaluate_initial=True
    )
    for row, other in zip(rows, one[1], strict=True):
        assert float(row["val_loss"]) == pytest.approx(float(other["val_loss"]), rel=0.02)
    assert rows[-1]["loss"] != one[1][-1]["loss"]
    assert all(array.dtype == np.float32 for array in weights.values())


def test_predictions_are_those_of_tensorflow(one, manifest: Path, initial: Path, tmp_path: Path) -> None:
    architecture = files.load(initial)[0]
    files.save(tmp_path / "trained.safetensors", architecture, one[0], COCO_KEYPOINTS.names)
    found = {}
    for backend in ("tensorflow", "jax"):
        results = tmp_path / f"{backend}.json"
        command = ["scripts/predict.py", "--weights", tmp_path / "trained.safetensors", "--manifest", manifest]
        done = python(backend, *command, "--device", "cpu", "--results", results)
        assert done.returncode == 0, done.stderr[-3000:]
        found[backend] = json.loads(results.read_text())
    names = ("image_id", "category_id")
    wanted = found["tensorflow"]
    assert wanted and [[one[name] for name in names] for one in found["jax"]] == [
        [one[name] for name in names] for one in wanted
    ]
    for name in ("keypoints", "score"):
        np.testing.assert_allclose([one[name] for one in found["jax"]], [one[name] for one in wanted], atol=1e-3)


def test_tensorflow_reads_and_jax_computes(manifest: Path, initial: Path, tmp_path: Path) -> None:
    """TensorFlow gets no accelerator, compiles nothing and differentiates nothing; no step is traced a second time."""
    program = f"""
        import jax, tensorflow as tf
        hidden = []
        tf.config.set_visible_devices = lambda *visible: hidden.append(visible)
        def forbidden(*_, **__):
            raise AssertionError("TensorFlow computes")
        tf.function = tf.GradientTape = tf.while_loop = forbidden
        from pipeline_lib.config import TrainSettings
        from pipeline_lib.train import model, trainer
        traced, compute = [], model.PoseModel.compute_loss
        def counted(self, x, y, y_pred, sample_weight=None, training=True):
            assert not isinstance(y_pred, tf.Tensor)
            traced.append((training, isinstance(y_pred, jax.core.Tracer)))
            return compute(self, x, y, y_pred, sample_weight, training)
        model.PoseModel.compute_loss = counted
        numbers = []
        for epochs in (1, 3):
            traced.clear()
            trainer.train(
                initial={str(initial)!r}, train_manifest={str(manifest)!r}, val_manifest={str(manifest)!r},
                weights={str(tmp_path / "w.safetensors")!r}, history={str(tmp_path / "h.csv")!r},
                settings=TrainSettings(epochs=epochs, batch=4, evaluate_initial=True), seed=1, device="cpu",
            )
            assert all(tracer for _, tracer in traced), traced
            numbers.append(sorted(traced))
        assert numbers[0] == numbers[1], numbers
        assert {{training for training, _ in numbers[0]}} == {{True, False}}
        assert hidden == [([], "GPU"), ([], "TPU")] * 2, hidden
    """
    done = python("jax", "-c", textwrap.dedent(program))
    assert done.returncode == 0, done.stderr[-3000:]


def test_devices_that_jax_does_not_have(tmp_path: Path) -> None:
    """A machine with a GPU's file, and no driver for JAX: an error when it was asked for, else the CPU."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    program = f"""
        from pathlib import Path
        from pipeline_lib import devices, hardware
        from pipeline_lib.errors import EvoPoseError
        hardware.ROOT = Path({str(tmp_path)!r})
        def message(device, count=1):
            try:
                devices.strategy(device, count)
            except EvoPoseError as error:
                return str(error)
        assert "device gpu: there is a GPU, but JAX cannot use it" in message("gpu"), message("gpu")
        chosen = devices.strategy("auto")
        assert devices.name(chosen) == "CPU" and devices.count(chosen) == 1
        assert "3 devices asked for (train.devices), but JAX sees 2 of kind cpu" in message("cpu", 3)
        assert devices.count(devices.strategy("cpu", 2)) == 2
        (hardware.ROOT / "dev/accel0").touch()
        assert devices.available()[0] == "tpu", "libtpu is installed"
    """
    done = python("jax", "-c", textwrap.dedent(program), devices=2)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_step_on_the_accelerator_is_measured(tmp_path: Path) -> None:
    """A small network on this CPU; that of the parts of the table is the network's own count."""
    rows = [[1, 3, 1, stride] for stride in (1, 2, 2, 2, 1, 2, 1)]
    code = f"""
        from tests.benchmarks import __main__ as command, device
        from pipeline_lib import cli
        device.NETWORKS = (({rows}, 32, 32),)
        device.SIDE["cpu"] = 64
        cli.run(command.main, command.parser())
    """
    report = tmp_path / "bench.json"
    options = ("device", "--batch", 2, "--seconds", 0.3, "--json", report)
    done = python("jax", "-c", textwrap.dedent(code), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(report.read_text())
    assert found["settings"]["deterministic"] is True
    (title,) = {row["benchmark"] for row in found["rows"]}
    assert title == "training step on CPU, bfloat16, batch 2"
    values = {row["variant"]: row["value"] for row in found["rows"]}
    assert all(value > 0 for value in values.values())
    # Forward and backward pass take three times the forward one, each multiply-add is two operations.
    counted = count_network(registry.architecture(rows, 32, 32, 17))["multiply_adds"]
    share = values[f"{rows} 32x32"] * 3 * 2 * counted / (1e12 * values["product of bfloat16 matrices"])
    assert values[f"{rows} 32x32, of the peak"] == pytest.approx(100 * share)
