"""The tag octets of JSON-B, JSON-C, JSON-D and JBCD (draft-hallambaker-jsonbcd-21, tables 1 to 4).

A tag family with lengths of 1, 2, 4 and 8 octets takes four consecutive tags: `tag & 3` selects the length.
"""

from __future__ import annotations

STRING = 0x80
STRING_CHUNK = 0x84
BINARY = 0x88
BINARY_CHUNK = 0x8C
NAME = 0xB4

BINARY16, BINARY32, BINARY64 = 0x90, 0x91, 0x92
BINARY128, INTEL80 = 0x94, 0x95
DECIMAL32, DECIMAL64, DECIMAL128 = 0x96, 0x97, 0x98

INTEGER, INTEGER128, BIGNUM = 0xA0, 0xA4, 0xA7
NEGATIVE, NEGATIVE128, NEGATIVE_BIGNUM = 0xA8, 0xAC, 0xAF
BIGNUM_EXAMPLE, NEGATIVE_BIGNUM_EXAMPLE = 0xA5, 0xAD
"""What the draft's own example and the reference's constants use for bignums, against the draft's table."""

TRUE, FALSE, NULL = 0xB0, 0xB1, 0xB2

CODE, DEFINE, DEFINE_AND_USE = 0xC0, 0xC4, 0xC8
DICTIONARY, DICTIONARY_LOAD = 0xCC, 0xD0
RECORD, FRAME = 0xF0, 0xF4


def length_octets(tag: int) -> int:
    """Octets of the length (or integer) that follows a tag of a family of four: 1, 2, 4 or 8."""
    return 1 << (tag & 3)


def head(family: int, length: int) -> bytes:
    """The tag and the shortest length of a token of `length` octets."""
    if length < 1 << 8:
        return bytes((family, length))
    if length < 1 << 16:
        return bytes((family + 1, length >> 8, length & 0xFF))
    if length < 1 << 32:
        return bytes([family + 2]) + length.to_bytes(4, "big")
    return bytes([family + 3]) + length.to_bytes(8, "big")
