"""The whole configuration of an experiment: how its parts fit together, and how it is read."""

import json
import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from pipeline_lib.config.dataset import ConversionSettings, DatasetConfig
from pipeline_lib.config.fields import (
    GENERATIONS,
    HEAD_STRIDE,
    SEED,
    STEM_STRIDE,
    Name,
    NonNegative,
    Positive,
    Section,
    _without_empty,
)
from pipeline_lib.config.final import EvaluationConfig, FinalConfig, InputSize, ReportConfig
from pipeline_lib.config.refine import RefineConfig, shared
from pipeline_lib.config.search import SearchConfig, overall_stride
from pipeline_lib.config.storage import StorageConfig
from pipeline_lib.config.training import FLIP_ONLY, RELEASED, RELEASED_HALF_BODY, TrainSettings
from pipeline_lib.config.window import GenerationNumber, Only
from pipeline_lib.errors import ConfigError
from pipeline_lib.explain import PREFIX, explain

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
    refine: RefineConfig = Field(RefineConfig(), description="The refinement of the final networks' results.")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="Prediction and metrics.")
    report: ReportConfig = Field(ReportConfig(), description="Pictures of the report.")
    storage: StorageConfig = Field(StorageConfig(), description="Copies of data and results.")
    resume_from: Positive | None = Field(
        None, le=GENERATIONS + 1, description="The generations before this one are given: nothing makes them."
    )
    only: Only | None = Field(
        None, description="Make only this generation, or children of it: `11`, `{generation: 11, children: [3, 7]}`."
    )
    branch: Name | None = Field(
        None,
        description="Go on from the experiment's generations before `resume_from` in the folder "
        "results/<experiment>@<branch>/.",
    )
    paper_prefix: Annotated[str, Field(pattern=PREFIX, max_length=64)] = Field(
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
        common = _without_empty(TrainSettings, merged.get("train", {}))
        for section in ("search", "final"):
            given = merged.get(section, {})
            own = given.get("train") if isinstance(given, Mapping) else 0
            own = _without_empty(TrainSettings, {} if own is None else own)
            if not isinstance(common, Mapping) or not isinstance(own, Mapping) or not (common or own or released):
                continue
            train = {**common, **own}
            if released:
                augmentation = train.get("augmentation", FLIP_ONLY.model_dump(exclude={"half_body_probability"}))
                if isinstance(augmentation, Mapping):
                    augmentation = {"half_body_probability": RELEASED_HALF_BODY, **augmentation}
                train = {"l2_depthwise": False, **train, "augmentation": augmentation}
            merged[section] = {**given, "train": train}
        refine = merged.get("refine", {})
        # Of a refiner that is not trained, nobody wants to hear that its batch does not suit their devices.
        if isinstance(common, Mapping) and isinstance(refine, Mapping) and refine.get("enabled"):
            merged["refine"] = shared(common, refine)
        if released:
            for section, values in RELEASED.items():
                if isinstance(merged.get(section, {}), Mapping):
                    merged[section] = {**values, **merged.get(section, {})}
        return merged

    @field_validator("only", mode="before", json_schema_input_type=GenerationNumber | Only | None)
    @classmethod
    def _whole_generation(cls, value: Any) -> Any:
        return {"generation": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("experiment")
    @classmethod
    def _free(cls, value: str) -> str:
        if value.lower() in RESERVED:
            raise ValueError(f"results/{value}/ is not an experiment's; give it another name")
        return value

    @property
    def folder(self) -> str:
        """The experiment's folder in results/, logs/ and benchmarks/."""
        return self.experiment if self.branch is None else f"{self.experiment}@{self.branch}"

    @property
    def first_generation(self) -> int:
        """The first generation that this run makes; those before it are given."""
        return self.only.generation if self.only is not None else self.resume_from or 0

    @model_validator(mode="after")
    def _part_of_the_search(self) -> Self:
        search, only, resumed = self.search, self.only, self.resume_from or 0
        asked = {"resume_from": self.resume_from, "only": only, "branch": self.branch}
        if not search.enabled and (key := next((key for key, value in asked.items() if value is not None), None)):
            raise ValueError(f"{key}: there is no search (search.enabled); leave it out")
        if resumed > search.generations + 1:
            raise ValueError(
                f"resume_from: {resumed}, but the search has {search.generations} generations (search.generations); "
                f"at most {search.generations + 1}, with which all are given, is possible"
            )
        if self.branch is not None and self.resume_from is None:
            raise ValueError(
                f"branch: say which is the first generation of its own, such as resume_from: {search.generations}"
            )
        if only is None:
            return self
        if not resumed <= only.generation <= search.generations:
            raise ValueError(
                f"only: generation {only.generation} is none of those that could be made, {resumed} to "
                f"{search.generations} (resume_from, search.generations)"
            )
        children = search.children_of(only.generation)
        if only.children is not None and max(only.children) >= children:
            raise ValueError(
                f"only.children: the last child of generation {only.generation} is {children - 1}, not {max(only.children)}; name children from 0 to that"
            )
        return self

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        trainings = {"final.train": self.final.train} | (
            {"search.train": self.search.train} if self.search.enabled else {}
        )
        for where, training in trainings.items():
            if self.conversion.records == "crops" and training.augmentation.half_body_probability > 0:
                raise ValueError(
                    f"{where}.augmentation.half_body_probability: half bodies are cut out of whole images; set "
                    "conversion.records: images, or the probability to 0"
                )
        return self

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
    def _estimates_of_a_final_network(self) -> Self:
        name = self.refine.estimates
        if self.refine.enabled and name is not None and name not in self.final.models:
            raise ValueError(f"refine.estimates: {name} is none of final.models: {', '.join(self.final.models)}")
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
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8
            said = " ".join(str(error).split())
            raise ConfigError(f"dataset: {path} is not YAML ({said}); correct it, as in config/datasets/") from None
    _check_texts(values)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from None


def _check_texts(value: Any, where: str = "") -> None:
    """Raise `ConfigError` for a text that can neither name a file nor be shown: YAML has escapes for such, too.

    A section that contains itself, as YAML can write it, is left to the models.
    """
    waiting: list[tuple[Any, str]] = [(value, where)]
    seen: set[int] = set()
    while waiting:
        value, where = waiting.pop()
        if isinstance(value, str):
            if "\0" in value or any(unicodedata.category(each) == "Cs" for each in value):
                raise ConfigError(
                    f"{where}: text without \\0 and without halves of characters is expected (given: {value!r})"
                )
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            parts = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [(part, f"{where}.{key}".removeprefix(".")) for key, part in parts]


def schema() -> str:
    """The JSON schema of the configuration as YAML."""
    header = "# Generated from pipeline_lib/config by `python -m pipeline_lib.config`; a test keeps them equal.\n"
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    described["properties"]["dataset"] = {"anyOf": [{"type": "string"}, described["properties"]["dataset"]]}
    return header + yaml.safe_dump(json.loads(json.dumps(described)), sort_keys=False, width=120)
