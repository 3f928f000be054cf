"""Where copies of data and results are kept."""

from typing import Annotated

from pydantic import Field

from pipeline_lib.config.fields import Section
from pipeline_lib.explain import BUCKET

CACHE, CACHE_GB = "EVOPOSE_CACHE", "EVOPOSE_CACHE_GB"
"""Variables in which programs are told of both keys of that name."""

DEFAULT_GB = 20.0


class StorageConfig(Section):
    """The local copies of what lies in a bucket, and the copy of the results in one."""

    cache: str | None = Field(
        None,
        description="Folder of each machine for shards of a bucket; null: `evopose-<user number>/shards` in its folder for "
        "temporary files.",
    )
    cache_gb: Annotated[float, Field(strict=True, gt=0, le=1e6)] = Field(
        DEFAULT_GB,
        description="Gigabytes that it may take; the shards that were used longest ago make room for others.",
    )
    mirror: Annotated[str, Field(pattern=BUCKET)] | None = Field(
        None, description="gs:// address below which finished results are copied, each generation when it is ready."
    )
