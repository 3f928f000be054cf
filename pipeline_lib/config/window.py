"""The part of a search that a run makes."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline_lib.config.fields import CHILDREN, GENERATIONS, Section

GenerationNumber = Annotated[int, Field(strict=True, ge=0, le=GENERATIONS)]
ChildNumber = Annotated[int, Field(strict=True, ge=0, lt=CHILDREN)]


class Only(Section):
    """One generation of a search, or some of its children."""

    generation: GenerationNumber = Field(description="The only generation that is made.")
    children: tuple[ChildNumber, ...] | None = Field(
        None, min_length=1, description="The only children of it that are made, from 0; null: all."
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.children is not None and len(set(self.children)) != len(self.children):
            raise ValueError(f"children {list(self.children)}: name each once")
        return self
