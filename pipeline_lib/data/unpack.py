"""ZIP archives: chosen members, unpacked whole or not at all."""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from pipeline_lib.data.download import Progress, full_disk_explained
from pipeline_lib.errors import DataError


def number_of_files(path: Path) -> int:
    """1 of a file that is not empty, the number of files of a folder (without hidden ones), else 0."""
    if path.is_dir():
        with os.scandir(path) as entries:
            return sum(entry.is_file() and not entry.name.startswith(".") for entry in entries)
    return int(path.is_file() and path.stat().st_size > 0)


def unpack(archive: Path, folder: Path, members: Mapping[str, int], workspace: Path) -> None:
    """Unpack `members` of `archive` below `folder`; each appears there when all of it is on the disk.

    Args:
        members: files and folders in the archive, with the number of files that each must have.
        workspace: a folder of the same file system. What an earlier call has unpacked there is gone on with, file by file,
            when it is right by size and CRC; it is deleted at the end.

    Raises `DataError` for an archive that is damaged, has other numbers of files, or a member that would be written elsewhere.
    """
    try:
        with full_disk_explained(workspace), zipfile.ZipFile(archive) as opened:
            chosen = {member: _entries(opened, member, number, archive) for member, number in members.items()}
            everything = [entry for entries in chosen.values() for entry in entries]
            progress = Progress(f"unpacking {archive.name}", sum(entry.file_size for entry in everything))
            for entry in everything:
                target = workspace / entry.filename
                if not _is_unpacked(entry, target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(entry) as source, target.open("wb") as stream:
                        shutil.copyfileobj(source, stream)
                progress.add(entry.file_size)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(f"{archive}: not a readable ZIP archive ({error}); delete it and run again") from None
    # A name must not be on the disk before the bytes are.
    os.sync()
    for member in chosen:
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (workspace / member).replace(folder / member)
    shutil.rmtree(workspace)


def _entries(opened: zipfile.ZipFile, member: str, number: int, archive: Path) -> list[zipfile.ZipInfo]:
    """The files of `member`: the file itself, or what is below the folder."""
    found = {
        entry.filename: entry
        for entry in opened.infolist()
        if not entry.is_dir() and (entry.filename == member or entry.filename.startswith(f"{member}/"))
    }
    for name, entry in found.items():
        if ".." in PurePosixPath(name).parts or stat.S_ISLNK(entry.external_attr >> 16):
            raise DataError(f"{archive}: {name} leads out of its folder; use the archive of another server")
    if len(found) != number:
        raise DataError(
            f"{archive}: {len(found):,} files of {member} are in it, {number:,} are expected; correct the number in the data "
            "set's configuration, or use the right archive"
        )
    return list(found.values())


def _is_unpacked(entry: zipfile.ZipInfo, target: Path) -> bool:
    if not target.is_file() or target.stat().st_size != entry.file_size:
        return False
    return zlib.crc32(target.read_bytes()) == entry.CRC
