"""What a card answers, fetched from the PC/SC library into a buffer whose end is looked at.

pyscard makes a list of as many octets as the library says it has, also where a call has failed and where its
buffer is shorter. When a length is wrong, as after a service that went away in the middle, it reads on until
the system ends the process. So the two calls whose answers have a length of their own go to libpcsclite
directly, by handles that pyscard has opened: it has loaded that library, and everything else is its.
Where the library has another name (not on Linux) pyscard makes these calls, too.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

LIBRARY = "libpcsclite.so.1"
LONGEST = 4 + 3 + (1 << 16) + 3 + 2
"""Octets of the longest answer, as libpcsclite has it (MAX_BUFFER_SIZE_EXTENDED)."""
LONGEST_ATTRIBUTE = 264
INSUFFICIENT_BUFFER = 0x80100008


class _Header(ctypes.Structure):
    """SCARD_IO_REQUEST."""

    _fields_ = (("protocol", ctypes.c_ulong), ("length", ctypes.c_ulong))


def transmit(card: int, protocol: int, command: bytes) -> tuple[int, bytes]:
    """SCardTransmit: the result's code, and the answer where it is a success."""
    if (library := _library()) is None:
        from smartcard import scard  # type: ignore[import-untyped]  # pyscard ships no types

        return _of_list(*scard.SCardTransmit(card, protocol, list(command)))
    header = _Header(protocol, ctypes.sizeof(_Header))
    answer, length = ctypes.create_string_buffer(LONGEST), ctypes.c_ulong(LONGEST)
    code = library.SCardTransmit(
        ctypes.c_long(card),
        ctypes.byref(header),
        command,
        ctypes.c_ulong(len(command)),
        None,
        answer,
        ctypes.byref(length),
    )
    return _within(code, answer, length.value)


def attribute(card: int, number: int) -> tuple[int, bytes]:
    """SCardGetAttrib: the result's code, and the attribute where it is a success."""
    if (library := _library()) is None:
        from smartcard import scard

        return _of_list(*scard.SCardGetAttrib(card, number))
    value, length = ctypes.create_string_buffer(LONGEST_ATTRIBUTE), ctypes.c_ulong(LONGEST_ATTRIBUTE)
    code = library.SCardGetAttrib(ctypes.c_long(card), ctypes.c_ulong(number), value, ctypes.byref(length))
    return _within(code, value, length.value)


def _within(code: int, buffer: ctypes.Array[ctypes.c_char], length: int) -> tuple[int, bytes]:
    if code:
        return code & 0xFFFFFFFF, b""
    if length > len(buffer):
        return INSUFFICIENT_BUFFER, b""
    return 0, ctypes.string_at(buffer, length)


def _of_list(code: int, octets: list[int]) -> tuple[int, bytes]:
    return code & 0xFFFFFFFF, bytes(octet & 0xFF for octet in octets)


@cache
def _library() -> Any:
    """The library that pyscard has loaded, None where it is another one."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None
