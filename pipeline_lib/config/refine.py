"""The refinement of poses (PoseFix; paper, the starred rows of Table 3): a network that is trained once, for every final one."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.config.fields import BATCH, EPOCHS, SIDE, Flag, Name, Positive, WeightsFile, _without_empty
from pipeline_lib.config.final import InputSize
from pipeline_lib.config.training import Augmentation, TrainSettings

NOT_OF_A_REFINER = ("heatmap_sigma", "warmup_epochs")
# What `refine.train` takes from `train`: how it is computed. How long and fast a refiner learns is its own.
SHARED = ("precision", "cpu_threads", "deterministic", "steps_per_execution", "jit_compile", "devices", "accumulation")


class RefinerTraining(TrainSettings):
    """The training of a refiner: `train` with PoseFix's values, and a rate that falls in steps."""

    epochs: Positive = Field(140, le=EPOCHS, description="Passes over the training split.")
    batch: Positive = Field(128, le=BATCH, description="Persons in a step, over all devices.")
    base_rate: Annotated[float, Field(strict=True, gt=0)] = Field(5e-4, description="Learning rate at the start.")
    scale_rate: Flag = Field(False, description="Multiply the rate by batch / 32.")
    milestones: tuple[Positive, ...] = Field(
        (90, 120), description="Epochs after which the rate is divided by 10, ascending."
    )
    augmentation: Augmentation = Field(Augmentation(), description="Random changes of the training crops.")
    keep: Literal["best", "last"] = Field("last", description="Which epoch's weights are kept.")

    @model_validator(mode="before")
    @classmethod
    def _own(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and (unused := [key for key in NOT_OF_A_REFINER if key in value]):
            raise ValueError(f"{unused[0]}: the training of a refiner has none; leave it out")
        return value

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must ascend")
        return self


class RefineConfig(InputSize):
    """A refiner of the final networks' results."""

    enabled: Flag = Field(False, description="Train a refiner, and refine the results of every final network.")
    network: str = Field("posefix_r152", description="posefix_r50, posefix_r101 or posefix_r152.")
    height: Positive = Field(384, le=SIDE, description="Height of its input in pixels.")
    width: Positive = Field(288, le=SIDE, description="Width of its input in pixels.")
    sigma: Annotated[float, Field(strict=True, gt=0)] | None = Field(
        None,
        description="Standard deviation of a keypoint of the input pose in pixels; null: 7 at height 256, 9 at 384.",
    )
    estimates: Name | None = Field(
        None,
        description="The final network whose estimates stand for training keypoints without a label; null: the first.",
    )
    pretrained: WeightsFile | None = Field(
        None,
        description="Weights to start from: ResNet of keras.applications (.h5, .keras), or a refiner (.safetensors).",
    )
    train: RefinerTraining = Field(
        RefinerTraining(), description="Its training; how it is computed (precision, devices, ...) comes from `train`."
    )

    @property
    def pose_sigma(self) -> float:
        """`sigma`, or for other heights than PoseFix's what lies on the line through its two, below 256 in proportion."""
        if self.sigma is not None:
            return self.sigma
        (low, at_low), (high, at_high) = SIGMAS
        if self.height <= low:
            return at_low * self.height / low
        return at_low + (at_high - at_low) * (self.height - low) / (high - low)


SIGMAS = ((256, 7.0), (384, 9.0))
"""Height of the input and standard deviation of a keypoint of the input pose, in pixels, as published."""


def shared(train: Mapping[str, Any], refine: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a section `refine` with what its training takes from those of `train`."""
    own = refine.get("train")
    if own is not None and not isinstance(own, Mapping):
        return dict(refine)
    taken = {key: train[key] for key in SHARED if key in train}
    return {**refine, "train": {**taken, **_without_empty(RefinerTraining, own or {})}}
