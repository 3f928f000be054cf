"""Which Snakemakes are at work in a folder: what one that was killed has left locked is freed by the next one.

Snakemake locks the files of a run in .snakemake/locks/, and cannot tell whether whoever locked them still lives. So each run
also holds a file of its own here, with a lock that ends with its process.
"""

import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

CLAIMS, LOCKS = Path(".snakemake/evopose"), Path(".snakemake/locks")

_held: list[IO[str]] = []


def claim(folder: Path) -> None:
    """Note that this process runs Snakemake in `folder`; if no other one does, remove the locks that are left there.

    Where the file system has no such locks, nothing is done.
    """
    claims = folder / CLAIMS
    claims.mkdir(parents=True, exist_ok=True)
    own = claims / f"{socket.gethostname()}_{os.getpid()}.lock"
    stream = own.open("w", encoding="utf-8")
    _held.append(stream)  # open to the end of the process
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    others = [path for path in claims.glob("*.lock") if path != own]
    alive = [path for path in others if _is_held(path)]
    for path in set(others) - set(alive):
        path.unlink(missing_ok=True)
    left = sorted((folder / LOCKS).glob("*.lock"))
    if left and not alive:
        log.warning(
            "a Snakemake that was killed has left its files locked; no other one is at work here, they are unlocked"
        )
        for path in left:
            path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    try:
        with path.open("r+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
