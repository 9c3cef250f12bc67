"""RFC 8785 canonical JSON of headers: integers only, binaries as base64url."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from meshhw.errors import FormatError
from meshhw.jsonbcd.base64url import encode_base64url
from meshhw.jsonbcd.reader import Value

_LARGEST = 2**53 - 1
_DEPTH = 64


def canonical(value: Value) -> bytes:
    """The one octet string of this value (RFC 8785 section 3.2). Raises FormatError for a float, an integer
    of 2^53 or more, a lone surrogate, or nesting deeper than 64."""
    text = json.dumps(_ordered(value, _DEPTH), ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError("a string holds half a surrogate pair") from error


def _ordered(value: Value, depth: int) -> object:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, bytes):
        return encode_base64url(value)
    if isinstance(value, int):
        if abs(value) > _LARGEST:
            raise FormatError("an integer is not below 2^53")
        return value
    if not depth:
        raise FormatError("the value is nested too deep")
    if isinstance(value, Mapping):
        return {name: _ordered(value[name], depth - 1) for name in sorted(value, key=_utf16)}
    if isinstance(value, Sequence):
        return [_ordered(item, depth - 1) for item in value]
    raise FormatError(f"a {type(value).__name__} has no canonical form")


def _utf16(name: str) -> bytes:
    """Names are ordered by their UTF-16 code units (RFC 8785 section 3.2.3)."""
    return name.encode("utf-16-be", "surrogatepass")
