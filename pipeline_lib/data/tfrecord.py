"""TFRecord files of `tf.train.Example` messages, written without TensorFlow (its import takes longer than the writing).

Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord, tensorflow/core/example/{example,feature}.proto and
https://protobuf.dev/programming-guides/encoding. Tests read the files with TensorFlow.
"""

import struct
from collections.abc import Mapping
from typing import BinaryIO

import google_crc32c
import numpy as np

Feature = bytes | np.ndarray

_LENGTH_DELIMITED = 2
_MASK_DELTA = 0xA282EAD8


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
    stream.write(length + _masked_crc(length))
    stream.write(data)
    stream.write(_masked_crc(data))


def _masked_crc(data: bytes) -> bytes:
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


def _varint(value: int) -> bytes:
    """Base-128, low groups first; negative numbers as their 64-bit two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
