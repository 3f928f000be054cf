"""The conversion as a pipeline of Apache Beam: one element for each shard, on whatever runner.

No record goes through Beam: a worker gets the path of a shard's plan, and writes the shard. That costs no shuffle, and the
bytes are the same whatever runs it.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline_lib.config import ConversionSettings
from pipeline_lib.config.dataset import DASK_RUNNER, DATAFLOW_RUNNER, FN_API_RUNNER
from pipeline_lib.data.shards import write_shard
from pipeline_lib.errors import ConfigError

_DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"
"""Beam knows this one by its module alone."""

_PARTITIONS = ("--dask_npartitions", "--dask_partition_size")
_OF_BUCKET = ("temp_location", "staging_location")


def flags(settings: ConversionSettings) -> list[str]:
    """The options of Beam: what follows from the settings, and `settings.options`."""
    given = list(settings.options)
    if settings.runs_on(FN_API_RUNNER):
        workers = 1 if settings.mode == "in_memory" else settings.workers
        given += [f"--direct_running_mode={settings.mode}", f"--direct_num_workers={workers}"]
    if settings.runs_on(DASK_RUNNER) and not any(option.startswith(_PARTITIONS) for option in given):
        given += ["--dask_partition_size=1"]  # else 128 shards are one task
    if settings.runs_on(DATAFLOW_RUNNER):
        given += ["--no_save_main_session"]  # workers import what they run
    return given


def check(settings: ConversionSettings) -> tuple[Any, Any]:
    """The runner and its `PipelineOptions`, as far as they can be looked at without a connection.

    Raises `ConfigError` for a runner that is not here, options that none of Beam's runners has, and those that this one needs.
    """
    with _quiet():
        from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
        from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
        from apache_beam.runners.runner import create_runner

        try:
            runner = create_runner(_DASK if settings.runs_on(DASK_RUNNER) else settings.runner)
        except (ValueError, ImportError, AttributeError) as error:
            remedy = "; `make cluster` installs it" if settings.runs_on(DASK_RUNNER) else ""
            raise ConfigError(
                f"conversion.runner: {settings.runner} is not a Beam runner that runs here ({error}){remedy}"
            ) from None
        try:
            options = PipelineOptions(flags(settings))
            known, every = (options.get_all_options(retain_unknown_options=unknown) for unknown in (False, True))
        except SystemExit:  # of argparse, which has told what is wrong
            raise ConfigError(
                f"conversion.options: Beam does not understand {' '.join(settings.options)}; correct the value that it names"
            ) from None
        if unknown := sorted(every.keys() - known.keys()):
            raise ConfigError(f"conversion.options: Beam has no option --{unknown[0]}; correct it, or leave it out")
        if settings.runs_on(DATAFLOW_RUNNER):
            cloud = options.view_as(GoogleCloudOptions)
            for name in _OF_BUCKET:  # of another place Beam would ask the network for long
                place = getattr(cloud, name)
                if place is not None and not re.match("gs://[^/]+/.", place):
                    raise ConfigError(f"conversion.options: --{name}={place}: gs://<bucket>/<folder> is needed")
            if cloud.temp_location is None:
                raise ConfigError("conversion.options: Dataflow needs --temp_location=gs://..., too")
        # Not dry, Beam asks the bucket for its policy.
        problems = PipelineOptionsValidator(PipelineOptions([*flags(settings), "--dry_run=True"]), runner).validate()
    if problems:
        raise ConfigError(f"conversion.options: {settings.runner}: {' '.join(problems)}")
    return runner, options


def pipeline(shards: Sequence[tuple[str, ...]], settings: ConversionSettings) -> Any:
    """The pipeline whose elements are `shards`, the arguments of `write_shard`; raises as `check`."""
    runner, options = check(settings)
    with _quiet():
        import apache_beam as beam
    made = beam.Pipeline(runner=runner, options=options)
    planned = made | "Plan" >> beam.Create(shards)
    # On Dask an element is a task as it is.
    if not settings.runs_on(DASK_RUNNER):
        planned |= beam.Reshuffle()
    _ = planned | "Write" >> beam.MapTuple(write_shard)
    return made


def run(shards: Sequence[tuple[str, ...]], settings: ConversionSettings) -> None:
    """Have all `shards` written by workers, and wait for them; raises as `check`."""
    made = pipeline(shards, settings)
    try:
        result = made.run()
    except ImportError as error:  # Beam's extras: [gcp] and others
        raise ConfigError(
            f"conversion.runner: {settings.runner} needs more of Beam than is installed ({error}); install apache-beam[gcp]"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"conversion.runner: {settings.runner} cannot be reached ({error}); check its address in conversion.options"
        ) from None
    try:
        result.wait_until_finish()
    finally:
        if client := getattr(result, "client", None):  # Dask's, which would go on to knock at a cluster that has ended
            client.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Beam warns at import about cloud packages that nothing here needs, and of options that are told of here."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
