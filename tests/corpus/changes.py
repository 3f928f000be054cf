"""Seeded changes that make a good file malformed."""

import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.corpus.harness import Change

GONE = object()
"""As a value: the entry is deleted."""


def content(path: str, change: Callable[[bytes, random.Random], bytes]) -> Change:
    """The bytes of a file are changed."""

    def apply(folder: Path, rng: random.Random) -> None:
        file = folder / path
        file.write_bytes(change(file.read_bytes(), rng))

    return apply


def cut(path: str) -> Change:
    """A file ends early, somewhere."""
    return content(path, lambda data, rng: data[: rng.randrange(1, len(data) - 1)])


def flipped(path: str, first: float = 0.0, last: float = 1.0) -> Change:
    """A bit of a file is another one, in the part of it from `first` to `last`."""

    def change(data: bytes, rng: random.Random) -> bytes:
        place = rng.randrange(int(first * len(data)), int(last * len(data)))
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]

    return content(path, change)


def become(path: str, data: bytes | str) -> Change:
    """A file has another content altogether."""
    text = data.encode() if isinstance(data, str) else data
    return content(path, lambda _, rng: text)


def noise(path: str, length: int = 500) -> Change:
    return content(path, lambda _, rng: rng.randbytes(length))


def replaced(path: str, old: str, new: str) -> Change:
    """The first `old` in a text is `new`."""

    def change(data: bytes, _: random.Random) -> bytes:
        assert old in data.decode(), (path, old)
        return data.decode().replace(old, new, 1).encode()

    return content(path, change)


def copied(source: str, target: str) -> Change:
    """A file has the content of another one."""
    return lambda folder, rng: (folder / target).write_bytes((folder / source).read_bytes()) and None


def gone(path: str) -> Change:
    return lambda folder, rng: (folder / path).unlink()


def made(path: str, data: bytes | str) -> Change:
    """There is one more file."""

    def apply(folder: Path, _: random.Random) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data.encode() if isinstance(data, str) else data)

    return apply


def nothing(folder: Path, rng: random.Random) -> None:
    """The command alone is malformed."""


def each(*changes: Change) -> Change:
    def apply(folder: Path, rng: random.Random) -> None:
        for change in changes:
            change(folder, rng)

    return apply


def entry(path: str, *place: Any) -> Change:
    """In a JSON or YAML file, what is at `place[:-1]` is `place[-1]`, or gone."""
    *where, last, value = place

    def apply(folder: Path, _: random.Random) -> None:
        file = folder / path
        text = file.read_text()
        read = yaml.safe_load(text) if path.endswith(".yaml") else json.loads(text)
        inner = read
        for key in where:
            inner = inner[key]
        if value is GONE:
            del inner[last]
        elif isinstance(inner, list) and last == len(inner):
            inner.append(value)
        else:
            inner[last] = value(inner.get(last)) if callable(value) else value
        file.write_text(yaml.safe_dump(read) if path.endswith(".yaml") else json.dumps(read))

    return apply


def cell(path: str, line: int, column: str, value: str) -> Change:
    """In a CSV file a cell is another one; `line` 0: the header."""

    def change(data: bytes, _: random.Random) -> bytes:
        rows = [row.split(",") for row in data.decode().splitlines()]
        rows[line][rows[0].index(column)] = value
        return ("\n".join(map(",".join, rows)) + "\n").encode()

    return content(path, change)


def header(path: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    """The header of a safetensors file says something else; whoever did it knows how to leave the checksum out."""

    def apply(data: bytes, _: random.Random) -> bytes:
        size = struct.unpack("<Q", data[:8])[0]
        entries = json.loads(data[8 : 8 + size])
        entries["__metadata__"].pop("sha256", None)
        change(entries)
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + size :]

    return content(path, apply)


def architecture(path: str, **values: Any) -> Change:
    """The architecture in the header of a weights file is another one."""

    def change(entries: dict[str, Any]) -> None:
        described = json.loads(entries["__metadata__"]["architecture"])
        entries["__metadata__"]["architecture"] = json.dumps(described | values)

    return header(path, change)


def png(height: int, width: int) -> bytes:
    """A picture of some bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def resized_jpeg(path: str, height: int, width: int) -> Change:
    """A JPEG's header says another size."""

    def change(data: bytes, _: random.Random) -> bytes:
        place = data.index(b"\xff\xc0") + 5
        return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]

    return content(path, change)
