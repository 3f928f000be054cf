"""Final networks, their evaluation, and the report."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.config.fields import (
    BATCH,
    SIDE,
    THREADS,
    Coefficient,
    Flag,
    Name,
    Positive,
    Real,
    Section,
    WeightsFile,
)
from pipeline_lib.config.training import TrainSettings


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
