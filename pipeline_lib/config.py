"""The typed configuration: one pydantic model per section of config/config.yaml.

`workflow/schemas/config.schema.yaml` is generated from here (`python -m pipeline_lib.config`), config/README.md explains
every key, and tests keep the three equal. Models are frozen and refuse unknown keys.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from pipeline_lib.errors import ConfigError
from pipeline_lib.explain import ADDRESS, MAP, MD5, MEMBER, NAME, NUMBER, PATH, explain

MODULES = 7
STEM_STRIDE = 2
HEAD_STRIDE = 2

# Limits that no experiment needs to pass: nonsense is refused at once and does not hang a program.
SIDE = 8192
SEED = 2**63 - 1
BATCH = 2**20
EPOCHS = 100_000
THREADS = 1024
CHILDREN = 100_000
GENERATIONS = 10_000
TRAININGS = 1_000_000
MODULE_BLOCKS, KERNEL, CHANNELS, STRIDE, EXPANSION = 100, 99, 4096, 64, 100

# Strict: neither true nor text is a number.
Positive = Annotated[int, Field(strict=True, gt=0)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
Real = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
Coefficient = Annotated[float, Field(strict=True, gt=0, le=100)]
Blocks = Annotated[int, Field(strict=True, gt=0, le=MODULE_BLOCKS)]
Kernel = Annotated[int, Field(strict=True, gt=0, le=KERNEL)]
Channels = Annotated[int, Field(strict=True, gt=0, le=CHANNELS)]
Stride = Annotated[int, Field(strict=True, gt=0, le=STRIDE)]
Expansion = Annotated[int, Field(strict=True, gt=0, le=EXPANSION)]
Gene = tuple[Blocks, Kernel, Channels, Stride]
Genotype = tuple[Gene, Gene, Gene, Gene, Gene, Gene, Gene]
BlocksPerModule = tuple[Blocks, Blocks, Blocks, Blocks, Blocks, Blocks, Blocks]
ChannelsPerModule = tuple[Channels, Channels, Channels, Channels, Channels, Channels, Channels]
ExpansionPerModule = tuple[Expansion, Expansion, Expansion, Expansion, Expansion, Expansion, Expansion]
Number = Annotated[int, Field(strict=True, gt=0, le=CHILDREN)]
# Of the keys of a map, which JSON and Snakemake's command line have as text.
Generation = Annotated[int, Field(gt=0, le=GENERATIONS)]
WeightsFile = Annotated[str, Field(pattern=r"\.(h5|keras|safetensors)$")]
Name = Annotated[str, Field(pattern=NAME, max_length=64)]

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


class Section(BaseModel):
    """A part of the configuration: immutable, strict about keys. A section without content has its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        return _without_empty(cls, {} if value is None else value)


def _without_empty(model: type[BaseModel], value: Any) -> Any:
    """The values of a section without its empty sections: a key with nothing under it is as if left out."""
    if not isinstance(value, Mapping):
        return value
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    sections = {name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}
    return {key: part for key, part in value.items() if part is not None or key not in sections}


class KeypointSchema(Section):
    """Names, symmetry, skeleton and OKS constants of the keypoints of a data set."""

    names: tuple[str, ...] = Field(min_length=1, description="Keypoint names in the order of the annotations.")
    flip_pairs: tuple[tuple[str, str], ...] = Field((), description="Left/right pairs that change places in a mirror.")
    skeleton: tuple[tuple[str, str], ...] = Field((), description="Pairs of keypoints that are joined when drawn.")
    sigmas: tuple[Annotated[float, Field(strict=True, gt=0)], ...] = Field(
        description="OKS standard deviation of each keypoint."
    )
    upper_body: tuple[str, ...] = Field((), description="Keypoints of the upper half, for half-body augmentation.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError("names must differ from each other")
        if len(self.sigmas) != len(self.names):
            raise ValueError(f"one sigma for each of the {len(self.names)} names is expected, {len(self.sigmas)} given")
        mentioned = {name for pair in (*self.flip_pairs, *self.skeleton) for name in pair} | set(self.upper_body)
        if unknown := sorted(mentioned - set(self.names)):
            raise ValueError(f"{', '.join(unknown)}: not among the names")
        paired = [name for pair in self.flip_pairs for name in pair]
        if len(set(paired)) != len(paired):
            raise ValueError("a keypoint can be in one flip pair only")
        return self

    def flip_permutation(self) -> tuple[int, ...]:
        """Index of the keypoint that takes each place when a person is mirrored."""
        place = {name: index for index, name in enumerate(self.names)}
        partner = dict(self.flip_pairs) | {right: left for left, right in self.flip_pairs}
        return tuple(place[partner.get(name, name)] for name in self.names)

    def indices(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
        """`pairs` of names as pairs of 0-based indices."""
        place = {name: index for index, name in enumerate(self.names)}
        return tuple((place[first], place[second]) for first, second in pairs)


def _sides(*parts: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"left_{part}", f"right_{part}") for part in parts)


_UPPER = _sides("eye", "ear", "shoulder", "elbow", "wrist")
_PAIRS = _UPPER + _sides("hip", "knee", "ankle")


COCO_KEYPOINTS = KeypointSchema(
    names=("nose", *(name for pair in _PAIRS for name in pair)),
    flip_pairs=_PAIRS,
    skeleton=(
        ("left_ankle", "left_knee"),
        ("left_knee", "left_hip"),
        ("right_ankle", "right_knee"),
        ("right_knee", "right_hip"),
        ("left_hip", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_elbow"),
        ("right_shoulder", "right_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_elbow", "right_wrist"),
        ("left_eye", "right_eye"),
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
    sigmas=(0.026, *(s for s in (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in range(2))),
    upper_body=("nose", *(name for pair in _UPPER for name in pair)),
)


class SyntheticConfig(Section):
    """The embedded synthetic data set: how many images, how large."""

    seed: NonNegative = Field(0, le=SEED, description="The data set is made from it; not the seed of the search.")
    train_images: Positive = Field(400, le=10_000_000, description="Images of the training split.")
    val_images: Positive = Field(100, le=10_000_000, description="Images of the validation split.")
    height: Annotated[int, Field(strict=True, ge=64, le=SIDE)] = Field(
        240, description="Height of the largest images in pixels."
    )
    width: Annotated[int, Field(strict=True, ge=64, le=SIDE)] = Field(
        320, description="Width of the largest images in pixels."
    )
    people: Positive = Field(4, le=100, description="Largest number of people in a scene.")


class Split(Section):
    """Where the images and annotations of one split lie."""

    images: str = Field(description="Folder of the images.")
    annotations: str = Field(description="COCO keypoint annotations (JSON).")
    detections: str | None = Field(
        None, description="Person detections (JSON list of image_id, category_id, bbox, score)."
    )


class Archive(Section):
    """A ZIP archive, and what of it is unpacked."""

    path: Annotated[str, Field(pattern=PATH)] = Field(description="Path below base_url.")
    size: Positive | None = Field(None, description="Bytes; null: what the server says.")
    md5: Annotated[str, Field(pattern=MD5)] = Field(description="MD5 of the archive, in hexadecimal.")
    members: dict[Annotated[str, Field(pattern=MEMBER)], Positive] = Field(
        min_length=1, description="What is unpacked: files and folders, with the number of files in each."
    )
    optional: Flag = Field(False, description="Got by the target coco_test alone, not by coco.")

    @property
    def file(self) -> str:
        """The archive's file name."""
        return self.path.rpartition("/")[2]


class DownloadConfig(Section):
    """Where the files of a data set are got, and how many persons they hold."""

    base_url: Annotated[str, Field(pattern=ADDRESS)] = Field(description="Address of the archives.")
    folder: str = Field(description="What is unpacked is put below it.")
    archives: dict[Name, Archive] = Field(min_length=1, description="The archives by name.")
    keep_archives: Flag = Field(False, description="Keep the archives in the folder; they are deleted otherwise.")
    persons: dict[Literal["train", "val"], Positive] = Field(
        {}, description="Persons that the filter of a split must leave."
    )
    images: dict[Literal["train", "val", "test"], Positive] = Field(
        {}, description="Images that the annotations of a split must list."
    )
    detections: str = Field(
        "they are put there by hand", description="How the person detections are got; told when they are missing."
    )


class DatasetConfig(Section):
    """A data set: its paths and its keypoints."""

    name: Name = Field(description="Names the folder results/data/<name>/.")
    synthetic: SyntheticConfig | None = Field(None, description="Make the data set, at the paths below, from the seed.")
    download: DownloadConfig | None = Field(
        None, description="Where `make coco` gets the files at the paths below; null: they are put there by hand."
    )
    keypoints: KeypointSchema = Field(COCO_KEYPOINTS, description="`coco`, or names, flip_pairs, skeleton and sigmas.")
    train: Split
    val: Split
    test: Split | None = Field(
        None, description="Images without public annotations (COCO's test-dev): `annotations` lists the images alone."
    )

    def splits(self) -> dict[str, Split]:
        """The splits that the data set has, by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @model_validator(mode="after")
    def _downloaded(self) -> Self:
        if self.download is None:
            return self
        if self.synthetic is not None:
            raise ValueError("synthetic and download exclude each other: a data set is made or got")
        folder = Path(self.download.folder)
        got = {folder / member for archive in self.download.archives.values() for member in archive.members}
        for name, split in self.splits().items():
            for key, path in (("images", split.images), ("annotations", split.annotations)):
                if Path(path) not in got:
                    raise ValueError(
                        f"{name}.{key}: {path} is not among what `download` brings ({', '.join(sorted(map(str, got)))}); "
                        "correct the path or download.folder, or leave `download` out when the files lie elsewhere"
                    )
        return self

    @field_validator("keypoints", mode="before", json_schema_input_type=Literal["coco"] | KeypointSchema)
    @classmethod
    def _builtin(cls, value: Any) -> Any:
        return COCO_KEYPOINTS if value == "coco" else value


class ConversionSettings(Section):
    """How annotations become TFRecord shards (Apache Beam)."""

    runner: str = Field("FnApiRunner", description="Beam runner; its options go into `options`.")
    mode: Literal["in_memory", "multi_threading", "multi_processing"] = Field(
        "in_memory", description="How FnApiRunner runs its workers."
    )
    workers: Positive = Field(1, le=THREADS, description="Workers of multi_threading and multi_processing.")
    records: Literal["images"] = Field("images", description="What a record holds: the whole image.")
    shard_size: Positive = Field(1024, le=1_000_000, description="Examples in a shard.")
    options: tuple[str, ...] = Field((), description="More Beam options, such as --region=europe-west4.")


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
    heatmap_sigma: Annotated[float, Field(strict=True, gt=0)] = Field(
        2.0, description="Standard deviation of the targets in units of (heat-map height) / 64."
    )
    cpu_threads: Positive = Field(
        1, le=THREADS, description="TensorFlow's CPU threads; another number gives other bytes."
    )
    deterministic: Flag = Field(True, description="Deterministic ops: same seed and threads, same bytes.")
    steps_per_execution: Positive = Field(1, le=EPOCHS, description="Steps run by one call of the compiled step.")
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
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        return self


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


class SearchConfig(Section):
    """The evolution: population, fitness, space, and how its networks are trained (paper, section IV)."""

    enabled: Flag = Field(True, description="false: no search; the final networks are published ones.")
    generations: NonNegative = Field(
        15, le=GENERATIONS, description="Generations after the ancestor's; raising it extends a search."
    )
    children: Children = Field(
        64, description="lambda: children of a generation, or a map {first generation: children}."
    )
    parents: Number = Field(4, description="mu: survivors of a generation.")
    keep_ancestor: Flag = Field(False, description="The ancestor stays in every pool (the published program).")
    target_parameters: Annotated[float, Field(strict=True, gt=0)] = Field(5e6, description="T of the fitness (Eq. 3).")
    gamma: Real = Field(-0.07, description="Exponent of the fitness (Eq. 3); negative favours small networks.")
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


class InputSize(Section):
    """The input of a network in pixels."""

    height: Positive = Field(256, le=SIDE, description="Height in pixels.")
    width: Positive = Field(192, le=SIDE, description="Width in pixels.")


class ModelConfig(InputSize):
    """A final network: scaled from the champion (paper, section IV-E), or a published one."""

    network: str | None = Field(
        None, description="Name of a published network, such as hrnet_w32; null: scaled from the champion."
    )
    initial: Literal["scratch", "champion"] = Field(
        "scratch", description="Start from new weights (the paper) or from the champion's by weight transfer."
    )
    coefficients: tuple[Coefficient, Coefficient] | None = Field(
        None, description="Depth and width coefficients; null: by compound scaling from the search's input size."
    )
    pretrained: WeightsFile | None = Field(
        None, description="Weights to start from instead: as search.pretrained, for this network."
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.pretrained is not None and self.initial == "champion":
            raise ValueError(
                "pretrained: weights come from there or, with initial: champion, from the search; not both"
            )
        return self

    @model_validator(mode="after")
    def _published(self) -> Self:
        if self.network is not None and self.initial == "champion":
            raise ValueError(f"initial: champion: {self.network} has no part in the champion; use scratch")
        if self.network is not None and self.coefficients is not None:
            raise ValueError(f"coefficients: {self.network} has its own; leave them out")
        return self


class FinalConfig(Section):
    """The final networks, and their training."""

    models: dict[Name, ModelConfig] = Field(min_length=1, description="Name and input size of each network.")
    input: InputSize | None = Field(None, description="Input size of every network instead of its own (smoke runs).")
    from_scratch: Flag = Field(False, description="No network starts from a pretrained file (smoke runs).")
    train: TrainSettings = Field(TrainSettings(), description="Final training; unset keys come from `train`.")

    @model_validator(mode="before")
    @classmethod
    def _shared_by_all(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not isinstance(value.get("models"), Mapping):
            return value
        size = value.get("input")
        shared = dict(size) if isinstance(size, Mapping) else {}
        shared |= {"pretrained": None} if value.get("from_scratch") is True else {}
        models = {name: {**model, **shared} if isinstance(model, Mapping) else model
                  for name, model in value["models"].items()}  # fmt: skip
        return {**value, "models": models}


class EvaluationConfig(Section):
    """The test protocol (paper, section V-B, with the published program's details)."""

    batch: Positive = Field(64, le=BATCH, description="Crops in a prediction step.")
    flip_test: Literal["aligned", "released", "off"] = Field(
        "aligned", description="Average with the mirrored crop, aligned exactly or by the released whole-pixel shift."
    )
    score_threshold: Real = Field(0.2, description="Keypoints below it do not count in a person's score.")
    cpu_threads: Positive = Field(1, le=THREADS, description="TensorFlow's CPU threads of a prediction.")
    frame_rate: Flag = Field(False, description="Measure the frame rate of every final network, too.")
    latency_passes: Positive = Field(1000, le=10**7, description="Forward passes that a frame rate is averaged over.")


class ReportConfig(Section):
    """What the report shows."""

    overlays: Positive = Field(12, le=1000, description="Validation persons drawn with their predictions.")


# Folders of results/ that are no experiments: the data sets, and what compares with the paper.
RESERVED = ("data", "paper")


class Config(Section):
    """Everything that defines an experiment."""

    experiment: Name = Field(description="Names the folder results/<experiment>/.")
    seed: NonNegative = Field(1, le=SEED, description="Everything random is drawn from it.")
    preset: Literal["paper", "released"] = Field(
        "paper", description="Defaults as in the paper, or as in its published program, accidents included."
    )
    device: Literal["auto", "cpu", "gpu", "tpu"] = Field(
        "auto", description="auto: what the profile asks for, else the best that is there."
    )
    dataset: DatasetConfig = Field(description="A file of config/datasets/, or its content.")
    conversion: ConversionSettings = Field(ConversionSettings(), description="Annotations to records.")
    input: InputSize = Field(InputSize(), description="Input size of the search.")
    train: TrainSettings = Field(TrainSettings(), description="Defaults of search.train and final.train.")
    search: SearchConfig = Field(SearchConfig(), description="The evolution.")
    final: FinalConfig
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="Prediction and metrics.")
    report: ReportConfig = Field(ReportConfig(), description="Pictures of the report.")
    paper_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$", max_length=64)] = Field(
        "", description="Of the target paper: what the folders of its experiments start with, such as smoke_."
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """`search.train` and `final.train` start from `train`, and with `preset: released` from that program's values."""
        if not isinstance(value, Mapping):
            return value
        merged = _without_empty(cls, value)
        released = value.get("preset") == "released"
        shared = _without_empty(TrainSettings, merged.get("train", {}))
        for section in ("search", "final"):
            given = merged.get(section, {})
            own = given.get("train") if isinstance(given, Mapping) else 0
            own = _without_empty(TrainSettings, {} if own is None else own)
            if not isinstance(shared, Mapping) or not isinstance(own, Mapping) or not (shared or own or released):
                continue
            train = {**shared, **own}
            if released:
                augmentation = train.get("augmentation", FLIP_ONLY.model_dump(exclude={"half_body_probability"}))
                if isinstance(augmentation, Mapping):
                    augmentation = {"half_body_probability": RELEASED_HALF_BODY, **augmentation}
                train = {"l2_depthwise": False, **train, "augmentation": augmentation}
            merged[section] = {**given, "train": train}
        if released:
            for section, values in RELEASED.items():
                if isinstance(merged.get(section, {}), Mapping):
                    merged[section] = {**values, **merged.get(section, {})}
        return merged

    @field_validator("experiment")
    @classmethod
    def _free(cls, value: str) -> str:
        if value.lower() in RESERVED:
            raise ValueError(f"results/{value}/ is not an experiment's; give it another name")
        return value

    @model_validator(mode="after")
    def _ancestor_within_limit(self) -> Self:
        stride, limit = overall_stride(self.search.ancestor), self.search.space.stride_limit
        if self.search.enabled and stride > limit:
            raise ValueError(
                f"search.ancestor: its overall stride is {stride} (stem included), over search.space.stride_limit {limit}; "
                "change one of them"
            )
        return self

    @model_validator(mode="after")
    def _heat_maps_not_larger(self) -> Self:
        space, growth = self.search.space, HEAD_STRIDE**self.search.space.head_layers
        free = space.free_stride_modules if self.search.generations else ()
        least = STEM_STRIDE * math.prod(
            stride for module, (_, _, _, stride) in enumerate(self.search.ancestor, start=1) if module not in free
        )
        if growth > least:
            raise ValueError(
                f"search.space.head_layers: {space.head_layers} layers enlarge {growth} times, but the backbone may reduce "
                f"only {least} times: heat maps would be larger than the input; use fewer"
            )
        return self

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if not self.search.enabled:
            if scaled := [name for name, model in self.final.models.items() if model.network is None]:
                raise ValueError(f"final.models.{scaled[0]}: without a search (search.enabled) a network must be named")
            return self
        stride = overall_stride(self.search.ancestor)
        if self.search.generations:
            stride = max(stride, self.search.space.stride_limit)
        models = {f"final.models.{name}": model for name, model in self.final.models.items() if model.network is None}
        sizes = {"input": self.input, **models}
        for where, size in sizes.items():
            if size.height % stride or size.width % stride:
                near = [max(1, round(side / stride)) * stride for side in (size.height, size.width)]
                raise ValueError(
                    f"{where}: {size.height}x{size.width} is not divisible by the overall stride {stride} that the "
                    f"search can reach; {near[0]}x{near[1]} is"
                )
        return self


def load(raw: Mapping[str, Any], folder: str | Path = ".") -> Config:
    """The validated configuration of `raw`; a `dataset` that names a YAML file is read from below `folder`.

    Raises `ConfigError` with one line that names every wrong key.
    """
    values = dict(raw)
    if isinstance(values.get("dataset"), str):
        path = Path(folder) / values["dataset"]
        try:
            values["dataset"] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"dataset: {path} cannot be read ({error.strerror}); name a file of config/datasets/"
            ) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"dataset: {path} is not YAML ({error})") from None
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


def schema() -> str:
    """The JSON schema of the configuration as YAML."""
    header = "# Generated from pipeline_lib/config.py by `python -m pipeline_lib.config`; a test keeps them equal.\n"
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    described["properties"]["dataset"] = {"anyOf": [{"type": "string"}, described["properties"]["dataset"]]}
    return header + yaml.safe_dump(json.loads(json.dumps(described)), sort_keys=False, width=120)


if __name__ == "__main__":
    print(schema(), end="")
