"""The conversion as a pipeline of Apache Beam: one element for each shard, on whatever runner."""

import logging
from collections.abc import Sequence

from pipeline_lib.config import ConversionSettings
from pipeline_lib.data.shards import write_shard
from pipeline_lib.errors import ConfigError

FN_API_RUNNER = "FnApiRunner"


def run(shards: Sequence[tuple[str, ...]], settings: ConversionSettings) -> None:
    """Have each of `shards`, the arguments of `write_shard`, written by a worker, and wait for all of them."""
    logging.disable(logging.WARNING)  # Beam warns at import about cloud packages that nothing here needs
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.runner import create_runner
    finally:
        logging.disable(logging.NOTSET)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)

    flags = list(settings.options)
    if settings.runner == FN_API_RUNNER:
        workers = 1 if settings.mode == "in_memory" else settings.workers
        flags += [f"--direct_running_mode={settings.mode}", f"--direct_num_workers={workers}"]
    try:
        runner = create_runner(settings.runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(
            f"conversion.runner: {settings.runner} is not a Beam runner that runs here ({error})"
        ) from None
    pipeline = beam.Pipeline(runner=runner, options=PipelineOptions(flags))
    _ = pipeline | "Plan" >> beam.Create(shards) | beam.Reshuffle() | "Write" >> beam.MapTuple(write_shard)
    pipeline.run().wait_until_finish()
