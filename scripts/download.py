"""Get one archive of a data set: use what lies there, else fetch it, going on where a download was cut; verify, unpack."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    """Make the files be there, and write `--record`."""
    from pipeline_lib import artifacts
    from pipeline_lib.config import DownloadConfig
    from pipeline_lib.data.download import Client
    from pipeline_lib.data.obtain import obtain
    from pipeline_lib.errors import ConfigError

    settings = cli.settings(DownloadConfig, arguments.settings)
    if arguments.base_url is not None:
        settings = settings.model_copy(update={"base_url": arguments.base_url.rstrip("/")})
    if arguments.archive not in settings.archives:
        raise ConfigError(f"--archive: {arguments.archive} is none of {', '.join(settings.archives)}")
    with Client(arguments.attempts, arguments.pause) as client:
        record = obtain(settings, arguments.archive, client)
    artifacts.write_json(arguments.record, record)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--settings", required=True, help="the section dataset.download of the configuration, as JSON")
    options.add_argument("--archive", required=True, help="name of the archive in these settings")
    options.add_argument("--base-url", help="fetch from this address (a mirror) instead of the settings' one")
    options.add_argument(
        "--attempts", type=cli.positive, default=8, help="attempts in a row without a new byte (default: 8)"
    )
    options.add_argument(
        "--pause",
        type=cli.non_negative_number,
        default=1.0,
        help="seconds before something is tried again, doubled each time (default: 1)",
    )
    options.add_argument("--record", type=Path, required=True, help="output: what was done (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
