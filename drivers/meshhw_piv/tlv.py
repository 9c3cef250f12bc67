"""BER-TLV as cards really write it: with padding around the objects, and lengths longer than need be.

ISO 7816-4 lets octets 00 (and FF, in its first edition) stand before, between and after data objects, and
cards fill their certificate objects up with them.
"""

from __future__ import annotations

from collections.abc import Iterator

from yubikit.core import Tlv

PADDING = (0x00, 0xFF)


def items(data: bytes) -> Iterator[Tlv]:
    """The objects side by side, as far as one asks for them. Raises ValueError at a torn one."""
    while data := _trimmed(data):
        try:
            item, data = Tlv.parse_from(data)
        except IndexError as error:
            raise ValueError("a data object ends within its head") from error
        yield item


def fields(data: bytes) -> dict[int, bytes]:
    """All objects by their tag. Raises ValueError."""
    return {item.tag: item.value for item in items(data)}


def unwrap(tag: int, data: bytes) -> bytes:
    """The value of the first object of that tag; what comes after it does not matter. Raises ValueError."""
    for item in items(data):
        if item.tag == tag:
            return item.value
    raise ValueError(f"there is no object {tag:02x}")


def _trimmed(data: bytes) -> bytes:
    start = 0
    while start < len(data) and data[start] in PADDING:
        start += 1
    return data[start:]
