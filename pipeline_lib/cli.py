"""What every program in scripts/ shares: logging, exit codes, settings as JSON."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline_lib.config import explain
from pipeline_lib.errors import ConfigError, EvoPoseError

CONSOLE_VARIABLE = "EVOPOSE_CONSOLE_FD"
USER_ERROR = 2

Settings = TypeVar("Settings", bound=BaseModel)


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the command line and run `main`; an `EvoPoseError` becomes one message on stderr and exit code 2."""
    arguments = parser.parse_args()
    setup_logging()
    try:
        main(arguments)
    except EvoPoseError as error:
        logging.getLogger("evopose").error("%s", error)
        sys.exit(USER_ERROR)
    except BrokenPipeError:  # the reader of our stdout went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def setup_logging() -> None:
    """Log to stderr, and to the workflow's console too when a rule has sent stderr to its log file.

    Rules run with `EVOPOSE_CONSOLE_FD` naming a copy of Snakemake's own stderr, so that progress is seen while all of
    it, native messages included, lands in the rule's log.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    console = os.environ.get(CONSOLE_VARIABLE)
    if console is not None and _is_open(int(console)) and not _same_file(int(console), 2):
        handlers.append(logging.StreamHandler(os.fdopen(os.dup(int(console)), "w", buffering=1)))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=handlers, force=True
    )


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _same_file(first: int, second: int) -> bool:
    return os.path.sameopenfile(first, second)


def settings(model: type[Settings], text: str, option: str = "--settings") -> Settings:
    """Parse the JSON `text` of `option` as `model`; raises `ConfigError` naming the option and each wrong key."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{option}: {explain(error)}") from None
