"""CBOR as CTAP 2.1 section 8 allows it: definite lengths, canonical order, few types, bounded depth.

For attestation statements, which are checked without anybody's library, and for the lab's authenticator.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from meshhw.errors import FormatError

DEPTH = 8
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 1, 2, 3, 4, 5, 7
_LENGTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_FALSE, _TRUE = 20, 21


def encode(value: object) -> bytes:
    """The canonical octets of bool, int, bytes, str, sequences and mappings. Raises TypeError."""
    if isinstance(value, bool):
        return bytes([_SIMPLE << 5 | (_TRUE if value else _FALSE)])
    if isinstance(value, int):
        return _head(_NEGATIVE, -1 - value) if value < 0 else _head(_UNSIGNED, value)
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(_TEXT, len(text)) + text
    if isinstance(value, Mapping):
        pairs = [(encode(k), encode(v)) for k, v in value.items()]
        pairs.sort(key=lambda pair: (pair[0][0] >> 5, len(pair[0]), pair[0]))
        return _head(_MAP, len(pairs)) + b"".join(k + v for k, v in pairs)
    if isinstance(value, Sequence):
        return _head(_ARRAY, len(value)) + b"".join(encode(item) for item in value)
    raise TypeError(f"CBOR has no place for {type(value).__name__}")


def decode(data: bytes) -> Any:
    """The value that fills `data`. Raises FormatError for anything that `encode` does not write."""
    value, end = decode_first(data)
    if end != len(data):
        raise FormatError("octets follow the CBOR value", position=end)
    return value


def decode_first(data: bytes, start: int = 0) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends. Raises FormatError."""
    return _Reader(data).value(start, DEPTH)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        if depth == 0:
            raise FormatError("the CBOR value is nested too deeply", position=at)
        major, number, start = self._number(at)
        if major == _UNSIGNED:
            return number, start
        if major == _NEGATIVE:
            return -1 - number, start
        if major == _BYTES:
            return self._take(start, number), start + number
        if major == _TEXT:
            return self._text(start, number), start + number
        if major == _ARRAY:
            return self._array(start, number, depth)
        if major == _MAP:
            return self._map(start, number, depth)
        if major == _SIMPLE and self._data[at] & 0x1F in (_FALSE, _TRUE):
            return number == _TRUE, start
        raise FormatError("a CBOR type that is not allowed here", position=at)

    def _number(self, at: int) -> tuple[int, int, int]:
        (first,) = self._take(at, 1)
        major, low = first >> 5, first & 0x1F
        if low < 24:
            return major, low, at + 1
        length = _LENGTHS.get(low)
        if length is None:
            raise FormatError("CBOR of indefinite length", position=at)
        number = int.from_bytes(self._take(at + 1, length), "big")
        if number < (24 if length == 1 else 1 << 4 * length):
            raise FormatError("a CBOR number that is longer than it needs to be", position=at)
        return major, number, at + 1 + length

    def _take(self, at: int, length: int) -> bytes:
        if length > len(self._data) - at:
            raise FormatError("the CBOR value is cut short", position=len(self._data))
        return self._data[at : at + length]

    def _text(self, at: int, length: int) -> str:
        try:
            return self._take(at, length).decode()
        except UnicodeDecodeError as error:
            raise FormatError("CBOR text that is not UTF-8", position=at) from error

    def _array(self, at: int, count: int, depth: int) -> tuple[list[Any], int]:
        values = []
        for _ in range(self._bounded(count, at)):
            value, at = self.value(at, depth - 1)
            values.append(value)
        return values, at

    def _map(self, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
        values: dict[Any, Any] = {}
        before: tuple[int, int, bytes] | None = None
        for _ in range(self._bounded(count, at)):
            start = at
            key, at = self.value(start, depth - 1)
            order = (self._data[start] >> 5, at - start, self._data[start:at])
            if isinstance(key, list | dict) or (before is not None and order <= before):
                raise FormatError("the keys of a CBOR map are not in canonical order", position=start)
            before = order
            values[key], at = self.value(at, depth - 1)
        return values, at

    def _bounded(self, count: int, at: int) -> int:
        if count > len(self._data) - at:  # every item has at least one octet
            raise FormatError("the CBOR value is cut short", position=len(self._data))
        return count


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for low, form, bits in ((24, ">B", 8), (25, ">H", 16), (26, ">I", 32), (27, ">Q", 64)):
        if number < 1 << bits:
            return bytes([major << 5 | low]) + struct.pack(form, number)
    raise TypeError("CBOR integers have at most 64 bits")
