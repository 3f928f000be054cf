"""Shards of a bucket in a folder of this machine: fetched before they are read, checked, and never more than a limit.

    <sha256>               a shard; the time of the file is that of its last use
    .<sha256>.<bytes>.tmp  one that is under way, for which room has been made
    .<sha256>.lock         locked (`flock`) by who fetches it: nobody else does meanwhile, and what a killed process left is
                           known by its missing lock
    lock                   held for the moment of making room

What is needed and not there is fetched again, so that several processes share a folder, and files may be deleted at any time.
"""

import fcntl
import logging
import os
import queue
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib import buckets
from pipeline_lib.artifacts import sha256
from pipeline_lib.config.storage import CACHE, CACHE_GB, DEFAULT_GB
from pipeline_lib.errors import CONVERT_AGAIN, ArtifactError, ConfigError, EvoPoseError, StorageError
from pipeline_lib.remote import Place, Remote

log = logging.getLogger(__name__)

GB = 1e9
FETCHERS = 2
"""Shards that are fetched at once."""

AHEAD = 8
"""Shards beyond the one that is read, at most, that are fetched."""

POLL = 0.1
FULL_PATIENCE = 600.0
"""Seconds to wait for room that others have reserved."""

_COMPLETE = re.compile(r"[0-9a-f]{64}")
_UNDER_WAY = re.compile(r"(\.[0-9a-f]{64})\.(\d+)\.tmp")
_LOCK = ".lock"


@dataclass(frozen=True)
class Shard:
    """One TFRecord file, the number of its records, and what the manifest says of its bytes."""

    path: Place
    examples: int
    bytes: int = 0
    sha256: str = ""


def folder_of_this_machine() -> Path:
    """Where shards are kept unless the configuration names another folder."""
    return Path(os.environ.get(CACHE) or Path(tempfile.gettempdir()) / f"evopose-{os.getuid()}" / "shards")


def limit_of_this_machine() -> int:
    """Bytes that may be kept; raises `ConfigError`."""
    given = os.environ.get(CACHE_GB) or str(DEFAULT_GB)
    try:
        limit = int(float(given) * GB)
    except (ValueError, OverflowError):
        limit = 0
    if limit <= 0:
        raise ConfigError(f"{CACHE_GB}: a number of gigabytes above 0 is expected, not {given}")
    return limit


class Cache:
    """Shards in a folder."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def open(self, shard: Shard) -> int:
        """A descriptor of a shard's content, which is fetched if it is not here.

        Raises:
            ArtifactError: it is missing, or not the one that the manifest lists.
            StorageError: it cannot be fetched, or kept.
        """
        try:
            while (descriptor := self._opened(shard)) is None:
                self._bring(shard)
            return descriptor
        except OSError as error:
            raise StorageError(
                f"{self.folder}: shards cannot be kept here ({error.strerror}); make room, lower storage.cache_gb, or name "
                "another folder of this machine in storage.cache"
            ) from None

    def has(self, shard: Shard) -> bool:
        """Whether a shard is here."""
        return (self.folder / shard.sha256).is_file()

    def _opened(self, shard: Shard) -> int | None:
        """A descriptor of a shard that is here."""
        path = self.folder / shard.sha256
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        if os.fstat(descriptor).st_size == shard.bytes:
            os.utime(descriptor)
            return descriptor
        os.close(descriptor)  # of a machine that went down
        path.unlink(missing_ok=True)
        return None

    def _bring(self, shard: Shard) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / shard.sha256
        temporary = self.folder / f".{shard.sha256}.{shard.bytes}.tmp"
        own = self.folder / f".{shard.sha256}{_LOCK}"
        with _locked(own):
            try:
                if target.is_file():
                    return
                self._make_room(shard, temporary)
                self._fetch(shard, temporary)
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
                os.utime(temporary)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
                own.unlink(missing_ok=True)

    def _fetch(self, shard: Shard, temporary: Path) -> None:
        try:
            buckets.fetch(str(shard.path), temporary)
        except FileNotFoundError:
            raise ArtifactError(f"{shard.path}: no such shard in the bucket; {CONVERT_AGAIN}") from None
        if temporary.stat().st_size != shard.bytes or sha256(temporary) != shard.sha256:
            raise ArtifactError(f"{shard.path}: not the shard that the manifest lists; {CONVERT_AGAIN}")

    def _make_room(self, shard: Shard, temporary: Path) -> None:
        """Delete what was used longest ago, until a shard is within the limit; what is under way counts in full."""
        if shard.bytes > self.limit:
            raise ConfigError(
                f"storage.cache_gb: {self.limit / GB:g} GB are less than one shard, {shard.path}; raise it, or convert with "
                "smaller shards (conversion.shard_size)"
            )
        deadline = time.monotonic() + FULL_PATIENCE
        while True:
            with _locked(self.folder / "lock"):
                if self._fits(shard):
                    temporary.touch()  # counts from now on
                    return
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{self.folder}: other processes fill the cache with what they fetch; raise storage.cache_gb"
                )
            time.sleep(POLL)

    def _fits(self, shard: Shard) -> bool:
        complete, used = [], shard.bytes
        for entry in os.scandir(self.folder):
            if found := _UNDER_WAY.fullmatch(entry.name):
                if entry.name != f".{shard.sha256}.{shard.bytes}.tmp" and not _is_left(self.folder, found):
                    used += int(found[2])
            elif _COMPLETE.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    complete.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
        used += sum(size for _, size, _ in complete)
        for _, size, path in sorted(complete):
            if used <= self.limit:
                break
            Path(path).unlink(missing_ok=True)
            used -= size
        return used <= self.limit


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made; of one that another process renamed or deleted meanwhile, the new one's."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def _is_left(folder: Path, found: re.Match[str]) -> bool:
    """Whether nobody fetches a shard any longer that is under way; then what there is of it is deleted."""
    own = folder / f"{found[1]}{_LOCK}"
    descriptor = os.open(own, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / found[0]).unlink(missing_ok=True)
        own.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


class ReadAhead:
    """The shards of a manifest, those of a bucket through a cache, which is filled in the order in which they are read."""

    def __init__(self, shards: Sequence[Shard], cache: Cache | None = None) -> None:
        self._shards = shards
        self._ahead = 0
        self._order: list[int] = []
        self._rank: dict[int, int] = {}
        self._asked = 0
        self._lock = threading.Lock()
        self._wanted: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._started = False
        self._cache = cache
        if cache is None and any(isinstance(shard.path, Remote) for shard in shards):
            self._cache = Cache(folder_of_this_machine(), limit_of_this_machine())

    def together(self, number: int) -> None:
        """Say how many shards are read in turns, which have to be kept at the same time; raises `ConfigError`."""
        if self._cache is None:
            return
        largest = max(shard.bytes for shard in self._shards)
        slots = self._cache.limit // max(1, largest)
        number = min(number, len(self._shards))
        if slots < number:
            raise ConfigError(
                f"storage.cache_gb: {self._cache.limit / GB:g} GB hold {slots} of the shards of {self._shards[0].path.parent}, "
                f"but {number} are read in turns; {number * largest / GB:.2g} GB are enough, or smaller shards "
                "(conversion.shard_size)"
            )
        self._ahead = min(AHEAD, slots - number)

    def follow(self, order: Sequence[int]) -> None:
        """Say in which order the shards are used next, by their places in the manifest."""
        if self._cache is None:
            return
        with self._lock:
            self._order = list(order)
            self._rank = {place: rank for rank, place in enumerate(self._order)}
            self._asked = 0
            while not self._wanted.empty():
                with suppress(queue.Empty):
                    self._wanted.get_nowait()

    def open(self, place: int) -> int:
        """A descriptor of a shard, by its place in the manifest; raises as `Cache.open`, or `OSError`."""
        shard = self._shards[place]
        if self._cache is None:
            return os.open(str(shard.path), os.O_RDONLY)
        self._ask(place)
        return self._cache.open(shard)

    def _ask(self, place: int) -> None:
        """Have the next ones fetched."""
        rank = self._rank.get(place)
        if rank is None or rank + self._ahead < self._asked or not self._ahead:
            return
        with self._lock:
            for following in self._order[max(self._asked, rank + 1) : rank + 1 + self._ahead]:
                self._wanted.put(following)
            self._asked = max(self._asked, rank + 1 + self._ahead)
            if not self._started:
                self._started = True
                for _ in range(FETCHERS):
                    threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        assert self._cache is not None
        while True:
            shard = self._shards[self._wanted.get()]
            # Who needs it meets the error, too.
            with suppress(EvoPoseError):
                if not self._cache.has(shard):
                    os.close(self._cache.open(shard))
