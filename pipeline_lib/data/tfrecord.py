"""TFRecord files of `tf.train.Example` messages, written and read without TensorFlow.

Its import takes longer than the writing of a file, its parser copies every image.

Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord, tensorflow/core/example/{example,feature}.proto and
https://protobuf.dev/programming-guides/encoding. Tests read the files with TensorFlow.
"""

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import google_crc32c
import numpy as np

Feature = bytes | np.ndarray

_LENGTH_DELIMITED = 2
_MASK_DELTA = 0xA282EAD8
_SHIFTS = 63


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """A serialised `tf.train.Example`; keys are sorted, so that equal features give equal bytes.

    bytes become a bytes_list of one, an array of integers an int64_list, an array of floats a float_list (float32).
    """
    entries = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _feature(features[name]))) for name in sorted(features)
    )
    return _field(1, entries)


def write_record(stream: BinaryIO, data: bytes) -> None:
    """Append one record: its length, the length's masked CRC-32C, the data, and their masked CRC-32C."""
    length = struct.pack("<Q", len(data))
    stream.write(length + masked_crc(length))
    stream.write(data)
    stream.write(masked_crc(data))


def masked_crc(data: bytes) -> bytes:
    """The checksum of a length or of a record's data, as it stands in the file."""
    crc = google_crc32c.value(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)


def _feature(value: Feature) -> bytes:
    if isinstance(value, bytes):
        return _field(1, _field(1, value))
    if value.dtype.kind == "i":
        return _field(3, _field(1, b"".join(_varint(int(item)) for item in value.ravel())))
    return _field(2, _field(1, value.astype("<f4").tobytes()))


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def decode_example(data: bytes) -> dict[str, Any]:
    """The features of a serialised `tf.train.Example`, which must have one value or one list each.

    A bytes_list is a uint8 array, a float_list a float32 array, an int64_list a list of integers; the arrays lie in `data`.
    Raises `ValueError` or `LookupError` when it is something else.
    """
    features: dict[str, Any] = {}
    place, end = _inside(data, 1, 0, len(data))
    while place < end:
        entry, following = _inside(data, 1, place, end)
        key, key_end = _inside(data, 1, entry, following)
        value, value_end = _inside(data, 2, key_end, following)
        kind = data[value] >> 3
        start, stop = _inside(data, kind, value, value_end)
        if start < stop:
            start, last = _inside(data, 1, start, stop)
            if last != stop:
                raise ValueError("a feature has several parts")
        features[data[key:key_end].decode()] = _KINDS[kind](data, start, stop)
        place = following
    return features


def _inside(data: bytes, number: int, place: int, limit: int) -> tuple[int, int]:
    """(start, end) of what the length-delimited field `number` at `place` holds."""
    if data[place] != number << 3 | _LENGTH_DELIMITED:
        raise ValueError(f"field {number} is expected")
    # Most lengths have one byte, and need no call.
    length, start = data[place + 1], place + 2
    if length >= 0x80:
        length, start = _read_varint(data, place + 1)
    if start + length > limit:
        raise ValueError("it ends within a field")
    return start, start + length


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and the place behind it."""
    value, shift = 0, 0
    while (group := data[place]) >= 0x80:
        value |= (group & 0x7F) << shift
        shift += 7
        place += 1
        if shift > _SHIFTS:
            raise ValueError("a number has more than 64 bits")
    return value | group << shift, place + 1


def _bytes(data: bytes, start: int, stop: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8, stop - start, start)


def _floats(data: bytes, start: int, stop: int) -> np.ndarray:
    return np.frombuffer(data, "<f4", (stop - start) // 4, start)


def _integers(data: bytes, start: int, stop: int) -> list[int]:
    found = []
    while start < stop:
        value, start = _read_varint(data, start)
        found.append(value - (value >> 63 << 64))
    return found


_KINDS = {1: _bytes, 2: _floats, 3: _integers}


def _varint(value: int) -> bytes:
    """Base-128, low groups first; negative numbers as their 64-bit two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
