"""Leases of named things, such as a machine's accelerators, among the processes that share a folder.

A lease is a lock (`flock`) on a file, so that it dies with its process, however that ends:

    <name>.lease        held by who has it; its text says who that is, and since when
    queue/000000012     a place in the queue, held by who waits there; its text says who, and for which names
    mutex               held for the moment of looking and taking

Several are taken at once or not at all, and nobody holds a part of them while it waits: there is no deadlock. Who waits is served
in the order of coming, so that one that wants four is not overtaken for ever by those that want one. Only those count who want
the same names: another GPU than theirs is not kept free for them.
"""

import fcntl
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from pipeline_lib.errors import EvoPoseError

log = logging.getLogger(__name__)

POLL, SLOW_POLL = 0.1, 1.0
"""Seconds between two looks of the first in the queue, and of those far behind."""

REPORT = 60.0
"""Seconds after which who waits says again for whom."""

Choose = Callable[[Sequence[str]], Sequence[str] | None]


@contextmanager
def leased(names: Sequence[str], choose: Choose, *, folder: Path, title: str) -> Iterator[list[str]]:
    """Hold what `choose` picks of the `names` that are free; wait, in a queue, as long as it picks None.

    Args:
        names: what there is, in the order of preference.
        choose: gets the free ones, in this order.
        folder: common to all who share; made where it is missing.
        title: what for, told to those who wait.

    Raises:
        EvoPoseError: the folder cannot be written.
    """
    with ExitStack() as held:
        try:
            (folder / "queue").mkdir(parents=True, exist_ok=True)
            taken = _wait(names, choose, folder, title, held)
        except OSError as error:
            raise EvoPoseError(
                f"{folder}: leases of accelerators cannot be kept here ({error.strerror}); make it writable, or name another "
                "folder of this machine in EVOPOSE_LEASES"
            ) from error
        yield taken


def _wait(names: Sequence[str], choose: Choose, folder: Path, title: str, held: ExitStack) -> list[str]:
    """Take what `choose` picks when it is our turn; its locks are put into `held`."""
    me = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')} ({title})"
    said = -math.inf
    with ExitStack() as waiting:
        place = _queue_up(names, folder, me, waiting)
        while True:
            with _mutex(folder):
                before = _before(place, names)
                taken = None if before else _take(names, choose, folder, me, held)
                if taken is not None:
                    log.info("%s: takes %s", title, ", ".join(taken))
                    return taken
                if time.monotonic() - said >= REPORT:
                    said = time.monotonic()
                    log.info("%s: waits; %s; %d in the queue before us", title, _holders(names, folder), before)
            time.sleep(min(POLL * (before + 1), SLOW_POLL))


def _take(names: Sequence[str], choose: Choose, folder: Path, me: str, held: ExitStack) -> list[str] | None:
    free: dict[str, TextIO] = {}
    with ExitStack() as ours:
        for name in names:
            stream: TextIO = _file(name, folder).open("a+", encoding="utf-8")
            if _lock(stream):
                free[name] = ours.enter_context(stream)
            else:
                stream.close()
        if (chosen := choose(list(free))) is None:
            return None
        for name in chosen:
            _write(free[name], me)
            held.enter_context(free.pop(name))
        ours.pop_all()
    for stream in free.values():
        stream.close()
    return list(chosen)


def _queue_up(names: Sequence[str], folder: Path, me: str, waiting: ExitStack) -> Path:
    """The last place of the queue, ours until `waiting` ends."""
    queue = folder / "queue"
    with _mutex(folder):
        last = max((int(place.name) for place in queue.iterdir() if place.name.isdigit()), default=0)
        place = queue / f"{last + 1:09d}"
        stream = waiting.enter_context(place.open("a+", encoding="utf-8"))
        waiting.callback(place.unlink, missing_ok=True)
        _lock(stream)
        _write(stream, "\n".join((me, *names)))
    return place


def _before(place: Path, names: Sequence[str]) -> int:
    """How many wait before `place` for one of `names`; places of processes that died are removed."""
    alive = 0
    for other in place.parent.iterdir():
        if other.name < place.name:
            with suppress(FileNotFoundError), other.open(encoding="utf-8") as stream:
                if _lock(stream):
                    other.unlink()
                else:
                    alive += not set(names).isdisjoint(stream.read().splitlines()[1:])
    return alive


@contextmanager
def _mutex(folder: Path) -> Iterator[None]:
    with (folder / "mutex").open("a", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _lock(stream: TextIO) -> bool:
    """Lock an open file until it is closed, unless somebody has it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(stream: TextIO, text: str) -> None:
    stream.truncate(0)
    stream.write(f"{text}\n")
    stream.flush()


def _file(name: str, folder: Path) -> Path:
    return folder / f"{quote(name, safe=':')}.lease"


def _holders(names: Sequence[str], folder: Path) -> str:
    """Who has those of `names` that are not free, each holder once."""
    found: dict[str, list[str]] = {}
    for name in names:
        with _file(name, folder).open("a+", encoding="utf-8") as stream:
            if not _lock(stream):
                stream.seek(0)
                found.setdefault(stream.read().strip(), []).append(name)
    return "; ".join(f"{', '.join(held)} held by {holder}" for holder, held in found.items()) or "all are free"
