"""Data objects: GET DATA and PUT DATA (SP 800-73-4 part 2, 3.1.2 and 3.3.2)."""

from __future__ import annotations

from meshhw.lab.piv import apdu
from meshhw.lab.piv.apdu import CardError, Command
from meshhw.lab.piv.context import Context
from meshhw.lab.piv.state import LONGEST_OBJECT
from meshhw.lab.piv.tlv import fields, tlv, unwrap

TAG_LIST, DATA = 0x5C, 0x53
DISCOVERY = 0x7E
PADDING = bytes(16)
DISCOVERY_OBJECT = bytes.fromhex("4f0ba0000003080000100001005f2f024000")
DISCOVERY_SHARED = DISCOVERY_OBJECT[:-2] + b"\x60\x20"
"""Of a card whose holder uses the PIN of all its applications (part 1, 3.3.2)."""
STANDARD = range(0x5FC101, 0x5FC124)


def get_data(context: Context, command: Command) -> bytes:
    """The object of a tag list. Raises CardError: 6A82 absent, 6982 behind the PIN."""
    identifier = _identifier(command)
    if identifier == DISCOVERY:
        shared = context.lasting.personality.ways.global_pin
        return tlv(DISCOVERY, DISCOVERY_SHARED if shared else DISCOVERY_OBJECT)
    if identifier in context.lasting.personality.pin_protected and not context.session.pin_verified:
        raise CardError(apdu.SECURITY_NOT_SATISFIED)
    value = context.lasting.objects.get(identifier)
    if value is None:
        raise CardError(apdu.NOT_FOUND)
    return tlv(DATA, value + PADDING if context.lasting.personality.ways.padded_objects else value)


def put_data(context: Context, command: Command) -> bytes:
    """Write an object, or delete it by writing nothing. Raises CardError: 6A84 when the card is full."""
    context.need_management()
    identifier = _identifier(command)
    value = unwrap(DATA, command.data)
    lasting = context.lasting
    ways = lasting.personality.ways
    known = ways.objects or (
        (STANDARD,) if not lasting.personality.policies else (range(0x5F0000, 0x600000),)
    )
    if not any(identifier in some for some in known):
        raise CardError(ways.unknown_object)
    if not value:
        lasting.objects.pop(identifier, None)
        return b""
    if len(value) > ways.rooms.get(identifier, LONGEST_OBJECT):
        lasting.objects[identifier] = value[: ways.rooms.get(identifier, 0)]  # it had come in parts
        raise CardError(apdu.WRONG_LENGTH)
    if lasting.used - len(lasting.objects.get(identifier, b"")) + len(value) > lasting.capacity:
        raise CardError(apdu.NO_SPACE)
    if len(value) > lasting.allotted.setdefault(identifier, len(value)) and not ways.objects_grow:
        raise CardError(apdu.NO_SPACE)
    lasting.objects[identifier] = value
    return b""


def _identifier(command: Command) -> int:
    if (command.p1, command.p2) != (0x3F, 0xFF):
        raise CardError(apdu.WRONG_P1P2)
    tag = fields(command.data).get(TAG_LIST)
    if tag is None or not 1 <= len(tag) <= 3:
        raise CardError(apdu.WRONG_DATA)
    return int.from_bytes(tag, "big")
