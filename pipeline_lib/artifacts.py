"""Open-format artifacts, written atomically: JSON, CSV and safetensors.

Every writer writes a temporary name in the target's folder and renames it when the bytes are on disk, so that a reader
never sees half a file, whatever dies when.
"""

import csv
import hashlib
import importlib.metadata
import json
import math
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline_lib.errors import ArtifactError

SCHEMA_VERSION: Final = 1

UTF_8: Final = "utf-8-sig"
"""How JSON is read: Windows' programs put a mark before it."""

AGAIN: Final = "delete it and run again"
ANOTHER: Final = "give another file, or where it was made by this workflow, delete it and run again"
"""Of weights, which may be the only copy that somebody has."""

SEAL: Final = "sha256"
"""Key of a weights file's header: the SHA-256 of the whole file, with as many zeros in this place."""

_UNSEALED: Final = "0" * 64
_CHUNK: Final = 2**20


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on an error.

    The file's bytes are flushed to disk before the rename, and the rename before returning. Raises `ArtifactError` when
    the system refuses to write it.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        # Of a full disk the system names no file; of another file than this one the error is not ours.
        ours = error.filename is None or Path(error.filename) in (temporary, target, *target.parents)
        if error.strerror is None or not ours:
            raise
        raise ArtifactError(f"{path}: cannot be written ({error.strerror}); make room, or write elsewhere") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused (ValueError), since JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: str | os.PathLike[str], *, own: bool = True, remedy: str = AGAIN) -> Any:
    """The content of a JSON file; raises `ArtifactError` naming the file when it is missing or is not JSON.

    `own` says who made it, this workflow or its user: what to do about it differs. `remedy` says what to do about the former.
    """
    try:
        return json.loads(Path(path).read_text(encoding=UTF_8))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path}: no such file; {'run the step that makes it' if own else 'check its path'}"
        ) from None
    # ValueError: no JSON, no UTF-8, or a number of thousands of digits; RecursionError: brackets by the thousand
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error}); {remedy if own else 'write it anew'}") from None


def write_document(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write `content` as `write_json` does, with the version of its form."""
    write_json(path, {"schema_version": SCHEMA_VERSION, **content})


def read_document(path: str | os.PathLike[str], remedy: str = AGAIN) -> dict[str, Any]:
    """The object in a JSON file of this workflow; raises `ArtifactError` for anything else, and for that of a newer version.

    Earlier versions wrote some documents without `schema_version`: they count as of version 1. `remedy` says what to do.
    """
    content = read_json(path, remedy=remedy)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: a JSON object is expected, not a {type(content).__name__}; {remedy}")
    version = content.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path}: schema_version is {version!r}, {SCHEMA_VERSION} is expected; {remedy}")
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: schema_version is {version}, written by a newer version of this workflow than this one, which reads "
            f"{SCHEMA_VERSION}; update the workflow, or {remedy}"
        )
    return content


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write `rows` with a header of `columns`; None becomes an empty cell; an unknown key is a ValueError."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, all values as text; raises `ArtifactError` when it is missing or ragged."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the step that makes it") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not readable as CSV ({error}); {AGAIN}") from None
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ArtifactError(
                f"{path}, line {number}: as many values as the header has names are expected; delete the file and run again"
            )
    return rows


def save_weights(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` (keyed `layer/variable`) and text `metadata` as one safetensors file; equal input, equal bytes.

    The header has a checksum of the whole file, by which `load_weights` knows it.
    """
    from safetensors.numpy import save

    content = save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})
    # safetensors writes several metadata keys in random order, so they are put into the header here.
    size = int.from_bytes(content[:8], "little")
    header, data = (
        _header({**_unsealed(metadata), **json.loads(content[8 : 8 + size])}),
        memoryview(content)[8 + size :],
    )
    digest = hashlib.sha256(header)
    digest.update(data)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header.replace(_seal(_UNSEALED), _seal(digest.hexdigest()), 1))
        stream.write(data)


def _unsealed(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The header's entry of `metadata`, with room for the checksum."""
    return {"__metadata__": dict(sorted({**(metadata or {}), SEAL: _UNSEALED}.items()))}


def _seal(digest: str) -> bytes:
    """The checksum as it stands in the header; within a text, quotation marks are escaped."""
    return f'"{SEAL}":"{digest}"'.encode()


def _header(entries: Mapping[str, Any]) -> bytes:
    """The beginning of a safetensors file: the length of the JSON text of `entries`, and the text."""
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def weights_size(shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str] | None = None) -> int:
    """Bytes of the file that `save_weights` writes for float32 tensors of these shapes, header included."""
    entries = _unsealed(metadata)
    end = 0
    for name in sorted(shapes):
        start, end = end, end + 4 * math.prod(shapes[name])
        entries[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, end]}
    return len(_header(entries)) + end


def load_weights(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and metadata of a safetensors file; raises `ArtifactError` when it is missing or damaged.

    Files of earlier versions, and of other programs, have no checksum: they are read as they are.
    """
    with _open_weights(path) as stream:
        metadata = dict(stream.metadata() or {})
        _check_seal(path, metadata.pop(SEAL, None))
        return {name: stream.get_tensor(name) for name in stream.keys()}, metadata  # noqa: SIM118


def load_metadata(path: str | os.PathLike[str], *, check: bool = False) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors; raises `ArtifactError` as `load_weights` does.

    Only with `check` is all of the file read, and compared with its checksum.
    """
    with _open_weights(path) as stream:
        metadata = dict(stream.metadata() or {})
        sealed = metadata.pop(SEAL, None)
        if check:
            _check_seal(path, sealed)
        return metadata


def _check_seal(path: str | os.PathLike[str], sealed: str | None) -> None:
    if sealed is None:
        return
    with Path(path).open("rb") as stream:
        length = stream.read(8)
        header = stream.read(int.from_bytes(length, "little"))  # which safetensors has compared with the file's size
        found = hashlib.sha256(length + header.replace(_seal(sealed), _seal(_UNSEALED), 1))
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    if found.hexdigest() != sealed:
        raise ArtifactError(f"{path}: damaged, its content has another checksum than its header says; {ANOTHER}")


@contextmanager
def _open_weights(path: str | os.PathLike[str]) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as stream:
            yield stream
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the step that makes it") from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:  # TypeError: a dtype that NumPy lacks
        raise ArtifactError(f"{path}: not readable as safetensors ({error}); {ANOTHER}") from None


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal text."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of this library and of what computes for it, as far as it is installed."""
    found = {}
    for name in ("evopose", "jax", "keras", "numpy", "tensorflow", "tensorflow-tpu"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def provenance() -> dict[str, Any]:
    """`versions`, and the commit of the checkout (None outside of git)."""
    root = Path(__file__).resolve().parents[1]
    commit = None
    if (root / ".git").exists():
        shown = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        commit = shown.stdout.strip() or None
    return {"versions": versions(), "commit": commit}
