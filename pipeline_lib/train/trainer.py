"""One training from start to end: initial weights and records in, trained weights and history.csv out."""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
from numpy.typing import NDArray

from pipeline_lib import artifacts, devices
from pipeline_lib.config import TrainSettings
from pipeline_lib.data import records
from pipeline_lib.errors import ArtifactError, ConfigError, DataError, TrainingFailed
from pipeline_lib.nets import build_architecture, files
from pipeline_lib.nets.layers import Network, Supervised
from pipeline_lib.nets.precision import precision
from pipeline_lib.nets.weights import get_weights
from pipeline_lib.train import memory, state
from pipeline_lib.train.history import History
from pipeline_lib.train.model import HEAT_MAPS, PoseModel
from pipeline_lib.train.optimizer import Adam
from pipeline_lib.train.progress import Progress
from pipeline_lib.train.resume import Resume
from pipeline_lib.train.schedule import warmup_cosine

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline_lib.devices import Strategy

log = logging.getLogger(__name__)

SIGMA_REFERENCE_HEIGHT = 64
"""`heatmap_sigma` is in units of (height of the heat maps) / 64."""

CACHE_BYTES = 2**28
"""Validation crops are kept in memory when they are smaller together."""

REMEDY = "lower train.base_rate, or raise train.warmup_epochs"

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """What sets a training apart from that of a pose network, which the defaults are.

    Attributes:
        training_data, validation_data: the data of a manifest's records, with the arguments of `records.dataset`.
        model: what is trained, with the arguments of `PoseModel`.
        rate: the learning rate, of the settings and the steps of an epoch.
        inputs: JSON values of all that decides its result beside the records and settings.
    """

    training_data: Callable[..., "tf.data.Dataset"] = records.dataset
    validation_data: Callable[..., "tf.data.Dataset"] = records.dataset
    model: Callable[..., PoseModel] = PoseModel
    rate: Callable[[Any, int], keras.optimizers.schedules.LearningRateSchedule] = lambda settings, steps: warmup_cosine(
        settings.base_rate, settings.batch, settings.epochs, steps, settings.warmup_epochs, settings.scale_rate
    )
    inputs: Mapping[str, Any] = field(default_factory=dict)


POSES = Task()


def train(
    *,
    initial: str | os.PathLike[str],
    train_manifest: str | os.PathLike[str],
    val_manifest: str | os.PathLike[str],
    weights: str | os.PathLike[str],
    history: str | os.PathLike[str],
    settings: TrainSettings,
    seed: int,
    device: str = "auto",
    title: str = "training",
    may_fail: bool = False,
    reuse: bool = False,
) -> None:
    """Train the network of the file `initial` and write its weights and history (paper, sections IV-D and V-B).

    Order, augmentation and stochastic depth are drawn from `seed`: with the same settings and deterministic ops, two runs
    write the same bytes of weights. When the loss stops being a number, training ends: with `keep: best` the best epoch
    so far is written (the initial weights if there is none), with `keep: last` nothing, and that is an error. What does not
    fit into memory is tried once more with parts of the batch half as large. With `patience`, training ends after so many
    epochs without a lower validation loss.

    Args:
        initial: weights file whose header names the architecture.
        train_manifest, val_manifest: records with ground-truth boxes.
        weights, history: files to write.
        settings: length, rate, regularisation, augmentation, numerics.
        seed: non-negative.
        device: auto, cpu, gpu or tpu.
        title: what is trained, for the progress lines.
        may_fail: a failed training is no error; the initial weights are written, with the reason in their header.
        reuse: what a training wrote is kept beside it; if the same one (by weights, records, settings, seed, device and code) is
            asked for again, that is put in place instead.

    Raises:
        EvoPoseError: files that are missing, damaged or do not fit, a device that is not there, accumulation on another
            backend than TensorFlow, a loss that is not a number.
    """
    _check_backend(settings)  # before a file of hundreds of megabytes is read
    architecture, tensors = files.load(initial)
    train_network(
        architecture,
        tensors,
        train_manifest=train_manifest,
        val_manifest=val_manifest,
        weights=weights,
        history=history,
        settings=settings,
        seed=seed,
        device=device,
        title=title,
        may_fail=may_fail,
        reuse=reuse,
    )


def train_network(
    architecture: Network,
    tensors: Weights,
    *,
    train_manifest: str | os.PathLike[str],
    val_manifest: str | os.PathLike[str],
    weights: str | os.PathLike[str],
    history: str | os.PathLike[str],
    settings: TrainSettings,
    seed: int,
    device: str = "auto",
    title: str = "training",
    may_fail: bool = False,
    reuse: bool = False,
    task: Task = POSES,
) -> None:
    """`train` from the initial weights `tensors` of `architecture`, whatever it is trained for."""
    _check_backend(settings)
    training, validation = (_read(path, architecture.keypoints) for path in (train_manifest, val_manifest))
    devices.configure(settings.cpu_threads, settings.deterministic)
    strategy = devices.strategy(device, settings.devices)
    inputs = {
        "architecture": architecture.to_json(),
        "initial": state.digest(tensors),
        "records": [artifacts.sha256(path) for path in (train_manifest, val_manifest)],
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "backend": keras.backend.backend(),
        "devices": [devices.name(strategy), devices.count(strategy)],
        "task": task.inputs,
    }
    outputs = [Path(weights), Path(history)]
    with state.opened(weights, state.key(inputs)) as store:
        if reuse and store.put_back(outputs):
            log.info("%s: the same was trained before; its weights and history are taken", title)
            return

        def attempt(tried: TrainSettings) -> Weights:
            Path(history).unlink(missing_ok=True)  # of another training
            keras.utils.set_random_seed(seed % 2**32)
            with strategy.scope(), precision(tried.precision):
                network = build(architecture, tried, seed, tensors)
            return fit(
                *(network, training, validation, tried, seed, history, strategy, title),
                supervised=architecture.supervised(),
                task=task,
                store=store,
            )

        failure = None
        try:
            kept = memory.within(attempt, settings, store, title)
        except TrainingFailed as error:
            if not may_fail:
                raise
            failure, kept = str(error), tensors
            log.error("%s", failure)
            # Where nothing was measured, that is what the history says.
            if not Path(history).exists():
                History(history, devices.name(strategy), devices.count(strategy)).add(
                    epoch=0, step=0, val_loss=math.nan
                )
        files.save(weights, architecture, kept, training.keypoints.names, failure)
        if reuse:
            store.keep(outputs)
        else:
            store.remove()
    log.info("%s: weights written to %s", title, weights)


def build(architecture: Network, settings: TrainSettings, seed: int, weights: Weights | None = None) -> keras.Model:
    """The network that is trained by `settings`: it gives all outputs that are supervised; without `weights` new ones."""
    return build_architecture(
        architecture,
        weights=weights,
        batch_norm_momentum=settings.batch_norm_momentum,
        stochastic_depth=settings.stochastic_depth,
        l2=settings.l2,
        l2_depthwise=settings.l2_depthwise,
        seed=seed,
        supervised=len(architecture.supervised()) > 1,
    )


def fit(
    network: keras.Model,
    training: records.Manifest,
    validation: records.Manifest,
    settings: TrainSettings,
    seed: int,
    history: str | os.PathLike[str],
    strategy: "Strategy",
    title: str = "training",
    supervised: Sequence[Supervised] = HEAT_MAPS,
    task: Task = POSES,
    *,
    store: state.Store | None = None,
) -> Weights:
    """Train `network`, made in the scope of `strategy`; returns the weights of the epoch that `settings.keep` asks for.

    `supervised` says how each of its outputs is trained, `task` what for. Writes the file `history` and, where there
    is a `store`, a state into it after every epoch, and goes on from the state there is. Raises what `train` raises.
    """
    steps = training.examples // settings.batch
    if steps == 0:
        raise DataError(
            f"{training.path}: {training.examples} persons are fewer than a batch of {settings.batch}: "
            "lower train.batch or convert more data"
        )
    if round(settings.warmup_epochs * steps) >= settings.epochs * steps:
        raise ConfigError(
            f"train.warmup_epochs: {settings.warmup_epochs} of {settings.epochs} epochs of {steps} steps leaves no step "
            "after the warm-up; lower it"
        )
    height, width = network.input_shape[1:3]
    shared: dict[str, Any] = {
        "height": height,
        "width": width,
        "batch": settings.batch,
        "seed": seed,
        "threads": settings.cpu_threads,
    }

    def train_data(first: int, last: int, done: int) -> "tf.data.Dataset":
        return task.training_data(
            training,
            augmentation=settings.augmentation,
            initial_epoch=first,
            initial_batch=done,
            epochs=last,
            shuffle=True,
            drop_remainder=True,
            **shared,
        )

    val_data = task.validation_data(validation, **shared)
    if validation.examples * height * width * 3 <= CACHE_BYTES:
        val_data = val_data.cache()

    rate = task.rate(settings, steps)
    model = compiled(network, rate, settings, steps, strategy, supervised, task.model)

    written = History(history, devices.name(strategy), devices.count(strategy))
    progress = Progress(title, settings.epochs, steps, settings.batch)
    epochs = _Epochs(network, written, progress, rate, best=settings.keep == "best", patience=settings.patience)
    log.info(
        "%s: %d persons, %d for validation, %d epochs of %d steps on %s; the first step takes some seconds longer",
        *(title, training.examples, validation.examples, settings.epochs, steps, devices.name(strategy)),
    )
    with strategy.scope():
        resume = Resume(store, model, steps, title, epochs)
    progress.begin_at(resume.epoch, resume.step)
    callbacks = [progress, epochs, resume]

    def run(first: int, last: int, done: int = 0) -> None:
        model.fit(
            devices.ahead(train_data(first, last, done), strategy),
            validation_data=val_data,
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=steps - done,
            callbacks=callbacks,
            shuffle=False,  # the data set is in its order already
            verbose=0,
        )

    with records.readable_errors(), resume.listening():
        if settings.evaluate_initial and not written.rows:
            loss = model.evaluate(val_data, verbose=0)["loss"]
            written.add(epoch=0, step=0, val_loss=loss)
            log.info("%s: validation loss %.2f before the first step", title, loss)
        begun = resume.epoch
        if resume.step == steps:  # all of the epoch but its validation
            rest = keras.callbacks.CallbackList(callbacks, model=model)
            rest.on_epoch_begin(begun)
            logs = dict(model.get_metrics_result())
            rest.on_epoch_end(begun, {**logs, "val_loss": model.evaluate(val_data, verbose=0)["loss"]})
        elif resume.step:
            run(begun, begun + 1, resume.step)
        begun += resume.step > 0
        if begun < settings.epochs and not epochs.ended:
            run(begun, settings.epochs)
    return epochs.kept()


def compiled(
    network: keras.Model,
    rate: keras.optimizers.schedules.LearningRateSchedule,
    settings: TrainSettings,
    steps: int,
    strategy: "Strategy",
    supervised: Sequence[Supervised] = HEAT_MAPS,
    make: Callable[..., PoseModel] = PoseModel,
) -> PoseModel:
    """`network`, made in the scope of `strategy`, ready for epochs of `steps` steps at the learning rate `rate`.

    `make` has the arguments of `PoseModel`.
    """
    together = _divisor(steps, settings.steps_per_execution)
    if together < settings.steps_per_execution:
        log.info(
            "%d steps are run by a call, not %d (train.steps_per_execution): an epoch of %d steps has no such part",
            *(together, settings.steps_per_execution, steps),
        )
    with strategy.scope():
        sigma = settings.heatmap_sigma * network.outputs[-1].shape[1] / SIGMA_REFERENCE_HEIGHT
        model = make(network, sigma, strategy.num_replicas_in_sync, supervised, settings.accumulation)
        model.compile(
            Adam(rate),
            # What JAX does not compile, it runs one operation at a time.
            jit_compile=settings.jit_compile or keras.backend.backend() == "jax",
            steps_per_execution=together,
        )
        # Else the first step makes these variables, and TensorFlow traces it twice.
        model.optimizer.build(model.trainable_variables)
    return model


class _Epochs(keras.callbacks.Callback):
    """Writes history.csv, keeps the weights of the best epoch, and stops when the loss is not a number.

    It also stops `patience` epochs after the best one, unless that is None.
    """

    def __init__(
        self,
        network: keras.Model,
        history: History,
        progress: Progress,
        rate: Any,
        best: bool,
        patience: int | None = None,
    ) -> None:
        super().__init__()
        self._network = network
        self._history = history
        self._progress = progress
        self._rate = rate
        self._patience = patience
        self._best_loss, self._best_epoch = math.inf, 0
        self._best = get_weights(network) if best else None
        self.ended = False
        """Whether training ended before its last epoch."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of history.csv, so far."""
        return self._history.rows

    @property
    def best(self) -> Weights | None:
        """The weights of the best epoch, None when the last epoch's are wanted."""
        return self._best

    @property
    def values(self) -> dict[str, Any]:
        """What else training goes on with."""
        return {"best_loss": self._best_loss, "best_epoch": self._best_epoch, "ended": self.ended}

    def restore(self, saved: state.State) -> None:
        """Go on from a state."""
        self._history.restore(saved.rows)
        self._best = saved.best
        self._best_loss, self._best_epoch = saved.values["best_loss"], saved.values["best_epoch"]
        self.ended = saved.values["ended"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        step = int(self.model.optimizer.iterations.numpy())
        speed = self._progress.images_per_second
        self._history.add(
            epoch=epoch + 1,
            step=step,
            loss=float(logs["loss"]),
            data_loss=float(logs["data_loss"]),
            val_loss=float(logs["val_loss"]),
            learning_rate=float(self._rate(step - 1)),
            seconds=round(self._progress.seconds, 3),
            images_per_second=speed and round(speed, 1),
        )
        if self._best is not None and logs["val_loss"] < self._best_loss:
            self._best_loss, self._best_epoch = logs["val_loss"], epoch + 1
            self._best = get_weights(self._network)
        if not math.isfinite(logs["loss"]):
            problem = f"{self._progress.title}: the loss is {logs['loss']} in epoch {epoch + 1}"
            if self._best is None:
                raise TrainingFailed(f"{problem}; {REMEDY}")
            log.warning("%s: training ends, the best epoch so far is kept; %s if this happens often", problem, REMEDY)
            self.model.stop_training = self.ended = True
        elif self._patience is not None and epoch + 1 - self._best_epoch >= self._patience:
            log.info(
                "%s: training ends early, %d epochs after the best one, epoch %d",
                *(self._progress.title, self._patience, self._best_epoch),
            )
            self.model.stop_training = self.ended = True

    def kept(self) -> Weights:
        """The weights of the best epoch, or the last ones."""
        return get_weights(self._network) if self._best is None else self._best


def _check_backend(settings: TrainSettings) -> None:
    if settings.accumulation > 1 and keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"train.accumulation: {settings.accumulation} needs the TensorFlow backend, Keras runs on "
            f"{keras.backend.backend()}; set accumulation: 1 or KERAS_BACKEND=tensorflow"
        )


def _read(path: str | os.PathLike[str], keypoints: int) -> records.Manifest:
    manifest = records.read_manifest(path)
    if manifest.boxes != "ground_truth":
        raise ConfigError(f"{path}: records of {manifest.boxes} have no keypoints; use those of ground-truth boxes")
    if len(manifest.keypoints.names) != keypoints:
        raise ArtifactError(
            f"{path}: {len(manifest.keypoints.names)} keypoints, but the network has {keypoints}; "
            "run the step that made its initial weights again"
        )
    return manifest


def _divisor(steps: int, wanted: int) -> int:
    """The largest divisor of `steps` up to `wanted`: Keras would run into the next epoch with any other number."""
    return next(divisor for divisor in range(min(wanted, steps), 0, -1) if steps % divisor == 0)
