"""Whole trainings of a search network on a handful of pictures."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline_lib import artifacts, devices
from pipeline_lib.config import COCO_KEYPOINTS, TrainSettings
from pipeline_lib.data import records
from pipeline_lib.errors import ArtifactError, ConfigError, DataError
from pipeline_lib.nets import build_architecture, files
from pipeline_lib.nets.registry import Published
from pipeline_lib.nets.spec import initial_weights, tensors
from pipeline_lib.train import trainer
from pipeline_lib.train.model import PoseModel
from scripts import train as program
from tests.unit import restated
from tests.unit.conftest import PERSONS, TINY

SETTINGS = TrainSettings(epochs=2, batch=4, l2=0.01, batch_norm_momentum=0.9, base_rate=0.01, evaluate_initial=True)


def run(manifest: Path, initial: Path, folder: Path, **changes: object) -> tuple[dict, list[dict[str, str]]]:
    seed = changes.pop("seed", 3)
    trainer.train(
        initial=initial,
        train_manifest=manifest,
        val_manifest=manifest,
        weights=folder / "weights.safetensors",
        history=folder / "history.csv",
        settings=TrainSettings(**{**dict(SETTINGS), **changes}),
        seed=seed,
        device="cpu",
    )
    with (folder / "history.csv").open(newline="") as stream:
        return files.load(folder / "weights.safetensors")[1], list(csv.DictReader(stream))


def restated_validation(manifest: Path, weights: dict, sigma: float) -> float:
    """The mean loss of all persons in NumPy, one person at a time, by a network of its own."""
    network = build_architecture(TINY, weights=weights)
    losses = []
    data = records.dataset(records.read_manifest(manifest), height=32, width=32, batch=1)
    for images, keypoints, weight in data.as_numpy_iterator():
        assert weight == 1
        pixels = (images / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        predicted = keras.ops.convert_to_numpy(network(pixels.astype("f4"), training=False))
        target = restated.heatmaps(keypoints, (32, 32), predicted.shape[1:3], sigma)
        losses.append((((predicted - target) ** 2) * (keypoints[:, :, 2] > 0)[:, None, None, :]).mean())
    assert len(losses) == PERSONS
    return float(np.mean(losses))


def test_history_and_losses(manifest: Path, initial: Path, tmp_path: Path) -> None:
    weights, history = run(manifest, initial, tmp_path, keep="last")
    assert files.load_keypoints(tmp_path / "weights.safetensors") == COCO_KEYPOINTS.names
    assert [row["epoch"] for row in history] == ["0", "1", "2"]
    assert [row["step"] for row in history] == ["0", "2", "4"]  # 11 persons, batches of 4
    sigma = 2.0 * TINY.output_size[0] / 64
    assert float(history[0]["val_loss"]) == pytest.approx(
        restated_validation(manifest, files.load(initial)[1], sigma), rel=1e-4
    )
    assert float(history[-1]["val_loss"]) == pytest.approx(restated_validation(manifest, weights, sigma), rel=1e-4)
    kernels = [t.name for t in tensors(TINY) if t.kind in ("conv", "depthwise", "tconv")]
    penalty = [
        0.01 * sum(float((w[k].astype("f8") ** 2).sum()) for k in kernels) for w in (files.load(initial)[1], weights)
    ]
    for row in history[1:]:
        measured = float(row["loss"]) - float(row["data_loss"])
        assert min(penalty) * 0.9 < measured < max(penalty) * 1.1, "L2 is in the training loss, once"
    assert float(history[-1]["learning_rate"]) < 0.01
    assert all(row["device"] and row["devices"] == "1" for row in history)


def test_the_best_epoch_is_kept_and_the_start_is_none(manifest: Path, initial: Path, tmp_path: Path) -> None:
    weights, history = run(manifest, initial, tmp_path, base_rate=3.0, scale_rate=False, epochs=3)
    losses = [float(row["val_loss"]) for row in history]
    assert losses[0] < min(losses[1:]), "the rate is meant to be ruinous"
    sigma = 2.0 * TINY.output_size[0] / 64
    assert restated_validation(manifest, weights, sigma) == pytest.approx(min(losses[1:]), rel=1e-3)


def test_two_devices_measure_what_one_does(manifest: Path, initial: Path, tmp_path: Path) -> None:
    program = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pipeline_lib import devices
from pipeline_lib.config import COCO_KEYPOINTS, TrainSettings
from pipeline_lib.data import records
from pipeline_lib.nets import build_architecture, files
from pipeline_lib.train import state, trainer
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
architecture, weights = files.load({str(initial)!r})
with strategy.scope():
    network = build_architecture(architecture, weights=weights, l2=0.01)
data = records.read_manifest({str(manifest)!r})
settings = TrainSettings(epochs=1, batch=4, evaluate_initial=True, devices=2)
with state.opened({str(tmp_path / "two.csv")!r}, "key") as store:
    trainer.fit(network, data, data, settings, 3, {str(tmp_path / "two.csv")!r}, strategy, store=store)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "two.csv").open(newline="") as stream:
        measured = float(next(csv.DictReader(stream))["val_loss"])
    sigma = 2.0 * TINY.output_size[0] / 64
    assert measured == pytest.approx(restated_validation(manifest, files.load(initial)[1], sigma), rel=1e-4)


def test_batches_are_copied_ahead_to_the_one_gpu(manifest: Path, initial: Path, tmp_path: Path) -> None:
    """A second virtual CPU stands for the GPU: the batches lie there before a step asks for them, and are the same."""
    program = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pipeline_lib import devices
from pipeline_lib.config import TrainSettings
from pipeline_lib.train import model, trainer
devices.configure({SETTINGS.cpu_threads}, {SETTINGS.deterministic})  # before TensorFlow starts
alone = tf.distribute.get_strategy()
assert devices._one_gpu(alone) is None
listed = tf.config.list_logical_devices
tf.config.list_logical_devices = lambda kind=None: listed("CPU")[1:] if kind == "GPU" else listed(kind)
assert devices._one_gpu(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])) is None
fit, places = model.PoseModel.fit, set()
def watched(self, data, **options):
    places.update(tensor.device[-5:] for tensor in next(iter(data)))
    return fit(self, data, **options)
model.PoseModel.fit = watched
trainer.train(
    initial={str(initial)!r}, train_manifest={str(manifest)!r}, val_manifest={str(manifest)!r},
    weights={str(tmp_path / "ahead.safetensors")!r}, history={str(tmp_path / "ahead.csv")!r},
    settings=TrainSettings.model_validate_json({SETTINGS.model_dump_json()!r}), seed=3, device="cpu",
)
assert places == {{"CPU:1"}}, places
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    train_program(manifest, initial, tmp_path, "plain", 3, SETTINGS)
    assert (tmp_path / "ahead.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_nothing_is_traced_again_after_the_first_epoch(
    manifest: Path, initial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the training step nor validation, which also comes before the first step."""
    traced: list[bool] = []
    compute = PoseModel.compute_loss

    def counted(*arguments: object, training: bool = True, **options: object) -> object:
        traced.append(training)
        return compute(*arguments, training=training, **options)

    monkeypatch.setattr(PoseModel, "compute_loss", counted)
    numbers = []
    for epochs in (1, 3):
        traced.clear()
        run(manifest, initial, tmp_path, epochs=epochs)
        numbers.append(sorted(traced))
    assert numbers[0] == numbers[1] and set(numbers[0]) == {False, True}
    assert numbers[0].count(False) == 1


def train_program(manifest: Path, initial: Path, folder: Path, name: str, seed: int, settings: TrainSettings) -> str:
    """Train in a process of its own; returns its messages."""
    command = [sys.executable, "scripts/train.py", "--initial", initial, "--train-manifest", manifest]
    command += ["--val-manifest", manifest, "--settings", settings.model_dump_json(), "--seed", seed, "--device", "cpu"]
    command += ["--weights", folder / f"{name}.safetensors", "--history", folder / f"{name}.csv"]
    environment = os.environ | {"PYTHONPATH": "."}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def test_the_same_seed_gives_the_same_bytes(manifest: Path, initial: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        train_program(manifest, initial, tmp_path, name, seed, SETTINGS)
    written = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("one", "two", "three")]
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_every_option_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    given, checked, looked_at = [], [], []
    monkeypatch.setattr(artifacts, "load_metadata", looked_at.append)
    monkeypatch.setattr(records, "read_manifest", looked_at.append)
    monkeypatch.setattr(trainer, "train", lambda **options: given.append(options))
    monkeypatch.setattr(devices, "check", checked.append)
    leased = []
    monkeypatch.setattr(devices, "lease", lambda *asked: leased.append(asked))
    values = {
        name: name.replace("_", "-") for name in ("initial", "train_manifest", "val_manifest", "weights", "history")
    }
    command = [word for value in values.values() for word in (f"--{value}", value)]
    settings = ["--settings", SETTINGS.model_dump_json(exclude_defaults=True)]
    program.main(
        program.parser().parse_args(
            [
                *command,
                *settings,
                "--seed",
                "57",
                "--device",
                "gpu",
                "--accelerators",
                "2",
                "--title",
                "it",
                "--may-fail",
                "--reuse",
            ]
        )
    )
    program.main(program.parser().parse_args(command))
    plain = {"title": "training", "may_fail": False, "reuse": False}
    assert given == [
        values | {"settings": SETTINGS, "seed": 57, "device": "gpu", "title": "it", "may_fail": True, "reuse": True},
        values | {"settings": TrainSettings(), "seed": 1, "device": "auto"} | plain,
    ]
    assert checked == ["gpu", "auto"]
    assert leased == [("gpu", 2, "it", SETTINGS.devices), ("auto", None, "training", 1)]
    assert looked_at == ["initial", "train-manifest", "val-manifest"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"jit_compile": True, "deterministic": False}, {"precision": "bfloat16"}], ids=["xla", "bfloat16"]
)
def test_xla_and_bfloat16(manifest: Path, initial: Path, tmp_path: Path, change: dict) -> None:
    short = {**dict(SETTINGS), "epochs": 1}
    messages = train_program(manifest, initial, tmp_path, "changed", 3, TrainSettings(**{**short, **change}))
    train_program(manifest, initial, tmp_path, "plain", 3, TrainSettings(**short))
    assert "Proceeding with `jit_compile=False`" not in messages
    losses = []
    for name in ("changed", "plain"):
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            losses.append(float(list(csv.DictReader(stream))[-1]["data_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    weights = files.load(tmp_path / "changed.safetensors")[1]
    assert all(array.dtype == np.float32 for array in weights.values())


def test_xla_with_deterministic_ops_is_refused() -> None:
    with pytest.raises(ValueError, match="deterministic: false"):
        TrainSettings(jit_compile=True)


def test_what_cannot_be_trained_is_refused(manifest: Path, initial: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="11 persons are fewer than a batch of 12"):
        run(manifest, initial, tmp_path, batch=12)
    with pytest.raises(Exception, match="no GPU here"):
        devices.check("gpu")


def test_accumulation_needs_tensorflow(
    manifest: Path, initial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    message = r"train\.accumulation: 2 needs the TensorFlow backend, Keras runs on jax; set accumulation: 1 or KERAS_"
    with pytest.raises(ConfigError, match=message):
        run(manifest, tmp_path / "not even read", tmp_path, accumulation=2)
    with pytest.raises(ArtifactError, match="not even read: no such file"):
        run(manifest, tmp_path / "not even read", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_accumulation_trains(manifest: Path, initial: Path, tmp_path: Path) -> None:
    """From the settings to the model: batches of 4 in two parts, as many steps, other batch statistics."""
    weights, history = run(manifest, initial, tmp_path, accumulation=2, keep="last")
    whole, rows = run(manifest, initial, tmp_path, keep="last")
    assert [row["step"] for row in history] == [row["step"] for row in rows] == ["0", "2", "4"]
    assert [row["learning_rate"] for row in history] == [row["learning_rate"] for row in rows]
    assert float(history[-1]["loss"]) == pytest.approx(float(rows[-1]["loss"]), rel=0.02)
    difference = np.abs(weights["stem_bn/moving_mean"] - whole["stem_bn/moving_mean"]).max()
    assert difference > 1e-4


@pytest.mark.slow
def test_a_network_of_several_outputs(manifest: Path, tmp_path: Path) -> None:
    """CPN: every output is trained, the heat maps are validated, the file has the weights of all."""
    network = Published("cpn", 32, 32)
    files.save(tmp_path / "initial.safetensors", network, initial_weights(network, 1))
    weights, history = run(manifest, tmp_path / "initial.safetensors", tmp_path, epochs=1, l2=0, keep="last")
    before = files.load(tmp_path / "initial.safetensors")[1]
    for name in ("conv1_conv/kernel", "global1_final/kernel", "refine1_block3_3_conv/kernel", "final_conv/kernel"):
        assert not np.array_equal(weights[name], before[name]), name
    assert float(history[1]["loss"]) > 3 * float(history[1]["data_loss"]), "the sum of five outputs"


def test_detections_cannot_be_trained_on(manifest: Path, initial: Path, tmp_path: Path) -> None:
    import json

    content = json.loads(manifest.read_text()) | {"boxes": "detections"}
    other = manifest.parent / "detections.json"
    other.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="no keypoints"):
        run(other, initial, tmp_path)
