"""The loop around `fit`: replicas, divergence, what is kept, progress. Networks here are one convolution."""

import json
import logging
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib.artifacts import read_csv
from pipeline_lib.config import COCO_KEYPOINTS, Augmentation, TrainSettings
from pipeline_lib.data import augment, records
from pipeline_lib.errors import ArtifactError, ConfigError, EvoPoseError
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import Architecture, initial_weights
from pipeline_lib.train import progress, state, trainer
from pipeline_lib.train.model import PoseModel
from tests.unit import restated

PERSONS = 10


def stored() -> list[tuple[np.ndarray, np.ndarray]]:
    """RGB picture and keypoints of each person."""
    rng = np.random.default_rng(0)
    people = []
    for _ in range(PERSONS):
        image = rng.integers(0, 256, (32, 32, 3), np.uint8)
        points = np.column_stack([rng.uniform(0, 32, (17, 2)), rng.integers(0, 3, 17)])
        people.append((image, points.astype(np.float32)))
    return people


BOX = [2, 2, 28, 28]  # of everybody
UNMOVED = {"flip": 0, "scale_std": 0, "rotation_probability": 0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> records.Manifest:
    """Two shards: of the first 6 persons and of the others. `validation.json` names the first one only."""
    folder = tmp_path_factory.mktemp("records")
    shards = []
    for name, people in (("0-of-2.tfrecord", range(6)), ("1-of-2.tfrecord", range(6, PERSONS))):
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for person in people:
                pixels, points = stored()[person]
                image = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
                floats = {"box": BOX, "keypoints": points.ravel(), "score": [1]}
                integers = {"image_id": [person], "annotation_id": [person]}
                feature = {key: tf.train.Feature(float_list=tf.train.FloatList(value=v)) for key, v in floats.items()}
                feature |= {
                    key: tf.train.Feature(int64_list=tf.train.Int64List(value=v)) for key, v in integers.items()
                }
                feature["image"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        shards.append({"file": name, "examples": len(people), "bytes": (folder / name).stat().st_size})
    for name, count in (("manifest", 2), ("validation", 1)):
        content = {
            "schema_version": 1,
            "boxes": "ground_truth",
            "records": "images",
            "keypoints": COCO_KEYPOINTS.model_dump(mode="json"),
            "examples": sum(shard["examples"] for shard in shards[:count]),
            "shards": shards[:count],
        }
        (folder / f"{name}.json").write_text(json.dumps(content))
    return records.read_manifest(folder / "manifest.json")


def network() -> keras.Model:
    image = keras.Input((32, 32, 3))
    convolution = keras.layers.Conv2D(17, 3, 4, padding="same", kernel_regularizer=keras.regularizers.L2(0.1), name="c")
    model = keras.Model(image, convolution(image))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    return model


def fit(
    manifest: records.Manifest, folder: Path, model: keras.Model | None = None, **settings: Any
) -> tuple[trainer.Weights, list[dict[str, str]]]:
    chosen = TrainSettings(**{"epochs": 2, "batch": 2, "base_rate": 0.01, **settings})
    path = folder / "history.csv"
    kept = trainer.fit(
        model or network(), manifest, manifest, chosen, 1, path, tf.distribute.get_strategy(), "generation 1, child 3"
    )
    return kept, read_csv(path)


def test_history_has_what_was_measured(
    manifest: records.Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, rows = fit(manifest, tmp_path, scale_rate=False)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "5"), ("2", "10")]
    for row, last in zip(rows, (4, 9), strict=True):  # the rate of the epoch's last step
        assert float(row["learning_rate"]) == pytest.approx(0.01 / 2 * (1 + np.cos(np.pi * last / 10)), rel=1e-4)
        assert float(row["seconds"]) > 0
        assert float(row["images_per_second"]) > 0
    assert "generation 1, child 3: 50 %, epoch 1/2, loss" in caplog.text
    assert "generation 1, child 3: 100 %, epoch 2/2, loss" in caplog.text
    assert "0:00 left" in caplog.messages[-1]


def measured(images: list[np.ndarray], points: list[np.ndarray], weights: list[np.ndarray]) -> float:
    """The mean loss of persons in NumPy, for `narrow` with `weights` and maps of 8 x 4."""
    pixels = (np.array(images) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    predicted = np.einsum("nhwc,ck->nhwk", pixels[:, ::4, ::4], weights[0][0, 0]) + weights[1]
    keypoints = np.array(points)
    target = restated.heatmaps(keypoints, (32, 16), (8, 4), 2 * 8 / 64)
    return float(np.mean((predicted - target) ** 2 * (keypoints[:, None, None, :, 2] > 0)))


def narrow() -> keras.Model:
    """Crops of 32 x 16 to maps of 8 x 4: each map's pixel sees one pixel of the crop."""
    image = keras.Input((32, 16, 3))
    return keras.Model(image, keras.layers.Conv2D(17, 1, 4, kernel_regularizer=keras.regularizers.L2(0.1))(image))


def test_what_is_trained_on_and_what_is_validated(manifest: records.Manifest, tmp_path: Path) -> None:
    """At a rate next to zero, losses say which crops were seen: 8 of 10 persons an epoch, changed, in its order."""
    changes = Augmentation(half_body_probability=0.5, half_body_joints=10)
    model, people = narrow(), stored()
    model.set_weights([np.random.default_rng(2).normal(0, 20, weight.shape) for weight in model.get_weights()])
    weights = [np.array(weight, np.float64) for weight in model.get_weights()]
    settings = TrainSettings(epochs=2, batch=4, base_rate=1e-12, augmentation=changes, evaluate_initial=True)
    validation = records.read_manifest(manifest.path.with_name("validation.json"))
    path = tmp_path / "history.csv"
    trainer.fit(model, manifest, validation, settings, 1, path, tf.distribute.get_strategy())

    def loss(draws: dict[int, augment.Draw]) -> float:
        crops = [augment.crop(*people[n], BOX, 32, 16, COCO_KEYPOINTS, draw, 10) for n, draw in draws.items()]
        return measured([pixels for pixels, *_ in crops], [points for _, points, _ in crops], weights)

    penalty = 0.1 * float((weights[0] ** 2).sum())
    rows = read_csv(path)
    for epoch, row in enumerate(rows[1:]):
        order = records.order(manifest.shards, 1, epoch)[:8]
        expected = loss({n: augment.sample(changes, 1, epoch, int(n)) for n in order})
        assert float(row["data_loss"]) == pytest.approx(expected, rel=1e-5)
        assert float(row["loss"]) == pytest.approx(expected + penalty, rel=1e-5)
    unchanged = loss(dict.fromkeys(range(6), augment.UNCHANGED))
    assert [float(row["val_loss"]) for row in rows] == pytest.approx([unchanged] * 3, rel=1e-5)


@pytest.mark.parametrize("replicas", [1, 2])
def test_l2_is_in_the_loss_of_training_only_and_padding_in_none(replicas: int) -> None:
    pose = PoseModel(narrow(), 0.5, replicas)
    rng = np.random.default_rng(3)
    points = np.column_stack([rng.uniform(0, 16, (51, 2)), rng.integers(0, 3, 51)]).reshape(3, 17, 3)
    predicted = rng.normal(0, 50, (3, 8, 4, 17))
    error = (predicted - restated.heatmaps(points, (32, 16), (8, 4), 0.5)) ** 2
    expected = float(np.mean((error * (points[:, None, None, :, 2] > 0))[:2]))
    penalty = 0.1 * float((pose.network.get_weights()[0].astype(float) ** 2).sum())
    for training, extra in ((False, 0.0), (True, penalty)):
        loss = pose.compute_loss(None, points, predicted, np.array([1, 1, 0]), training=training)
        assert float(loss) == pytest.approx((expected + extra) / replicas, rel=1e-5)
        assert float(pose.data_loss.result()) == pytest.approx(expected, rel=1e-5)


def test_the_rate_of_the_settings_is_trained_with(manifest: records.Manifest, tmp_path: Path) -> None:
    """5 steps an epoch, the first one warms up from 0.01 to the rate of a batch of 2."""
    _, rows = fit(manifest, tmp_path, epochs=3, warmup_epochs=1)
    top = 0.01 * 2 / 32
    cosine = [top / 2 * (1 + np.cos(np.pi * (step - 5) / 10)) for step in (9, 14)]
    expected = [0.01 + (top - 0.01) * 4 / 5, *cosine]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(expected, rel=1e-4)


def test_batches_are_normalised_by_themselves_in_training_only(manifest: records.Manifest, tmp_path: Path) -> None:
    """One step on everybody: the moving mean goes a tenth of the way to the mean of the normalised crops."""
    image = keras.Input((32, 32, 3))
    normalised = keras.layers.BatchNormalization(momentum=0.9, name="bn")(image)
    model = keras.Model(image, keras.layers.Conv2D(17, 1, 4, name="c")(normalised))
    kept, _ = fit(manifest, tmp_path, model, epochs=1, batch=PERSONS, augmentation=Augmentation(**UNMOVED))
    crops = [augment.crop(*person, BOX, 32, 32, COCO_KEYPOINTS)[0] for person in stored()]
    pixels = (np.array(crops) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(kept["bn/moving_mean"], 0.1 * pixels.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(kept["bn/moving_variance"], 0.9 + 0.1 * pixels.var((0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize(("keep", "expected"), [("best", 2.0), ("last", 4.0)])
def test_the_weights_of_the_lowest_validation_loss_are_kept(tmp_path: Path, keep: str, expected: float) -> None:
    """The second of four epochs is the best one, by its validation loss only; the first of two equal ones is kept."""
    model = narrow()
    outer = keras.Model(model.input, model(model.input))
    outer.compile(keras.optimizers.SGD(0.1))
    written = trainer.History(tmp_path / "history.csv", "CPU", 1)
    callback = trainer._Epochs(model, written, progress.Progress("", 4, 1, 1), lambda step: 0.1, best=keep == "best")
    callback.set_model(outer)
    for epoch, loss in enumerate([5.0, 3.0, 3.0, 4.0]):
        model.set_weights([np.full(weight.shape, epoch + 1.0) for weight in model.get_weights()])
        callback.on_epoch_end(epoch, {"loss": 9.0 - epoch, "data_loss": 8.0 - epoch, "val_loss": loss})
    assert {float(value) for weight in callback.kept().values() for value in weight.ravel()} == {expected}
    assert [(row["loss"], row["data_loss"], row["val_loss"]) for row in read_csv(written.path)] == [
        ("9.0", "8.0", "5.0"),
        ("8.0", "7.0", "3.0"),
        ("7.0", "6.0", "3.0"),
        ("6.0", "5.0", "4.0"),
    ]


def test_a_training_without_progress_ends_early(
    manifest: records.Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At a rate next to zero no epoch is better than the first; the rate is that of all epochs, not of those run."""
    caplog.set_level(logging.INFO)
    still: dict[str, Any] = {"base_rate": 1e-12, "scale_rate": False, "epochs": 8}
    kept, rows = fit(manifest, tmp_path, patience=3, **still)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert len({row["val_loss"] for row in rows}) == 1
    rates = [1e-12 / 2 * (1 + np.cos(np.pi * (5 * epoch - 1) / 40)) for epoch in range(1, 5)]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(rates, rel=1e-4)
    assert "generation 1, child 3: training ends early, 3 epochs after the best one, epoch 1" in caplog.text
    for before, after in zip(network().get_weights(), (kept["c/kernel"], kept["c/bias"]), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-9)
    # Unless it is asked for, no training does.
    assert len(fit(manifest, tmp_path, **still)[1]) == 8


def test_a_training_with_progress_does_not_end_early(manifest: records.Manifest, tmp_path: Path) -> None:
    _, rows = fit(manifest, tmp_path, patience=1, epochs=4)
    losses = [float(row["val_loss"]) for row in rows]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([5, 4, 4, 4.1, 3], 2, 4),  # an equal loss is not a better one
        ([5, 4, 4.5, 3, 3.5, 3.4, 2], 2, 6),  # it is counted from the best epoch on
        ([5, 4, 4.5, 3, 3.5, 3.4, 2], 3, None),
        ([5, 5], 1, 2),
        ([float("nan"), 5, float("nan"), 6], 2, 4),
        ([5, 6, 7, 8], None, None),
    ],
)
def test_patience_is_counted_from_the_best_epoch(
    tmp_path: Path, losses: list[float], patience: int | None, expected: int | None
) -> None:
    model = narrow()
    outer = keras.Model(model.input, model(model.input))
    outer.compile(keras.optimizers.SGD(0.1))
    written = trainer.History(tmp_path / "history.csv", "CPU", 1)
    callback = trainer._Epochs(
        model, written, progress.Progress("", 9, 1, 1), lambda step: 0.1, best=True, patience=patience
    )
    callback.set_model(outer)
    outer.stop_training = False
    stopped = None
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"loss": 1.0, "data_loss": 1.0, "val_loss": loss})
        if outer.stop_training:
            stopped = epoch + 1
            break
    assert stopped == expected


def test_the_validation_loss_does_not_depend_on_the_batch(manifest: records.Manifest, tmp_path: Path) -> None:
    losses = [
        float(fit(manifest, tmp_path, batch=batch, evaluate_initial=True, epochs=1)[1][0]["val_loss"])
        for batch in (2, 3, 10)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_a_warm_up_that_leaves_no_step_is_refused(manifest: records.Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.warmup_epochs: 0\.95 of 1 epochs of 5 steps leaves no step"):
        fit(manifest, tmp_path, epochs=1, warmup_epochs=0.95)


def test_a_loss_that_is_not_a_number_ends_the_training(
    manifest: records.Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ruin: dict[str, Any] = {"base_rate": 1e30, "epochs": 3}
    kept, rows = fit(manifest, tmp_path, keep="best", **ruin)
    assert [row["epoch"] for row in rows] == ["1"], "the other epochs are not run"
    assert not np.isfinite(float(rows[0]["val_loss"]))
    for before, after in zip(network().get_weights(), (kept["c/kernel"], kept["c/bias"]), strict=True):
        np.testing.assert_array_equal(before, after)
    assert "in epoch 1: training ends" in caplog.text
    assert "lower train.base_rate" in caplog.text
    with pytest.raises(EvoPoseError, match=r"generation 1, child 3: the loss is .* in epoch 1; lower train\.base_rate"):
        fit(manifest, tmp_path, keep="last", **ruin)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_neither_nan_nor_infinity_is_a_loss(tmp_path: Path, loss: float) -> None:
    model = narrow()
    outer = keras.Model(model.input, model(model.input))
    outer.compile(keras.optimizers.SGD(0.1))
    for best in (True, False):
        written = trainer.History(tmp_path / "history.csv", "CPU", 1)
        callback = trainer._Epochs(model, written, progress.Progress("", 4, 1, 1), lambda step: 0.1, best=best)
        callback.set_model(outer)
        outer.stop_training = False
        with nullcontext() if best else pytest.raises(EvoPoseError, match=f"the loss is {loss} in epoch 2"):
            callback.on_epoch_end(1, {"loss": loss, "data_loss": loss, "val_loss": 3.0})
        assert outer.stop_training == best


def test_several_steps_in_one_call_change_nothing(manifest: records.Manifest, tmp_path: Path) -> None:
    """3 does not divide an epoch of 5 steps: Keras alone would run into the next epoch's data."""
    one, rows = fit(manifest, tmp_path, keep="last")
    for number in (3, 5):
        several, others = fit(manifest, tmp_path, keep="last", steps_per_execution=number)
        assert [row["step"] for row in others] == [row["step"] for row in rows]
        for name in one:
            np.testing.assert_allclose(several[name], one[name], rtol=1e-5)


@pytest.mark.parametrize(("wanted", "expected"), [(1, 1), (4, 4), (5, 4), (7, 6), (100, 12)])
def test_steps_of_one_call_divide_an_epoch(wanted: int, expected: int) -> None:
    assert trainer._divisor(12, wanted) == expected


def test_two_replicas_train_as_one(tmp_path: Path) -> None:
    """Plain gradient descent shows the scale of gradients, L2 included; 7 persons in batches of 4 are validated."""
    program = """
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from pipeline_lib import devices
        from pipeline_lib.train.model import PoseModel
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
        points = np.concatenate([rng.uniform(0, 16, (8, 5, 2)), rng.integers(0, 3, (8, 5, 1))], 2).astype("f4")
        weight = np.array([1, 1, 1, 1, 1, 1, 1, 0], "f4")
        kernel = rng.normal(0, 0.3, (3, 3, 3, 5))
        found = []
        for count in (1, 2):
            strategy = devices.strategy("cpu", count)
            assert strategy.num_replicas_in_sync == count
            with strategy.scope():
                image = keras.Input((16, 16, 3))
                layer = keras.layers.Conv2D(5, 3, 4, padding="same", kernel_regularizer=keras.regularizers.L2(10.0))
                network = keras.Model(image, layer(image))
                layer.set_weights([kernel, np.zeros(5)])
                model = PoseModel(network, 1.0, count)
                model.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
            data = tf.data.Dataset.from_tensor_slices((images, points, weight)).batch(4, drop_remainder=True)
            measured = [model.evaluate(data, verbose=0)["loss"]]
            whole = tf.data.Dataset.from_tensor_slices((images, points, np.ones(8, "f4"))).batch(4, drop_remainder=True)
            history = model.fit(whole, verbose=0, shuffle=False).history
            measured += [history["loss"][0], history["data_loss"][0]]
            found.append((measured, layer.get_weights()[0]))
            print(devices.name(strategy), measured)
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
        assert np.abs(found[0][1] - kernel).max() > 1e-3
        assert found[0][0][1] > found[0][0][2] + 1
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("CPU [") == 2


TINY = Architecture(
    genotype=((1, 3, 1, 1),) * 7, height=16, width=16, expansion=(1,) * 7, stem=8, head=8, head_layers=1
)


class Reached(Exception):
    """Stops a training where a test wants to look."""


def test_settings_reach_the_network(
    manifest: records.Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.save(tmp_path / "initial.safetensors", TINY, initial_weights(TINY, 1))
    settings = TrainSettings(
        batch_norm_momentum=0.7, stochastic_depth=0.3, l2=0.02, l2_depthwise=False, precision="bfloat16", devices=2
    )
    seen: dict[str, Any] = {}

    def build(architecture: Architecture, **options: Any) -> None:
        seen.update(options, architecture=architecture, policy=keras.config.dtype_policy().name)

    def fit(network: None, training: records.Manifest, validation: records.Manifest, *rest: Any, **how: Any) -> None:
        seen.update(training=training.examples, validation=validation.examples, rest=rest[:3], how=how)
        raise Reached

    monkeypatch.setattr(trainer, "build_architecture", build)
    monkeypatch.setattr(trainer, "fit", fit)
    monkeypatch.setattr(trainer.devices, "configure", lambda *numerics: seen.update(numerics=numerics))
    strategy = tf.distribute.get_strategy()
    monkeypatch.setattr(trainer.devices, "strategy", lambda *asked: seen.update(asked=asked) or strategy)
    with pytest.raises(Reached):
        trainer.train(
            initial=tmp_path / "initial.safetensors",
            train_manifest=manifest.path,
            val_manifest=manifest.path.with_name("validation.json"),
            weights=tmp_path / "weights.safetensors",
            history=tmp_path / "history.csv",
            settings=settings,
            seed=2**40 + 5,
            device="cpu",
        )
    assert seen.pop("weights").keys() == initial_weights(TINY, 1).keys()
    assert seen["how"].pop("store").folder.parent == tmp_path / state.FOLDER
    assert seen == {
        "supervised": False,
        "how": {"supervised": TINY.supervised(), "task": trainer.POSES},
        "architecture": TINY,
        "batch_norm_momentum": 0.7,
        "stochastic_depth": 0.3,
        "l2": 0.02,
        "l2_depthwise": False,
        "seed": 2**40 + 5,
        "policy": "mixed_bfloat16",
        "numerics": (1, True),
        "asked": ("cpu", 2),
        "training": PERSONS,
        "validation": 6,
        "rest": (settings, 2**40 + 5, tmp_path / "history.csv"),
    }
    assert keras.config.dtype_policy().name == "float32", "the policy of other networks stays"


def test_settings_of_speed_reach_the_data_and_the_compiled_step(
    manifest: records.Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No result shows them."""
    seen: dict[str, Any] = {"threads": []}

    def read(*arguments: Any, **options: Any) -> Any:
        seen["threads"].append(options["threads"])
        return records.dataset(*arguments, **options)

    compile_ = PoseModel.compile

    def compiled(model: PoseModel, optimizer: Any, **options: Any) -> None:
        seen.update(options)
        compile_(model, optimizer, **options)

    def fit(*arguments: Any, **options: Any) -> None:
        raise Reached

    monkeypatch.setattr(PoseModel, "compile", compiled)
    monkeypatch.setattr(PoseModel, "fit", fit)
    settings = TrainSettings(batch=2, cpu_threads=3, steps_per_execution=6, jit_compile=True, deterministic=False)
    shared = manifest, manifest, settings, 1, tmp_path / "history.csv", tf.distribute.get_strategy()
    assert trainer.POSES.training_data is trainer.POSES.validation_data is records.dataset
    caplog.set_level("INFO")
    with pytest.raises(Reached):
        trainer.fit(network(), *shared, task=trainer.Task(read, read))
    assert seen == {"threads": [3, 3], "steps_per_execution": 5, "jit_compile": True}
    assert "5 steps are run by a call, not 6 (train.steps_per_execution): an epoch of 5 steps" in caplog.text
    caplog.clear()
    settings = settings.model_copy(update={"steps_per_execution": 5})
    with pytest.raises(Reached):
        trainer.fit(network(), manifest, manifest, settings, *shared[3:], task=trainer.Task(read, read))
    assert "steps are run by a call" not in caplog.text


def test_records_must_have_the_keypoints_of_the_network(manifest: records.Manifest) -> None:
    with pytest.raises(ArtifactError, match="17 keypoints, but the network has 14"):
        trainer._read(manifest.path, 14)


@pytest.mark.parametrize(("seconds", "text"), [(4.6, "0:05"), (65, "1:05"), (3700, "1:01:40")])
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_progress_is_said_every_five_seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    line = progress.Progress("child", epochs=2, steps=10, batch=32)
    line.on_epoch_begin(0)
    for step in range(10):
        clock[0] += 20 if step == 0 else 2  # the first step is compiled
        line.on_train_batch_end(step, {"loss": 7.0})
    line.on_epoch_end(0, {"loss": 7.0, "val_loss": 8.0})
    assert line.images_per_second == pytest.approx(16)
    assert line.seconds == 38
    assert caplog.messages == [
        "child: the first step is compiled and done, 20.0 s",
        "child: 5 %, epoch 1/2, loss 7.00",
        "child: 20 %, epoch 1/2, loss 7.00, 16 images/s, 0:32 left",
        "child: 35 %, epoch 1/2, loss 7.00, 16 images/s, 0:26 left",
        "child: 50 %, epoch 1/2, loss 7.00, 16 images/s, 0:20 left",
        "child: 50 %, epoch 1/2, loss 7.00, validation loss 8.00, 16 images/s, 0:20 left",
    ]
