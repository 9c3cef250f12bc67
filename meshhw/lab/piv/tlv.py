"""BER-TLV as PIV uses it: tags of one to three octets, definite lengths."""

from __future__ import annotations

from collections.abc import Iterator

from meshhw.lab.piv.apdu import WRONG_DATA, CardError


def tlv(tag: int, value: bytes = b"") -> bytes:
    """One data object."""
    return tag.to_bytes((tag.bit_length() + 7) // 8 or 1, "big") + _length(len(value)) + value


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The data objects side by side in `data`. Raises CardError (6A80) where they do not add up."""
    position = 0
    while position < len(data):
        tag, position = _read_tag(data, position)
        length, position = _read_length(data, position)
        if position + length > len(data):
            raise CardError(WRONG_DATA)
        yield tag, data[position : position + length]
        position += length


def fields(data: bytes) -> dict[int, bytes]:
    """The same by tag."""
    return dict(items(data))


def unwrap(tag: int, data: bytes) -> bytes:
    """The value of the one object of that tag. Raises CardError (6A80)."""
    value = fields(data).get(tag)
    if value is None:
        raise CardError(WRONG_DATA)
    return value


def _read_tag(data: bytes, position: int) -> tuple[int, int]:
    tag = data[position]
    position += 1
    if tag & 0x1F == 0x1F:
        while True:
            if position >= len(data) or tag > 0xFFFF:
                raise CardError(WRONG_DATA)
            octet = data[position]
            tag, position = tag << 8 | octet, position + 1
            if not octet & 0x80:
                break
    return tag, position


def _read_length(data: bytes, position: int) -> tuple[int, int]:
    if position >= len(data):
        raise CardError(WRONG_DATA)
    first = data[position]
    position += 1
    if first < 0x80:
        return first, position
    count = first & 0x7F
    if not 1 <= count <= 3 or position + count > len(data):
        raise CardError(WRONG_DATA)
    return int.from_bytes(data[position : position + count], "big"), position + count
