"""Whether a card and its reader take extended commands, which spare the parts of a chain (ISO 7816-4, 5.2).

The card's answer to reset says it, else the card is asked for its CHUID in both forms: where the answers are
the same, it takes both. A reader may take less than the card; where it tells how much, that is kept to.
"""

from __future__ import annotations

from smartcard.ATR import ATR  # type: ignore[import-untyped]  # pyscard ships no types
from yubikit.core import Tlv

from meshhw_piv.instructions import GET_DATA
from meshhw_piv.pcsc import Connection

SHORT = 255
"""Octets of data that a short command has room for."""
OVERHEAD = 9
"""Octets of an extended command beside its data: header, both lengths."""
_LONGEST = 0xFFFF
_STATUS_INDICATOR, _STATUS_LENGTH = 0x00, 3
_NO_INDICATOR = 0x80
_CAPABILITIES, _EXTENDED = 0x7, 0x40
"""Tag of the card capabilities in the historical bytes; the third octet's bit (8.1.1.2.7, table 119)."""
_CHUID = bytes(Tlv(0x5C, bytes.fromhex("5fc102")))


def extended(ins: int, p1: int, p2: int, data: bytes) -> bytes:
    """An extended command that asks for the whole answer."""
    return bytes([0, ins, p1, p2, 0]) + len(data).to_bytes(2, "big") + data + b"\0\0"


def longest(connection: Connection) -> int:
    """The most octets of data that fit one command; `SHORT` where only short commands are taken.

    Raises PcscFault: readers are known that fail on what they do not pass on.
    """
    if not connection.whole:
        return SHORT
    said = told(connection.atr)
    taken = _answers(connection) if said is None else said
    return max(SHORT, (connection.room() or _LONGEST) - OVERHEAD) if taken else SHORT


def told(atr: bytes) -> bool | None:
    """What the answer to reset says of extended commands; None where it says nothing."""
    history = bytes(ATR(list(atr)).getHistoricalBytes())
    if history[:1] not in (bytes([_NO_INDICATOR]), bytes([_STATUS_INDICATOR])):
        return None
    objects = history[1:] if history[0] == _NO_INDICATOR else history[1:-_STATUS_LENGTH]
    while objects:
        tag, length = objects[0] >> 4, objects[0] & 0x0F
        value, objects = objects[1 : 1 + length], objects[1 + length :]
        if tag == _CAPABILITIES:
            return len(value) == 3 and bool(value[2] & _EXTENDED)
    return None


def _answers(connection: Connection) -> bool:
    """Whether the card gives the same answer to a question in either form. Raises PcscFault."""
    short = bytes([0, GET_DATA, 0x3F, 0xFF, len(_CHUID)]) + _CHUID
    expected = connection.send_and_receive(short)
    return connection.send_and_receive(extended(GET_DATA, 0x3F, 0xFF, _CHUID)) == expected
