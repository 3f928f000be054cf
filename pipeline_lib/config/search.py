"""The evolution: what can be sampled, and how (paper, section IV)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from pipeline_lib.config.fields import (
    CHANNELS,
    EPOCHS,
    EXPONENT,
    GENERATIONS,
    KERNEL,
    MODULES,
    PARAMETERS,
    SIDE,
    STEM_STRIDE,
    TRAININGS,
    Blocks,
    BlocksPerModule,
    ChannelsPerModule,
    Expansion,
    ExpansionPerModule,
    Flag,
    Generation,
    Genotype,
    Kernel,
    NonNegative,
    Number,
    Positive,
    Probability,
    Section,
    WeightsFile,
)
from pipeline_lib.config.simulation import Simulation
from pipeline_lib.config.training import TrainSettings
from pipeline_lib.explain import MAP, NUMBER

# Paper, Table 4: blocks, kernel, channels / 8, stride of each module.
PAPER_ANCESTOR: Genotype = (
    (1, 3, 2, 1),
    (2, 3, 3, 2),
    (2, 5, 5, 2),
    (3, 3, 10, 2),
    (3, 5, 14, 1),
    (4, 5, 24, 2),
    (1, 3, 40, 1),
)


def _of_every_module(value: Any) -> Any:
    return (value,) * MODULES if isinstance(value, int) and not isinstance(value, bool) else value


class SearchSpace(Section):
    """The genotypes that can be sampled, and what is common to all of them (paper, section IV-A, appendix A-A).

    The defaults are the paper's. A genotype has 7 modules of (blocks, kernel, channels / 8, stride).
    """

    kernels: tuple[Kernel, ...] = Field((3, 5), min_length=1, description="Kernel sizes, odd, ascending.")
    max_blocks: BlocksPerModule = Field(
        (4, 4, 4, 4, 4, 4, 4), description="Largest number of blocks, of all or of each module."
    )
    max_channels: ChannelsPerModule | None = Field(
        None, description="Largest channels / 8 of each module; null: the ancestor's."
    )
    free_stride_modules: tuple[Annotated[int, Field(strict=True, ge=1, le=MODULES)], ...] = Field(
        (5, 6, 7), description="Modules (1-7) whose stride is searched."
    )
    stride_limit: Annotated[int, Field(strict=True, ge=2, le=SIDE)] = Field(
        32, description="Largest overall stride of the backbone, the stem's 2 included; a power of two."
    )
    expansion: ExpansionPerModule = Field(
        (1, 6, 6, 6, 6, 6, 6), description="Expansion ratio of all or of each module's blocks."
    )
    stem: Positive = Field(32, le=8 * CHANNELS, description="Channels of the stem convolution.")
    head: Positive = Field(128, le=8 * CHANNELS, description="Channels of the head's transposed convolutions.")
    head_layers: NonNegative = Field(3, le=12, description="Transposed convolutions of the head, each of stride 2.")
    final_kernel: Positive = Field(1, le=KERNEL, description="Kernel of the final convolution (E1 of the paper: 3).")

    @field_validator("max_blocks", mode="before", json_schema_input_type=Blocks | BlocksPerModule)
    @classmethod
    def _blocks_of_every_module(cls, value: Any) -> Any:
        return _of_every_module(value)

    @field_validator("expansion", mode="before", json_schema_input_type=Expansion | ExpansionPerModule)
    @classmethod
    def _expansion_of_every_module(cls, value: Any) -> Any:
        return _of_every_module(value)

    @field_validator("final_kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("an odd number is expected")
        return value

    @field_validator("kernels")
    @classmethod
    def _kernels(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(kernel % 2 == 0 for kernel in value) or list(value) != sorted(set(value)):
            raise ValueError("odd numbers in ascending order are expected")
        return value

    @field_validator("stride_limit")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("a power of two is expected")
        return value

    @property
    def max_downsamplings(self) -> int:
        """Modules of stride 2 that the stride limit allows (4 in the paper: Algorithm 1's `sum(stride - 1) = 4`)."""
        return int(math.log2(self.stride_limit // STEM_STRIDE))


PAPER_SPACE = SearchSpace()


def overall_stride(genotype: Genotype) -> int:
    """The backbone's overall stride, the stem included."""
    return STEM_STRIDE * math.prod(stride for _, _, _, stride in genotype)


Children = Annotated[
    Annotated[Number, Tag(NUMBER)] | Annotated[dict[Generation, Number], Tag(MAP)],
    Discriminator(lambda value: MAP if isinstance(value, Mapping) else NUMBER),
]


class Convergence(Section):
    """When a search ends before its last generation."""

    patience: Positive = Field(le=GENERATIONS, description="Generations in a row without a gain that end the search.")
    min_gain: Annotated[float, Field(strict=True, ge=0, lt=1)] = Field(
        0.01, description="A gain: the best J falls by at least this fraction of what it was after the last gain."
    )


class SearchConfig(Section):
    """The evolution: population, fitness, space, and how its networks are trained (paper, section IV)."""

    enabled: Flag = Field(True, description="false: no search; the final networks are published ones.")
    generations: NonNegative = Field(
        15, le=GENERATIONS, description="Generations after the ancestor's; raising it extends a search."
    )
    convergence: Convergence | None = Field(
        None, description="End the search when J falls no longer, after `generations` at the latest; null: only there."
    )
    children: Children = Field(
        64, description="lambda: children of a generation, or a map {first generation: children}."
    )
    parents: Number = Field(4, description="mu: survivors of a generation.")
    keep_ancestor: Flag = Field(False, description="The ancestor stays in every pool (the published program).")
    target_parameters: Annotated[float, Field(strict=True, ge=1, le=PARAMETERS)] = Field(
        5e6, description="T of the fitness (Eq. 3)."
    )
    gamma: Annotated[float, Field(strict=True, ge=-EXPONENT, le=EXPONENT)] = Field(
        -0.07, description="Exponent of the fitness (Eq. 3); negative favours small networks."
    )
    transfer: Flag = Field(True, description="Children inherit weights; false: they start from scratch.")
    donor: Literal["module", "network"] = Field(
        "module",
        description="A new block inherits from the last block of its module, or of the network (published program).",
    )
    transfer_kernels: Flag = Field(
        True, description="Depthwise kernels inherit across kernel sizes; false: they stay new (published program)."
    )
    fitness_split: Literal["val", "holdout"] = Field(
        "val", description="Where the loss is measured: on `val` (the paper), or on a hold-out of training images."
    )
    holdout: Annotated[float, Field(strict=True, gt=0, lt=1)] = Field(
        0.05, description="Fraction of the training images in the hold-out; the search does not train on them."
    )
    compare_scratch: Flag = Field(
        False, description="Also train generation 1 from scratch, and the ancestor on, for the same steps."
    )
    ancestor: Genotype = Field(PAPER_ANCESTOR, description="Blocks, kernel, channels / 8, stride of the 7 modules.")
    pretrained: WeightsFile | None = Field(
        None,
        description="Weights that the ancestor starts from, a path or gs://: EfficientNet-B0 of keras.applications "
        "(.h5, .weights.h5, .keras) or a .safetensors of a search.",
    )
    ancestor_epochs: Positive = Field(30, le=EPOCHS, description="Epochs of the ancestor.")
    space: SearchSpace = Field(PAPER_SPACE, description="What can be sampled.")
    train: TrainSettings = Field(TrainSettings(), description="Training of children; unset keys come from `train`.")
    max_failed: Probability = Field(
        0.5, description="Share of a generation's trainings that may fail; more stop the search."
    )
    simulation: Simulation | None = Field(
        None,
        description="Trainings only take their time, and losses are made up: what orchestration costs; null: real ones.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.children, dict) and 1 not in self.children:
            raise ValueError("children: a map needs an entry for generation 1")
        trainings = sum(self.children_of(generation) for generation in range(1, self.generations + 1))
        if trainings > TRAININGS:
            raise ValueError(f"{trainings:,} children in all generations together: at most {TRAININGS:,} are possible")
        for generation in range(1, self.generations + 1):
            pool = self.children_of(generation) + self.parents_of(generation - 1)
            if self.parents > pool:
                raise ValueError(
                    f"parents (mu = {self.parents}) is larger than the pool of generation {generation}: "
                    f"{self.children_of(generation)} children + {self.parents_of(generation - 1)} parents = {pool}"
                )
        if self.train.warmup_epochs >= self.ancestor_epochs:
            raise ValueError(
                f"train.warmup_epochs ({self.train.warmup_epochs}) must be below ancestor_epochs ({self.ancestor_epochs}) too"
            )
        if self.compare_scratch and not self.transfer:
            raise ValueError("compare_scratch: there is nothing to compare with transfer: false")
        if self.compare_scratch and not self.train.evaluate_initial:
            raise ValueError(
                "compare_scratch: it compares losses before the first step; set train.evaluate_initial: true"
            )
        if self.compare_scratch and self.train.patience is not None:
            raise ValueError("compare_scratch: it compares trainings of the same length; set train.patience: null")
        return self

    def children_of(self, generation: int) -> int:
        """Number of children of `generation` (the ancestor is the one child of generation 0)."""
        if generation == 0:
            return 1
        if isinstance(self.children, int):
            return self.children
        return self.children[max(first for first in self.children if first <= generation)]

    def parents_of(self, generation: int) -> int:
        """Number of survivors that `generation` hands on."""
        return 1 if generation == 0 else self.parents

    def train_of(self, generation: int) -> TrainSettings:
        """The training of a generation's children; the ancestor's is longer."""
        if generation:
            return self.train
        return TrainSettings(**{**dict(self.train), "epochs": self.ancestor_epochs})
