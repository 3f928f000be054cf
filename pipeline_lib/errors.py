"""Errors of the user: every message says what is wrong, where, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

# Snakemake tracks neither images nor shards, so that a conversion has to be forced.
CONVERT_AGAIN = "run the conversion again: `snakemake data -R convert`, with your --profile and --configfile"

VALIDATE_AGAIN = "validate it again: `snakemake data -R validate`, with your --profile and --configfile"


class EvoPoseError(Exception):
    """Base of all errors that are shown as one message instead of a traceback."""


class ConfigError(EvoPoseError):
    """A configuration that cannot be run."""


class DataError(EvoPoseError):
    """Images, annotations or records that cannot be used."""


class ArtifactError(EvoPoseError):
    """A file of an earlier step that is missing, damaged or does not belong here."""


class StorageError(EvoPoseError):
    """A bucket that cannot be read or written."""


class TrainingFailed(EvoPoseError):
    """A training that cannot come to its end with its settings: its loss is no number, or it does not fit into memory."""


class Preempted(EvoPoseError):
    """A training that was asked to end (SIGTERM), and has saved its state."""


@contextmanager
def about(path: str | PathLike[str]) -> Iterator[None]:
    """Name the file that an `EvoPoseError` raised within is about."""
    try:
        yield
    except EvoPoseError as error:
        raise type(error)(f"{path}, {error}") from None
