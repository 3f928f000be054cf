"""A file from a web server: fetched on from where a download was cut, and verified.

`requests` speaks HTTP, with urllib3's retries and back-off before an answer begins. What no library of the lock does is
to go on within a file, over cuts and over runs; that is here. No ETag is kept: size and MD5 say whether the parts of a
file belong together.
"""

import errno
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pipeline_lib.errors import DataError

log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
"""Seconds between two lines of progress."""
CHUNK: Final = 1 << 16  # bytes; what of a chunk has come when the connection is cut is lost
HASHED: Final = 1 << 22  # bytes
TIMEOUT: Final = (30, 60)  # seconds, to connect and between two pieces of an answer
PASSING: Final = (429, 500, 502, 503, 504)  # answers of a server that may have recovered a moment later
LONGEST_PAUSE: Final = 60.0  # seconds


class Client:
    """A connection to a web server that is patient.

    Args:
        attempts: how often something is tried in a row without getting one byte further.
        pause: seconds before something is tried again; doubled from attempt to attempt.
    """

    def __init__(self, attempts: int = 8, pause: float = 1.0) -> None:
        self.attempts, self.pause = attempts, pause
        retry = Retry(
            total=attempts - 1,
            backoff_factor=pause,
            backoff_max=LONGEST_PAUSE,
            status_forcelist=PASSING,
            raise_on_status=False,
        )
        self._session = requests.Session()
        # Without `identity` a server may compress on the way, and offsets would be those of other bytes.
        self._session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def size(self, url: str) -> int:
        """The size of the file at `url` in bytes, by the server's word; raises `DataError`."""
        with self._ask("HEAD", url) as answer:
            text = answer.headers.get("Content-Length", "")
        if not text.isdecimal() or not int(text):
            raise DataError(f"{url}: the server does not say how long it is; fetch it by hand, or use another server")
        return int(text)

    def fetch(self, url: str, target: Path, *, size: int, md5: str) -> None:
        """Fetch `url` to `target`, going on after the bytes that are there, and verify `size` (bytes) and `md5`.

        A cut body is gone on with after a pause; a server that cannot send a part of a file sends all of it again. When the
        MD5 is wrong, the file is deleted and fetched once more. Raises `DataError`; what has come stays, and is gone on with
        by the next call.
        """
        for last in (False, True):
            self._complete(url, target, size)
            found = md5_of(target)
            if found == md5:
                return
            target.unlink()
            wrong = f"{url}: wrong bytes have come: the MD5 is {found}, {md5} is expected"
            if last:
                raise DataError(
                    f"{wrong}, twice; use another server, or correct the MD5 in the data set's configuration"
                )
            log.warning("%s; fetching it once more", wrong)

    def _complete(self, url: str, target: Path, size: int) -> None:
        furthest = length(target)
        fruitless = 0
        progress = Progress(f"fetching {target.name}", size, furthest)
        while length(target) < size:
            cut = self._go_on(url, target, size, progress)
            reached = length(target)
            if reached > size:
                target.unlink()
                raise DataError(f"{url}: the server sends more than the {size:,} bytes that are expected")
            if reached == size:
                return
            fruitless = 0 if reached > furthest else fruitless + 1
            furthest = max(furthest, reached)
            if fruitless == self.attempts:
                raise DataError(
                    f"{url}: cut {fruitless} times without getting beyond {furthest:,} of {size:,} bytes ({cut}); "
                    "try again later: what has come is kept"
                )
            log.info("%s: cut at %s of %s bytes (%s); going on", target.name, f"{reached:,}", f"{size:,}", cut)
            time.sleep(min(LONGEST_PAUSE, self.pause * 2.0**fruitless))

    def _go_on(self, url: str, target: Path, size: int, progress: "Progress") -> str:
        """Fetch what is missing of `target`; return how the answer ended early, if it did."""
        begin = length(target)
        with self._ask("GET", url, begin) as answer:
            begin, total = _extent(answer, url, begin)
            if total is not None and total != size:
                raise DataError(
                    f"{url}: the server's file has {total:,} bytes, {size:,} are expected; use another server, or correct the "
                    "size in the data set's configuration"
                )
            progress.restart(begin)
            with full_disk_explained(target), target.open("ab") as stream:
                stream.truncate(begin)
                try:
                    for chunk in answer.iter_content(CHUNK):
                        stream.write(chunk)
                        progress.add(len(chunk))
                except requests.RequestException as error:
                    return type(error).__name__
        return "the answer ended early"

    def _ask(self, method: str, url: str, begin: int = 0) -> requests.Response:
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        try:
            answer = self._session.request(
                method, url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=True
            )
        except requests.RequestException as error:
            raise DataError(
                f"{url}: no answer after {self.attempts} attempts ({_reason(error)}); check the network, or try again later: "
                "what has come is kept"
            ) from None
        if answer.ok:
            return answer
        answer.close()
        said = f"{url}: the server answers {answer.status_code} {answer.reason}"
        if answer.status_code in PASSING:
            raise DataError(f"{said}, {self.attempts} times; try again later: what has come is kept")
        raise DataError(f"{said}; correct the address in the data set's configuration, or put the file there by hand")


def _reason(error: BaseException) -> str:
    """What is at the bottom of an exception of requests, which wraps the operating system's."""
    inner: Any = error
    while (next_one := getattr(inner, "reason", None) or (inner.args and inner.args[0])) and isinstance(
        next_one, BaseException
    ):
        inner = next_one
    return str(inner) or type(inner).__name__


def _extent(answer: requests.Response, url: str, begin: int) -> tuple[int, int | None]:
    """Where the body of an answer begins in the file, and how long the whole file is, if that is said."""
    if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
        said = answer.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said)
        if match is None or int(match[1]) != begin:
            raise DataError(f"{url}: the server sends the range {said!r} instead of the one from byte {begin:,} on")
        return begin, None if match[2] == "*" else int(match[2])
    if begin:
        log.warning("%s: the server cannot go on within a file; starting over", url)
    said = answer.headers.get("Content-Length", "")
    return 0, int(said) if said.isdecimal() else None


@contextmanager
def full_disk_explained(target: Path) -> Iterator[None]:
    """Make a `DataError` of the operating system's error that the disk has no room for `target`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(f"{target}: {error.strerror}; make room and run again: what has come is kept") from None


def length(path: Path) -> int:
    """The size of a file in bytes; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def md5_of(path: Path) -> str:
    """The MD5 of a file, as hexadecimal text, with lines of progress."""
    digest = hashlib.md5(usedforsecurity=False)
    progress = Progress(f"verifying {path.name}", length(path))
    with path.open("rb") as stream:
        while chunk := stream.read(HASHED):
            digest.update(chunk)
            progress.add(len(chunk))
    return digest.hexdigest()


class Progress:
    """Logs a line every 5 seconds: how much of `total` bytes is done, how fast, how long still."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total = title, total
        self.restart(done)
        self._spoken = time.monotonic()

    def restart(self, done: int) -> None:
        """Go on from `done` bytes; speed is measured from here."""
        self._done = self._origin = done
        self._begin = time.monotonic()

    def add(self, number: int) -> None:
        """Count `number` more bytes."""
        self._done += number
        now = time.monotonic()
        if now - self._spoken < INTERVAL:
            return
        self._spoken = now
        speed = (self._done - self._origin) / max(now - self._begin, 1e-9)
        log.info(
            "%s: %d %%, %s of %s, %.1f MB/s, %s left",
            self.title,
            100 * self._done // self.total,
            gigabytes(self._done),
            gigabytes(self.total),
            speed / 1e6,
            _duration((self.total - self._done) / speed) if speed else "unknown time",
        )


def _duration(seconds: float) -> str:
    """65 s -> 0:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def gigabytes(number: float) -> str:
    """A number of bytes for people: 19,336,861,798 -> 19.34 GB."""
    return f"{number / 1e9:,.2f} GB" if number >= 1e7 else f"{number / 1e6:,.2f} MB"
