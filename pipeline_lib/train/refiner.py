"""The training of a refiner: from an image and a pose with errors to the truth (PoseFix, Moon et al., CVPR 2019)."""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
from keras import ops

from pipeline_lib import artifacts, devices
from pipeline_lib.config import RefineConfig, RefinerTraining
from pipeline_lib.data import records, refinement, verdict
from pipeline_lib.nets import pretrained, registry
from pipeline_lib.nets.maps import flat, mean_position, offsets, outer, refiner_input
from pipeline_lib.train.model import PoseModel
from pipeline_lib.train.schedule import stepped
from pipeline_lib.train.trainer import Task, train_network

log = logging.getLogger(__name__)


def refiner_loss(truth: Any, maps: Any, input_size: tuple[int, int]) -> Any:
    """The loss of each person, float32 (N,): the mean over keypoints of two terms, 0 for those with v = 0.

    One is the cross-entropy between the softmax of a map over its pixels and the truth, shared by the four pixels around
    it as in bilinear interpolation; the other the mean over x and y of the distance of `soft_argmax` from the truth, in
    pixels of the maps. Keypoints with v = 0 stay in the denominator.

    Args:
        truth: (N, K, 3) of x, y in input pixels and v.
        maps: (N, H', W', K), without an activation.
        input_size: (H, W) of the input.
    """
    truth = ops.cast(truth, "float32")
    size = maps.shape[1:3]
    x, y = (
        truth[:, :, axis] * output / side
        for axis, output, side in ((0, size[1], input_size[1]), (1, size[0], input_size[0]))
    )

    def share(centre: Any, side: int) -> Any:
        # A truth beyond the last pixel's centre belongs to that pixel.
        return ops.relu(1 - ops.abs(offsets(ops.clip(centre, 0, side - 1), side)))

    target = flat(outer(share(x, size[1]), share(y, size[0])))
    entropy = -ops.sum(target * ops.log_softmax(flat(maps), axis=1), axis=1)
    distance = ops.mean(ops.abs(mean_position(maps) - ops.stack([x, y], axis=-1)), axis=-1)
    visible = ops.cast(truth[:, :, 2] > 0, "float32")
    return ops.mean(visible * (entropy + distance), axis=-1)


class RefinerModel(PoseModel):
    """A `PoseModel` that takes (uint8 crops (N, H, W, 3), poses (N, K, 3) in crop pixels) and is trained by `refiner_loss`.

    Args:
        pose_sigma: standard deviation of the poses' maps in input pixels.
        arguments: of `PoseModel`; the `sigma` of heat maps has no meaning here.
    """

    def __init__(self, *arguments: Any, pose_sigma: float) -> None:
        super().__init__(*arguments)
        self.pose_sigma = pose_sigma

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Maps float32 (N, H', W', K), without an activation."""
        images, poses = inputs
        return self.network(refiner_input(images, poses, self.pose_sigma), training=training)

    def _persons(self, y: Any, output: Any, sigma: float = 1.0, hardest: int | None = None) -> Any:
        return refiner_loss(y, output, self.input_size)


Estimates = Sequence[Mapping[str, Any]]


def train(
    *,
    train_manifest: Path,
    train_annotations: Path,
    train_estimates: Estimates,
    val_manifest: Path,
    val_annotations: Path,
    val_estimates: Estimates,
    train_validation: Path | None = None,
    val_validation: Path | None = None,
    weights: str | os.PathLike[str],
    history: str | os.PathLike[str],
    report: str | os.PathLike[str],
    settings: RefineConfig,
    seed: int,
    device: str = "auto",
) -> None:
    """Train a refiner and write its weights and history.

    Args:
        train_manifest, val_manifest: records with ground-truth boxes.
        train_annotations, val_annotations: what they were made from.
        train_estimates, val_estimates: COCO result lists of a pose network on these; they stand for keypoints that are
            not labelled. May be empty.
        train_validation, val_validation: what the validation said of the annotations; None: they are validated here.
        weights, history, report: files to write; the report says what was inherited from `settings.pretrained`.
        settings: the network, and its training.
        seed: of initial weights, order, augmentation and errors.
        device: auto, cpu, gpu or tpu.

    Raises:
        EvoPoseError: as `trainer.train`, and for annotations that are damaged or do not belong to the records.
    """
    # Before the weights of another framework's file are read with TensorFlow.
    devices.configure(settings.train.cpu_threads, settings.train.deterministic)
    schema = records.read_manifest(train_manifest).keypoints
    network = registry.refiner(settings.network, settings.height, settings.width, len(schema.names))
    if settings.pretrained is None:
        initial, inheritance = pretrained.from_scratch(network, seed)
    else:
        initial, inheritance = pretrained.inherit_refiner(settings.pretrained, network, seed, schema.names)
        log.info("refiner: %s", pretrained.summary(inheritance))
    artifacts.write_document(report, inheritance)
    verdicts = [None if path is None else verdict.read(path) for path in (train_validation, val_validation)]
    training, validation = (
        partial(refinement.dataset, people=refinement.read_people(path, schema, estimates, said))
        for path, estimates, said in (
            (train_annotations, train_estimates, verdicts[0]),
            (val_annotations, val_estimates, verdicts[1]),
        )
    )
    inputs = {
        "pose_sigma": settings.pose_sigma,
        "annotations": [artifacts.sha256(path) for path in (train_annotations, val_annotations)],
        "validation": [path and artifacts.sha256(path) for path in (train_validation, val_validation)],
        "estimates": [list(train_estimates), list(val_estimates)],
    }
    train_network(
        network,
        initial,
        train_manifest=train_manifest,
        val_manifest=val_manifest,
        weights=weights,
        history=history,
        settings=settings.train,
        seed=seed,
        device=device,
        title="training of the refiner",
        task=task(settings, training, validation, inputs),
    )


def task(settings: RefineConfig, training: Any, validation: Any, inputs: Mapping[str, Any] | None = None) -> Task:
    """What the trainer is told; the data are functions with the arguments of `records.dataset`, made from `inputs`."""
    return Task(training, validation, partial(RefinerModel, pose_sigma=settings.pose_sigma), _rate, inputs or {})


def _rate(settings: RefinerTraining, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    return stepped(settings.base_rate, settings.batch, steps, settings.milestones, settings.scale_rate)
