"""Files that lie here or in a bucket."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.errors import ArtifactError

MARK = "://"


def is_remote(path: str) -> bool:
    """Whether `path` is an address such as gs://bucket/name, which fsspec reads, and no path of this machine."""
    return MARK in path


@contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """A file of this machine with the content and the name of `path`; a copy of what is remote is deleted in the end.

    Raises `ArtifactError` naming `path` when it is not there or cannot be fetched.
    """
    if not is_remote(path):
        if not Path(path).is_file():
            raise ArtifactError(f"{path}: no such file")
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="evopose-") as folder:
        copy = Path(folder) / path.rpartition("/")[2]
        _fetch(path, copy)
        yield copy


def _fetch(path: str, copy: Path) -> None:
    import fsspec

    try:
        system, place = fsspec.core.url_to_fs(path)
        system.get_file(place, str(copy))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file") from None
    except Exception as error:  # every file system has its own
        raise ArtifactError(
            f"{path}: cannot be fetched ({type(error).__name__}: {error}); is the address right, and are you logged in?"
        ) from None
