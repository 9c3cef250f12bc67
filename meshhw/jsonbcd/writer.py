"""The writers: plain JSON, compact, and JSON-B with the shortest lengths."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal

from meshhw.errors import UsageError
from meshhw.jsonbcd import tags
from meshhw.jsonbcd.base64url import encode_base64url
from meshhw.jsonbcd.reader import Value


def to_json(value: Value) -> bytes:
    """JSON in UTF-8 without white space; members in their order, binaries as base64url. Raises UsageError."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"this value cannot be written as JSON: {error}") from error


def to_jsonb(value: Value) -> bytes:
    """JSON-B: binary tokens for every scalar and name (B4, as the reference writes them), integers of at most
    64 bits. Raises UsageError."""
    out = bytearray()
    try:
        _write(out, value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"this value cannot be written as JSON-B: {error}") from error
    return bytes(out)


def binary_head(length: int, *, final: bool = True) -> bytes:
    """The tag and length that `length` octets of a binary, or of a chunk of one, are written after."""
    return tags.head(tags.BINARY if final else tags.BINARY_CHUNK, length)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return encode_base64url(value)
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _write(out: bytearray, value: Value) -> None:
    if value is None or isinstance(value, bool):
        out.append({True: tags.TRUE, False: tags.FALSE, None: tags.NULL}[value])
    elif isinstance(value, str):
        _token(out, tags.STRING, value.encode("utf-8"))
    elif isinstance(value, bytes):
        _token(out, tags.BINARY, value)
    elif isinstance(value, int):
        _integer(out, value)
    elif isinstance(value, (float, Decimal)):
        _real(out, float(value))
    elif isinstance(value, Mapping):
        _object(out, value)
    elif isinstance(value, Sequence):
        _array(out, value)
    else:
        raise TypeError(f"a {type(value).__name__} has no JSON-B form")


def _token(out: bytearray, family: int, octets: bytes) -> None:
    out += tags.head(family, len(octets)) + octets


def _integer(out: bytearray, number: int) -> None:
    magnitude = abs(number)
    if magnitude >> 64:
        raise OverflowError("an integer has more than 64 bits")
    out += tags.head(tags.NEGATIVE if number < 0 else tags.INTEGER, magnitude)


def _real(out: bytearray, number: float) -> None:
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    out.append(tags.BINARY64)
    out += struct.pack(">d", number)


def _array(out: bytearray, items: Sequence[Value]) -> None:
    out += b"["
    for index, item in enumerate(items):
        if index:
            _separate(out, items[index - 1])
        _write(out, item)
    out += b"]"


def _object(out: bytearray, members: Mapping[str, Value]) -> None:
    out += b"{"
    for name, value in members.items():
        _token(out, tags.NAME, name.encode("utf-8"))
        _write(out, value)
    out += b"}"


def _separate(out: bytearray, previous: Value) -> None:
    """No comma follows a binary token, and none is needed before the binary name of a member."""
    if isinstance(previous, (Mapping, Sequence)) and not isinstance(previous, (str, bytes)):
        out += b","
