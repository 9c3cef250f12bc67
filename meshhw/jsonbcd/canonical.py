"""RFC 8785 canonical JSON of headers: integers only, binaries as base64url."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshhw.errors import FormatError
from meshhw.jsonbcd.base64url import encode_base64url
from meshhw.jsonbcd.reader import Value

_LARGEST = 2**53 - 1
_DEPTH = 64
_QUICK = msgspec.json.Encoder(order="sorted")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def canonical(value: Value) -> bytes:
    """The one octet string of this value (RFC 8785 section 3.2). Raises FormatError for a float, an integer
    of 2^53 or more, a lone surrogate, or nesting deeper than 64."""
    if is_plain(value) and (octets := quickly(value)) is not None:
        return octets
    text = _ENCODER.encode(_ordered(value, _DEPTH))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError("a string holds half a surrogate pair") from error


def quickly(value: object) -> bytes | None:
    """Plain ASCII without an escape has one order and one spelling, whoever writes it; None for others."""
    try:
        octets = _QUICK.encode(value)
    except UnicodeEncodeError:
        return None
    return octets if octets.isascii() and b"\\" not in octets else None


def is_plain(value: Value, depth: int = _DEPTH) -> bool:
    """Whether a value holds nothing but what any encoder writes alike: every header and trailer does."""
    kind = type(value)
    if kind is dict:
        for name, member in value.items():  # type: ignore[union-attr]
            if type(name) is not str or (type(member) is not str and not is_plain(member, depth - 1)):
                return False
        return depth > 0
    if kind is list:
        return depth > 0 and all(is_plain(item, depth - 1) for item in value)  # type: ignore[union-attr]
    if kind is int:
        return -_LARGEST <= value <= _LARGEST  # type: ignore[operator]
    return kind is str or kind is bool or value is None


def _ordered(value: Value, depth: int) -> object:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, dict):
        if not depth:
            raise FormatError("the value is nested too deep")
        return {name: _ordered(value[name], depth - 1) for name in _sorted(value)}
    if isinstance(value, int):
        if abs(value) > _LARGEST:
            raise FormatError("an integer is not below 2^53")
        return value
    if isinstance(value, bytes):
        return encode_base64url(value)
    return _ordered_other(value, depth)


def _ordered_other(value: Value, depth: int) -> object:
    if not depth:
        raise FormatError("the value is nested too deep")
    if isinstance(value, Mapping):
        return _ordered(dict(value), depth)
    if isinstance(value, Sequence):
        return [_ordered(item, depth - 1) for item in value]
    raise FormatError(f"a {type(value).__name__} has no canonical form")


def _sorted(names: Iterable[str]) -> list[str]:
    """Names are ordered by their UTF-16 code units (RFC 8785 section 3.2.3)."""
    ordered = sorted(names)
    if not ordered or "".join(ordered).isascii():
        return ordered
    return sorted(ordered, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
