"""The binary tokens of JSON-B and JSON-D: integers, floats, strings and binaries in chunks."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from decimal import Decimal

from meshhw.jsonbcd import tags
from meshhw.jsonbcd.limits import Limits
from meshhw.jsonbcd.source import Source

Room = Callable[[int], memoryview]
"""What gives memory for that many octets."""
Scalar = str | bytes | int | float | Decimal | bool | None

_CONSTANTS: dict[int, Scalar] = {tags.TRUE: True, tags.FALSE: False, tags.NULL: None}
_IEEE = {tags.BINARY16: ">e", tags.BINARY32: ">f", tags.BINARY64: ">d"}
_DECIMAL = {
    tags.DECIMAL32: (4, 8, 101, 7),
    tags.DECIMAL64: (8, 10, 398, 16),
    tags.DECIMAL128: (16, 14, 6176, 34),
}
"""Octets, bits of the exponent, its bias, digits of the coefficient (IEEE 754-2019 table 3.6)."""
STREAMED = 8 * 65_552
"""Octets of a streamed piece: a whole number of the segments that envelopes' bodies are made of."""


def read_token(source: Source, limits: Limits, *, lenient: bool) -> Scalar:
    """The value of the binary token that `source` stands at. Raises FormatError."""
    tag = source.take(1)[0]
    family = tag & 0xFC
    if tag in _CONSTANTS:
        return _CONSTANTS[tag]
    if family in (tags.STRING, tags.STRING_CHUNK, tags.NAME):
        return _utf8(source, _joined(source, tag, limits))
    if family in (tags.BINARY, tags.BINARY_CHUNK):
        return _joined(source, tag, limits)
    if family in (tags.INTEGER, tags.NEGATIVE) or tag in (tags.INTEGER128, tags.NEGATIVE128):
        return _integer(source, tag)
    if tag in (tags.BIGNUM, tags.NEGATIVE_BIGNUM):
        return _bignum(source, tag, limits)
    if lenient and tag in (tags.BIGNUM_EXAMPLE, tags.NEGATIVE_BIGNUM_EXAMPLE):
        return _bignum(source, tag, limits)
    if tag & 0xF0 == 0x90:
        return _real(source, tag)
    raise source.fail(f"{_refusal(tag)} (tag {tag:02x})")


def stream_token(source: Source, room: Room | None = None) -> Iterator[bytes | memoryview]:
    """The octets of the binary token (or chain of chunks) that `source` stands at, piece by piece; in memory
    that `room` gives, where it is given."""
    room = room or _new
    tag = source.take(1)[0]
    while True:
        if tag & 0xF8 != tags.BINARY:
            raise source.fail(f"a chunk of a binary was expected (tag {tag:02x})")
        left = _length(source, tag)
        while left:
            piece = room(min(left, STREAMED))
            count = source.some_into(piece)
            if count < len(piece):
                raise source.fail(f"the data ends {len(piece) - count} octets too early")
            left -= count
            yield piece
        if tag & 0xFC == tags.BINARY:
            return
        tag = source.take(1)[0]


def _new(length: int) -> memoryview:
    return memoryview(bytearray(length))


def _length(source: Source, tag: int) -> int:
    return int.from_bytes(source.take(tags.length_octets(tag)), "big")


def _joined(source: Source, tag: int, limits: Limits) -> bytes:
    """One token or a chain of chunks: the tag of a non-final chunk has the bit 4 set."""
    octets = bytearray()
    family = tag & 0xF8
    while True:
        length = _length(source, tag)
        if len(octets) + length > limits.token:
            raise source.fail("a string or binary is longer than its limit")
        octets += source.take(length)
        if tag & 4 == 0 or tag & 0xFC == tags.NAME:
            return bytes(octets)
        tag = source.take(1)[0]
        if tag & 0xF8 != family:
            raise source.fail(f"a further chunk was expected (tag {tag:02x})")


def _utf8(source: Source, octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise source.fail("a string is not UTF-8") from error


def _integer(source: Source, tag: int) -> int:
    """After a negative tag the octets are the magnitude, as the reference writes it."""
    wide = tag in (tags.INTEGER128, tags.NEGATIVE128)
    magnitude = int.from_bytes(source.take(16 if wide else tags.length_octets(tag)), "big")
    return -magnitude if tag & 8 else magnitude


def _bignum(source: Source, tag: int, limits: Limits) -> int:
    length = int.from_bytes(source.take(2), "big")
    if length > limits.token:
        raise source.fail("a number is longer than its limit")
    magnitude = int.from_bytes(source.take(length), "big")
    return -magnitude if tag & 8 else magnitude


def _real(source: Source, tag: int) -> float | Decimal:
    if tag in _IEEE:
        layout = _IEEE[tag]
        return _finite(source, struct.unpack(layout, source.take(struct.calcsize(layout)))[0])
    if tag == tags.BINARY128:
        return _extended(source, int.from_bytes(source.take(16), "big"), 112, explicit=False)
    if tag == tags.INTEL80:
        return _extended(source, int.from_bytes(source.take(10), "big"), 64, explicit=True)
    if tag in _DECIMAL:
        return _decimal(source, *_DECIMAL[tag])
    raise source.fail(f"an undefined number (tag {tag:02x})")


def _finite(source: Source, number: float) -> float:
    if not math.isfinite(number):
        raise source.fail("a number is not finite")
    return number


def _extended(source: Source, bits: int, width: int, *, explicit: bool) -> float:
    """A number with a 15-bit exponent, rounded to binary64. Intel's form writes the leading bit."""
    fraction = bits & ((1 << width) - 1)
    exponent = bits >> width & 0x7FFF
    if exponent == 0x7FFF:
        raise source.fail("a number is not finite")
    if not explicit and exponent:
        fraction |= 1 << width
    scale = max(exponent, 1) - 16383 - (width - 1 if explicit else width)
    try:
        number = math.ldexp(fraction, scale)
    except OverflowError as error:
        raise source.fail("a number is too large") from error
    return -number if bits >> (width + 15) else number


def _decimal(source: Source, octets: int, exponent_bits: int, bias: int, digits: int) -> Decimal:
    """An IEEE 754 decimal in the encoding with a binary coefficient, which the draft leaves open."""
    bits = int.from_bytes(source.take(octets), "big")
    width = octets * 8 - 1 - exponent_bits
    top = bits >> (octets * 8 - 5) & 0xF
    if top == 0xF:
        raise source.fail("a number is not finite")
    if top >> 2 == 3:
        width -= 2
        coefficient = bits & ((1 << width) - 1) | 1 << (width + 2)
    else:
        coefficient = bits & ((1 << width) - 1)
    if coefficient >= 10**digits:
        raise source.fail("the coefficient of a decimal has too many digits")
    exponent = bits >> width & ((1 << exponent_bits) - 1)
    sign = bits >> (octets * 8 - 1)
    return Decimal((sign, tuple(map(int, str(coefficient))), exponent - bias))


def _refusal(tag: int) -> str:
    if tag >= tags.RECORD:
        return "a record or frame cannot stand inside a document"
    if tag & 0xFC == tags.DICTIONARY or tag == tags.DICTIONARY_LOAD:
        return "dictionaries by reference are not defined"
    return "an undefined token"
