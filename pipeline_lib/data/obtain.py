"""The files of a data set: used where they lie, else fetched and unpacked.

Below the data set's folder, `.download/<archive>/` holds what is under way: the archive as far as it has come, and what has
been unpacked of it. It belongs to this module, everything else in the folder to the user: a folder that is complete and an
archive that lies there are used, and never changed or deleted.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pipeline_lib import artifacts
from pipeline_lib.config import Archive, DownloadConfig
from pipeline_lib.data.download import Client, gigabytes, length, md5_of
from pipeline_lib.data.unpack import number_of_files, unpack
from pipeline_lib.errors import DataError

log = logging.getLogger(__name__)

WORK: Final = ".download"
BLOCK: Final = 4096  # bytes; what a file takes more than its content, at most
DOWNLOADED, ARCHIVE, THERE = "downloaded", "archive", "there"


class _Place:
    """Where the parts of one archive lie."""

    def __init__(self, settings: DownloadConfig, name: str) -> None:
        self.archive: Archive = settings.archives[name]
        self.folder = Path(settings.folder)
        self.work = self.folder / WORK / name
        self.fetched = self.work / self.archive.file
        self.unpacked = self.work / "unpacked"
        self.given = self.folder / self.archive.file

    def missing(self) -> dict[str, int]:
        """The members that are not there; raises `DataError` for one that is there in part."""
        missing = {}
        for member, number in self.archive.members.items():
            found = number_of_files(self.folder / member)
            if found not in (0, number):
                raise DataError(
                    f"{self.folder / member}: {found:,} files are there, {number:,} are expected; complete it, or move it away "
                    "to have it fetched"
                )
            if not found:
                missing[member] = number
        return missing

    def needed(self, size: int | None) -> int:
        """Bytes that are still to be written: the rest of the archive, and what is unpacked of it.

        Images do not shrink in an archive, so that what is unpacked is as long as the archive.
        """
        if not self.missing():
            return 0
        size = size or self.archive.size or 0
        rest = 0 if self.given.exists() else max(0, size - length(self.fetched))
        # Another program may be at work there, so that files vanish while they are counted.
        unpacked = sum(length(Path(path, file)) for path, _, files in os.walk(self.unpacked) for file in files)
        return rest + max(0, size + BLOCK * sum(self.archive.members.values()) - unpacked)


def obtain(settings: DownloadConfig, name: str, client: Client) -> dict[str, Any]:
    """Make everything of the archive `name` be there, and return what was done, for the record.

    What is complete is used as it is. An archive in the data set's folder is verified and unpacked; otherwise it is fetched.
    Before the first byte, room is looked for: for this archive and all that `coco` gets and that are not there. Raises
    `DataError`.
    """
    place = _Place(settings, name)
    archive = place.archive
    url = f"{settings.base_url}/{archive.path}"
    came = THERE
    # What a killed run has left is cleared away even where nothing is missing.
    if place.missing() or place.work.exists():
        with _alone(place.work):
            if missing := place.missing():
                size = archive.size
                if not place.given.exists():
                    size = size or client.size(url)
                check_room(settings, {**dict.fromkeys(default_archives(settings)), name: size})
                source, came = _archive(place, url, size, client, settings.keep_archives)
                log.info("unpacking %s", source)
                unpack(source, place.folder, missing, place.unpacked)
            shutil.rmtree(place.work)
    with suppress(OSError):  # other archives are under way, or there is no such folder
        place.work.parent.rmdir()
    log.info("%s: complete in %s (%s)", name, place.folder, came)
    return {
        "schema_version": artifacts.SCHEMA_VERSION,
        "archive": name,
        "url": url,
        "md5": archive.md5,
        "source": came,
        "members": dict(archive.members),
    }


def default_archives(settings: DownloadConfig) -> list[str]:
    """The archives that are got without being named."""
    return [name for name, archive in settings.archives.items() if not archive.optional]


def check_room(settings: DownloadConfig, sizes: Mapping[str, int | None]) -> None:
    """Raise `DataError` when the disk has no room for what is missing of the archives that `sizes` names.

    A size in bytes that is None is the configuration's.
    """
    needed = {name: _Place(settings, name).needed(size) for name, size in sizes.items()}
    free = shutil.disk_usage(settings.folder).free
    if sum(needed.values()) > free:
        listed = ", ".join(f"{name} {gigabytes(number)}" for name, number in needed.items() if number)
        raise DataError(
            f"{settings.folder}: {gigabytes(sum(needed.values()))} are needed for archives and what is unpacked of them "
            f"({listed}), {gigabytes(free)} are free; make room, or make {settings.folder} a link to a larger disk"
        )


def _archive(place: _Place, url: str, size: int | None, client: Client, keep: bool) -> tuple[Path, str]:
    """The verified archive, and whether it was downloaded or lay there."""
    archive, given = place.archive, place.given
    if not given.exists():
        assert size is not None
        log.info("fetching %s, %s", url, gigabytes(size))
        client.fetch(url, place.fetched, size=size, md5=archive.md5)
        return (place.fetched.replace(given) if keep else place.fetched), DOWNLOADED
    log.info("%s lies there: it is verified and used", given)
    if archive.size is not None and length(given) < archive.size:
        raise DataError(
            f"{given}: {length(given):,} bytes, {archive.size:,} are expected; delete it to have it fetched, or move it to "
            f"{place.fetched} to have the rest fetched"
        )
    if (found := md5_of(given)) != archive.md5:
        raise DataError(f"{given}: its MD5 is {found}, {archive.md5} is expected; delete it to have it fetched")
    return given, ARCHIVE


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold the folder `work`; raises `DataError` when another program does.

    A program that outlived its killed Snakemake would write into the same file. The lock ends with the process.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{work}: cannot be made ({error.strerror}); make the data set's folder writable") from None
    descriptor = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{work}: another download is at work here; wait for it, or end it") from None
        yield
    finally:
        os.close(descriptor)
