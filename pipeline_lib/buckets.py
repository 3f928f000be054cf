"""Objects of a bucket (gs://, and what else fsspec reads), read and written whole: checked, retried, with bounded waits.

gcsfs tries again what failed in passing (5xx, cut connections), six times in half a minute. Here the wait is bounded, what
arrived is compared with what was sent, and an error is one sentence. An object is seen by others when all of it is there.
"""

import base64
import errno
import logging
import mmap
import os
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c

from pipeline_lib.errors import StorageError

PATIENCE = 90.0
"""Seconds in which a question has to be answered, tries included."""

CONNECT, STALL = 10.0, 20.0
"""Seconds without a connection, and without a byte on one, after which it is given up and tried again."""

SLOWEST = 100_000
"""Bytes a second that a transfer has to make."""

TRIES = 3
"""How often something is sent or fetched that does not arrive as it was."""

CHUNK = 32 * 2**20
"""Bytes of a part of an upload."""

CRC_BLOCK = 2**20

EMULATOR = "STORAGE_EMULATOR_HOST"
_GCS = ("gs", "gcs")
_FORBIDDEN = (401, 403)


@dataclass(frozen=True)
class Entry:
    """An object: its length in bytes, and its CRC-32C where the storage knows it."""

    size: int
    crc32c: int | None


def stat(url: str) -> Entry:
    """What the storage knows of an object; raises `FileNotFoundError`, or `StorageError`."""
    info = _ask(url, "info")
    if info["type"] != "file":
        raise _missing(url)
    crc = info.get("crc32c")
    return Entry(int(info["size"]), None if crc is None else int.from_bytes(base64.b64decode(crc), "big"))


def exists(url: str) -> bool:
    """Whether there is an object; raises `StorageError`."""
    try:
        stat(url)
    except FileNotFoundError:
        return False
    return True


def is_folder(url: str) -> bool:
    """Whether objects lie below `url`; raises `StorageError`."""
    try:
        return bool(_ask(url, "info")["type"] == "directory")
    except FileNotFoundError:
        return False


def names(url: str) -> list[str]:
    """The objects below `url`, by their paths from there, sorted; raises `StorageError`."""
    _, prefix = _open(url)
    try:
        found = _ask(url, "find")
    except FileNotFoundError:
        return []
    return sorted(name.removeprefix(prefix).strip("/") for name in found)


def read(url: str) -> bytes:
    """The content of an object; raises `FileNotFoundError`, or `StorageError`.

    One request: that all bytes arrived is known from the length that the storage announces.
    """
    return bytes(_ask(url, "cat_file"))


def fetch(url: str, target: Path) -> Entry:
    """Write an object to the file `target`, compared with what the storage knows of it.

    What lies at `target` when this raises is to be thrown away: give a temporary name. Raises as `read`.
    """
    for _ in range(TRIES):
        known = stat(url)
        _ask(url, "get_file", str(target), size=known.size)
        if _is_same(target, known):
            return known
    raise StorageError(f"{url}: does not arrive as it is stored, {TRIES} times; is it being written? Run again later")


def write(url: str, content: bytes | memoryview) -> None:
    """Make an object of `content`, replacing one that is there; raises `StorageError`."""
    system, place = _open(url)
    wanted = _crc32c(memoryview(content)[start : start + CRC_BLOCK] for start in range(0, len(content), CRC_BLOCK))
    for _ in range(TRIES):
        try:
            if _is_gcs(url) and len(content):
                with _readable(url):
                    _wait(system, _send(system, place, memoryview(content)), len(content))
            else:
                _ask(url, "pipe_file", bytes(content), size=len(content))
        except FileNotFoundError:
            # Of an upload that is over, since only the answer to its last part was lost; or there is no such bucket.
            if not exists(url):
                continue
        known = stat(url)
        if known.size == len(content) and known.crc32c in (None, wanted):
            return
    if not exists(url):
        raise StorageError(f"{url}: there is no such bucket; correct the address, or make it")
    raise StorageError(
        f"{url}: is not stored as it was sent, {TRIES} times; is it written by others, too? Run again later"
    )


async def _send(system: Any, place: str, content: memoryview) -> None:
    """Upload in parts, even if it is one: what is sent so is seen whole or not at all, and each part can be tried again."""
    from gcsfs.core import initiate_upload, upload_chunk

    bucket, key, _ = system.split_path(place)
    session = await initiate_upload(system, bucket, key)
    for start in range(0, len(content), CHUNK):
        part = content[start : start + CHUNK]
        await upload_chunk(system, session, part, start, len(content), "application/octet-stream")


def upload(path: Path, url: str) -> None:
    """`write` of a file's content, which is not read into memory."""
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            write(url, b"")
            return
        # It is not closed here: an error on its way refers to what was being sent.
        write(url, memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))


def remove(url: str) -> None:
    """Delete an object, if it is there; raises `StorageError`."""
    try:
        _ask(url, "rm_file")
    except FileNotFoundError:
        return


def _is_same(path: Path, known: Entry) -> bool:
    if path.stat().st_size != known.size:
        return False
    if known.crc32c is None:
        return True
    with path.open("rb") as stream:
        return _crc32c(iter(partial(stream.read, CRC_BLOCK), b"")) == known.crc32c


def _crc32c(blocks: Iterable[bytes | memoryview]) -> int:
    checksum = google_crc32c.Checksum()
    for block in blocks:
        checksum.update(bytes(block))
    return int.from_bytes(checksum.digest(), "big")


def _is_gcs(url: str) -> bool:
    return url.partition("://")[0] in _GCS


def _open(url: str) -> tuple[Any, str]:
    """The file system of an address, and the place there."""
    # Else gcsfs asks for the kind of each bucket by another protocol, which ignores the address of an emulator.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec

    # Its tries are its own matter; what comes of them is said here.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {}
    if _is_gcs(url):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=STALL)
        options = {"requests_timeout": timeout, "use_listings_cache": False, "cache_timeout": 0}
        if os.environ.get(EMULATOR):
            options["token"] = "anon"
    with _readable(url):
        system, place = fsspec.core.url_to_fs(url, **options)
    return system, str(place)


def _ask(url: str, method: str, *arguments: Any, size: int = 0, **options: Any) -> Any:
    """Call a method of the file system with the place of `url`; `size`: bytes that it moves."""
    from fsspec import asyn

    system, place = _open(url)
    with _readable(url):
        if not isinstance(system, asyn.AsyncFileSystem):
            return getattr(system, method)(place, *arguments, **options)
        return _wait(system, getattr(system, f"_{method}")(place, *arguments, **options), size)


def _wait(system: Any, work: Awaitable[Any], size: int) -> Any:
    """What a coroutine of a file system gives, which moves `size` bytes; raises `TimeoutError` when it takes too long."""
    from fsspec import asyn

    async def run() -> Any:
        return await work

    return asyn.sync(system.loop, run, timeout=PATIENCE + size / SLOWEST)


@contextmanager
def _readable(url: str) -> Iterator[None]:
    """Raise what a file system raises as `FileNotFoundError` or `StorageError`."""
    try:
        yield
    except FileNotFoundError:
        raise _missing(url) from None
    except OSError as error:
        if error.errno is not None and error.filename is not None:  # of a file of this machine
            raise
        raise StorageError(_sentence(url, error)) from None
    except Exception as error:  # every file system has its own
        raise StorageError(_sentence(url, error)) from None


def _missing(url: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)


def _sentence(url: str, error: Exception) -> str:
    """What went wrong, and what to do."""
    code = getattr(error, "code", None)
    said = " ".join(str(error).split())[:200] or "no answer"
    text = f"{type(error).__name__}: {said}"
    if isinstance(error, TimeoutError):
        return f"{url}: no answer in time; check the network, and run again"
    if str(error).startswith("Forbidden") or str(code) in map(str, _FORBIDDEN):
        return (
            f"{url}: you are not allowed to read or write there; log in (gcloud auth application-default login), or have the "
            "bucket's owner give you the role Storage Object User"
        )
    if isinstance(error, ValueError | ImportError):
        return f"{url}: cannot be opened ({text}); is the address right?"
    if str(code).startswith("5"):
        return f"{url}: the storage fails again and again ({said}); run again later"
    return f"{url}: the storage cannot be reached ({text}); check the network, and run again"
