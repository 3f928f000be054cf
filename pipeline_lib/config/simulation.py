"""Trainings that only take their time: how a search keeps its devices busy, without a device."""

from typing import Annotated

from pydantic import Field

from pipeline_lib.config.fields import Section


class Simulation(Section):
    """Simulated trainings: nothing is learned, times and losses come from a table or a formula."""

    seconds: Annotated[float, Field(strict=True, gt=0, le=1e6)] = Field(
        60.0, description="Duration of a training whose network has 10^9 multiply-adds; others in proportion."
    )
    killed: Annotated[float, Field(strict=True, ge=0, lt=1)] = Field(
        0.0, description="Probability that an attempt at a training is killed at a random moment."
    )
    table: str | None = Field(
        None,
        description="CSV file with the columns genotype, seconds, loss: known networks, such as those of a search that was "
        "run; null: all from the formula.",
    )
