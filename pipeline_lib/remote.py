"""Files that lie here or in a bucket."""

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar, Union

from pipeline_lib import buckets
from pipeline_lib.errors import ArtifactError

MARK = "://"

READERS = 32
"""Files of a bucket that are read at once: an answer takes some 50 ms, however small the file."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, order=True)
class Remote:
    """An address such as gs://bucket/name, with those methods of `pathlib.Path` that are needed of one.

    What is not there raises `FileNotFoundError`, as of a path; a bucket that cannot be used `StorageError`, which is never
    mistaken for a file with something wrong in it.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """Behind the last slash."""
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        """Before it."""
        return Remote(self.url.rstrip("/").rpartition("/")[0])

    def resolve(self) -> "Remote":
        """An address does not depend on where it is read."""
        return self

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return buckets.exists(self.url)

    def is_dir(self) -> bool:
        """Whether objects lie below."""
        return buckets.is_folder(self.url)

    def read_bytes(self) -> bytes:
        """The content."""
        return buckets.read(self.url)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The content as text."""
        return self.read_bytes().decode(encoding)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        """Make the object; it is seen when it is complete."""
        buckets.write(self.url, text.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        if not missing_ok:
            buckets.stat(self.url)
        buckets.remove(self.url)

    def glob(self, pattern: str) -> Iterator["Remote"]:
        """The objects of this folder, and of none below it, whose names are like `pattern`."""
        for name in buckets.names(self.url):
            if "/" not in name and fnmatchcase(name, pattern):
                yield self / name


Place = Union[Path, Remote]  # noqa: UP007 (a type of pydantic and argparse, too)


def is_remote(path: str) -> bool:
    """Whether `path` is an address such as gs://bucket/name, which fsspec reads, and no path of this machine."""
    return MARK in path


def place(path: str) -> Place:
    """A path of this machine, or an address in a bucket."""
    return Remote(path) if is_remote(path) else Path(path)


@contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """A file of this machine with the content and the name of `path`; a copy of what is remote is deleted in the end.

    Raises `ArtifactError` naming `path` when it is not there, and `StorageError` when it cannot be fetched.
    """
    if not is_remote(path):
        if not Path(path).is_file():
            raise ArtifactError(f"{path}: no such file")
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="evopose-") as folder:
        copy = Path(folder) / Remote(path).name
        try:
            buckets.fetch(path, copy)
        except FileNotFoundError:
            raise ArtifactError(f"{path}: no such file; correct the address, or put it there") from None
        yield copy


def ordered(load: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map(load, items)` in as many threads, some items ahead; what one of them raises is raised in its place."""
    if workers == 1:
        yield from map(load, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(load, item))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
