"""A copy of results in a bucket, made while they grow, from which they can be restored.

`<address>/artifacts.json` lists what is there, and is written last: what it lists is complete.
"""

import fcntl
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib import buckets, restore
from pipeline_lib.artifacts import atomic_path, sha256
from pipeline_lib.errors import ArtifactError
from pipeline_lib.remote import ordered

log = logging.getLogger(__name__)

TRANSFERS = 8
"""Files that are copied at once."""

_LOCK = ".mirror.lock"


@dataclass(frozen=True)
class Copied:
    """How many files of a folder are in the mirror, how many of them were copied now, and these ones' bytes."""

    files: int
    new: int
    bytes: int


def address(mirror: str, folder: Path) -> str:
    """Where a folder of results is mirrored: results/data/coco at <mirror>/data/coco."""
    parts = folder.resolve().parts
    index = len(parts) - 1 - parts[::-1].index("results") if "results" in parts else len(parts) - 2
    return "/".join([mirror, *parts[index + 1 :]])


def copy(folder: Path, to: str, below: Sequence[str] = ("",)) -> Copied:
    """Copy what is in `folder`, at these paths in it, and not in the mirror `to` as it is now; then list it there.

    Hidden files and links are left out. What has been deleted here stays there. Raises `ArtifactError` or `StorageError`.
    """
    with _alone(folder):
        there = _listed(to)
        names = [name for name in restore.files(folder) if any(name.startswith(start) for start in below)]
        here = {name: restore.entry(folder / name) for name in names}
        new = [name for name in names if there.get(name) != here[name]]
        for _ in ordered(lambda name: buckets.upload(folder / name, f"{to}/{name}"), new, TRANSFERS):
            pass
        if new:
            manifest = restore.Manifest(files={**there, **here})
            buckets.write(f"{to}/{restore.MANIFEST}", json.dumps(manifest.model_dump(mode="json")).encode())
    copied = Copied(len(names), len(new), sum(here[name].bytes for name in new))
    log.info("%s: %d of %d files copied to %s, %.1f MB", folder, copied.new, copied.files, to, copied.bytes / 1e6)
    return copied


def fetch(source: str, folder: Path) -> int:
    """Have in `folder` what the mirror at `source` lists; returns how many files were fetched, since they were not here.

    Each is there in whole or not at all. Raises `ArtifactError` or `StorageError`.
    """
    try:
        with atomic_path(folder / restore.MANIFEST) as temporary:
            buckets.fetch(f"{source}/{restore.MANIFEST}", temporary)
    except FileNotFoundError:
        raise ArtifactError(
            f"{source}/{restore.MANIFEST}: no such file; name the mirror that the results were copied to (storage.mirror)"
        ) from None
    listed = restore.listed(folder)
    wanted = [name for name, entry in listed.items() if not _is_here(folder / name, entry)]

    def get(name: str) -> None:
        try:
            with atomic_path(folder / name) as temporary:
                buckets.fetch(f"{source}/{name}", temporary)
        except FileNotFoundError:
            raise ArtifactError(f"{source}/{name}: listed, but not there; copy the results again, or get it") from None

    for number, _ in enumerate(ordered(get, wanted, TRANSFERS), start=1):
        if number % 1000 == 0:
            log.info("%s: %d of %d files fetched", folder, number, len(wanted))
    return len(wanted)


def _is_here(path: Path, entry: restore.Entry) -> bool:
    return path.is_file() and path.stat().st_size == entry.bytes and sha256(path) == entry.sha256


def _listed(to: str) -> dict[str, restore.Entry]:
    """What is in a mirror; one whose list cannot be read is made anew."""
    try:
        return restore.Manifest.model_validate_json(buckets.read(f"{to}/{restore.MANIFEST}")).files
    except FileNotFoundError:
        return {}
    except ValueError:
        log.warning("%s/%s: not a list of files; everything is copied again", to, restore.MANIFEST)
        return {}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Several generations may be ready at once; each adds to the list."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder")
    with (folder / _LOCK).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
