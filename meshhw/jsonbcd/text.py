"""The tokens of plain JSON (RFC 8259), strictly or as the reference's writer bends them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

from meshhw.errors import FormatError
from meshhw.jsonbcd.base64url import WHITESPACE, decode_base64url, decode_quartets
from meshhw.jsonbcd.limits import Limits
from meshhw.jsonbcd.source import Source

_STOPS = re.compile(rb'["\\]')
_CONTROLS = re.compile(rb"[\x00-\x1f]")
_RAW_ALLOWED = b"\t\r\n"
_WORD_END = re.compile(rb"[^A-Za-z0-9+.\-]|$")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:(\.[0-9]+)?([eE][+-]?[0-9]+)?)")
_LITERALS = {b"true": True, b"false": False, b"null": None}
_NUMBER_LENGTH = 1024


def read_string(source: Source, limits: Limits, *, lenient: bool) -> str:
    """The string whose opening quote `source` stands at. `lenient` takes raw line breaks and tabs in it."""
    source.take(1)
    octets = bytearray()
    while True:
        octets += source.until(_STOPS)
        if len(octets) > limits.token:
            raise source.fail("a string is longer than its limit")
        if source.peek() == ord('"'):
            source.take(1)
            return _unescaped(source, bytes(octets), lenient)
        octets += source.take(2)


def _unescaped(source: Source, octets: bytes, lenient: bool) -> str:
    raw = {control[0] for control in _CONTROLS.findall(octets)}
    if raw and not (lenient and raw <= set(_RAW_ALLOWED)):
        raise source.fail("a string holds a raw control character")
    try:
        text = octets.decode("utf-8")
        if b"\\" in octets:
            text = json.loads(f'"{text}"', strict=False)
            text.encode("utf-8")
    except ValueError as error:
        raise source.fail("a string is not UTF-8, or has a broken escape") from error
    return text


def read_word(source: Source) -> int | float | bool | None:
    """The number or literal that `source` stands at."""
    word = bytearray()
    while (octet := source.peek()) >= 0 and not _WORD_END.match(bytes([octet])):
        word += source.take(1)
        if len(word) > _NUMBER_LENGTH:
            raise source.fail("a number is longer than its limit")
    if bytes(word) in _LITERALS:
        return _LITERALS[bytes(word)]
    number = _NUMBER.fullmatch(word)
    if not number:
        raise source.fail("a value was expected")
    if number[1] is None and number[2] is None:
        return int(word)
    real = float(word)
    if not math.isfinite(real):
        raise source.fail("a number is too large")
    return real


def stream_base64url(source: Source, *, lenient: bool) -> Iterator[bytes]:
    """The octets of the base64url string whose opening quote `source` stands at, piece by piece."""
    source.take(1)
    rest = b""
    while True:
        piece, ended = source.some_until(_STOPS)
        rest += piece.translate(None, WHITESPACE) if lenient else piece
        if ended and source.take(1) == b'"':
            break
        if ended:
            _escaped_space(source, lenient)
        # The last quartet stays behind: it alone may hold padding.
        whole = max(len(rest) - 1, 0) & ~3
        yield _decoded(source, rest[:whole])
        rest = rest[whole:]
    yield _decoded(source, rest, last=True, lenient=lenient)


def _decoded(source: Source, text: bytes, *, last: bool = False, lenient: bool = False) -> bytes:
    try:
        return decode_base64url(text, lenient=lenient) if last else decode_quartets(text)
    except FormatError as error:
        raise source.fail(error.message) from error


def _escaped_space(source: Source, lenient: bool) -> None:
    """Wrapped text that went through another JSON writer has its line breaks as escapes."""
    if not lenient or source.take(1) not in (b"n", b"r", b"t"):
        raise source.fail("base64url text holds an escape")
