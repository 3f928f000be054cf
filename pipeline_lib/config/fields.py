"""What the sections are made of: limits, types of numbers and names, and their common base."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline_lib.explain import NAME, WEIGHTS

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
PARAMETERS, EXPONENT = 1e12, 25  # with which J of every network is a number
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
WeightsFile = Annotated[str, Field(pattern=WEIGHTS)]
Name = Annotated[str, Field(pattern=NAME, max_length=64)]


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
