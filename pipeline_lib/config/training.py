"""One training: its settings, and the random changes of its crops."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.config.fields import BATCH, EPOCHS, SIDE, THREADS, Flag, NonNegative, Positive, Probability, Section


class Reach(Section):
    """How far the crops of a training can reach beyond their boxes: what crop records are made for."""

    height: Positive = Field(le=SIDE, description="Height of the crops in pixels.")
    width: Positive = Field(le=SIDE, description="Width of the crops in pixels.")
    scale: Annotated[float, Field(strict=True, ge=1, lt=2)] = Field(1.0, description="Largest scale of the region.")
    rotation: Annotated[float, Field(strict=True, ge=0, le=180)] = Field(
        0.0, description="Largest rotation in degrees, to either side."
    )

    @property
    def name(self) -> str:
        """As it is written in paths: 256x192, or 256x192_scale1.3_rotation80."""
        scale = f"_scale{_short(self.scale)}" if self.scale > 1 else ""
        rotation = f"_rotation{_short(self.rotation)}" if self.rotation > 0 else ""
        return f"{self.height}x{self.width}{scale}{rotation}"

    @property
    def is_final(self) -> bool:
        """Whether crops within it are all the same, mirroring aside."""
        return self.scale == 1 and self.rotation == 0

    def holds(self, other: Self) -> bool:
        """Whether records that were made for this reach serve `other`, too."""
        same = (self.height, self.width) == (other.height, other.width)
        return same and self.scale >= other.scale and self.rotation >= other.rotation


def _short(value: float) -> str:
    return repr(value).removesuffix(".0")


class Augmentation(Section):
    """Random changes of a training crop (paper, section V-B: the final training's are the defaults)."""

    flip: Probability = Field(0.5, description="Probability of a horizontal flip.")
    scale_std: Annotated[float, Field(strict=True, ge=0)] = Field(
        0.3, description="Scale is drawn from N(1, scale_std)."
    )
    scale_limit: Annotated[float, Field(strict=True, ge=0, lt=1)] = Field(
        0.3, description="Scale is clipped to 1 +- scale_limit."
    )
    rotation_probability: Probability = Field(0.6, description="Probability of a rotation.")
    rotation_std: Annotated[float, Field(strict=True, ge=0)] = Field(
        40.0, description="Rotation is drawn from N(0, std) degrees."
    )
    rotation_limit: Annotated[float, Field(strict=True, ge=0, le=180)] = Field(
        80.0, description="Rotation is clipped to +- degrees."
    )
    half_body_probability: Probability = Field(0.0, description="Probability of a crop of one half of the body.")
    half_body_joints: NonNegative = Field(
        8, le=1000, description="Half-body crops only for persons with more labelled joints."
    )

    def reach(self, height: int, width: int) -> Reach:
        """What crops of this size can reach, half bodies (whose boxes differ from draw to draw) aside."""
        turns = self.rotation_probability > 0 and self.rotation_std > 0
        return Reach(
            height=height,
            width=width,
            scale=1.0 + self.scale_limit if self.scale_std > 0 else 1.0,
            rotation=self.rotation_limit if turns else 0.0,
        )


FLIP_ONLY = Augmentation(scale_std=0, scale_limit=0, rotation_probability=0)


# The published program where it differs from the paper, beside its training settings.
RELEASED: Mapping[str, Mapping[str, Any]] = {
    "search": {"keep_ancestor": True, "donor": "network", "transfer_kernels": False},
    "evaluation": {"flip_test": "released"},
}
# It compared a normal draw with 0, so that half of the eligible persons were cropped to one half.
RELEASED_HALF_BODY = 0.5


class TrainSettings(Section):
    """One training: length, rate, regularisation, augmentation, numerics (paper, section V-B)."""

    epochs: Positive = Field(5, le=EPOCHS, description="Passes over the training split.")
    batch: Positive = Field(512, le=BATCH, description="Persons in a step, over all devices.")
    base_rate: Annotated[float, Field(strict=True, gt=0)] = Field(
        2.5e-4, description="Learning rate for a batch of 32."
    )
    scale_rate: Flag = Field(True, description="Multiply the rate by batch / 32.")
    warmup_epochs: Annotated[float, Field(strict=True, ge=0)] = Field(
        0.0, description="Linear warm-up from base_rate, in epochs."
    )
    l2: Annotated[float, Field(strict=True, ge=0)] = Field(
        1e-5, description="L2 factor on kernels; in the training loss only."
    )
    l2_depthwise: Flag = Field(True, description="Whether depthwise kernels are in the L2 term.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of all but the last convolution."
    )
    batch_norm_momentum: Probability = Field(
        0.99, description="Batch norm momentum; some hundred steps need about 0.9."
    )
    stochastic_depth: Probability | None = Field(None, description="Rate at the last block; null: by the input size.")
    augmentation: Augmentation = Field(FLIP_ONLY, description="Random changes of the training crops.")
    keep: Literal["best", "last"] = Field("best", description="Which epoch's weights are kept.")
    patience: Positive | None = Field(
        None,
        le=EPOCHS,
        description="Early stopping: end after so many epochs without a lower validation loss; the rate falls as over all "
        "`epochs`. Needs keep: best.",
    )
    heatmap_sigma: Annotated[float, Field(strict=True, gt=0)] = Field(
        2.0, description="Standard deviation of the targets in units of (heat-map height) / 64."
    )
    cpu_threads: Positive = Field(
        1, le=THREADS, description="TensorFlow's CPU threads; another number gives other bytes."
    )
    deterministic: Flag = Field(True, description="Deterministic ops: same seed and threads, same bytes.")
    steps_per_execution: Positive = Field(
        1,
        le=EPOCHS,
        description="Steps run by one call of the compiled step: the largest divisor of an epoch's steps up to it.",
    )
    jit_compile: Flag = Field(False, description="Compile the step with XLA.")
    devices: Positive = Field(1, le=4096, description="Devices that share the batch.")
    accumulation: Positive = Field(
        1,
        le=BATCH,
        description="Parts that a device's share of the batch is split into; batch statistics are those of a part.",
    )
    evaluate_initial: Flag = Field(False, description="Also measure the validation loss before the first step.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch % self.devices:
            raise ValueError(f"a batch of {self.batch} cannot be shared by {self.devices} devices: not divisible")
        if self.batch // self.devices % self.accumulation:
            raise ValueError(
                f"accumulation: a device's share of {self.batch // self.devices} cannot be split into "
                f"{self.accumulation} parts: not divisible"
            )
        if self.jit_compile and self.deterministic:
            raise ValueError("jit_compile: Keras does not use XLA with deterministic ops; set deterministic: false")
        if self.patience is not None and self.keep != "best":
            raise ValueError(
                "patience: training ends after its best epoch, whose weights are to be kept; set keep: best"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        return self
