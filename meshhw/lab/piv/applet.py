"""The PIV applet: SELECT and the table of instructions."""

from __future__ import annotations

from collections.abc import Callable

from meshhw.lab.piv import apdu, attestation, auth, objects, slots
from meshhw.lab.piv.apdu import CardError, Command
from meshhw.lab.piv.context import Context
from meshhw.lab.piv.personality import Personality
from meshhw.lab.piv.state import Session
from meshhw.lab.piv.tlv import tlv, unwrap

AID = bytes.fromhex("a00000030800001000")
WHOLE_NAME = AID + b"\x01\x00"
PREFIX = AID[:5]
TEMPLATE = tlv(0x61, tlv(0x4F, bytes.fromhex("000010000100")) + tlv(0x79, tlv(0x4F, PREFIX)))
"""Application property template (SP 800-73-4 part 2, table 3), as YubiKeys have it."""
LABEL = tlv(0x50, b"PIV")

Instruction = Callable[[Context, Command], bytes]

VERIFY, GENERATE, AUTHENTICATE, GET_DATA, PUT_DATA = 0x20, 0x47, 0x87, 0xCB, 0xDB
ATTEST, GET_SERIAL, GET_METADATA, IMPORT, GET_VERSION, MOVE = 0xF9, 0xF8, 0xF7, 0xFE, 0xFD, 0xF6

STANDARD: dict[int, Instruction] = {
    VERIFY: auth.verify,
    0x24: auth.change_reference,
    0x2C: auth.reset_retry,
    GENERATE: slots.generate,
    AUTHENTICATE: slots.authenticate,
    GET_DATA: objects.get_data,
    PUT_DATA: objects.put_data,
}


class PivApplet:
    """What answers while PIV is the selected application."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._instructions = STANDARD | _extensions(context.lasting.personality)

    def select(self) -> bytes:
        """Start a new session."""
        self.context.session = Session()
        personality = self.context.lasting.personality
        if personality.management_applet:
            return TEMPLATE
        if not personality.lists_algorithms:
            return tlv(0x61, unwrap(0x61, TEMPLATE) + (b"" if personality.ways.says_yubikey else LABEL))
        ways = personality.ways
        codes = [tlv(0x80, bytes([code])) for code in (*ways.also_listed, *sorted(personality.algorithms))]
        lists = codes if ways.lists_each else [b"".join(codes)]
        listed = b"".join(tlv(0xAC, one + tlv(0x06, b"\0")) for one in lists)
        return tlv(0x61, unwrap(0x61, TEMPLATE) + LABEL + listed)

    def process(self, command: Command) -> bytes:
        """The data of the answer. Raises CardError with the status word."""
        instruction = self._instructions.get(command.ins)
        if instruction is None:
            raise CardError(apdu.UNKNOWN_INSTRUCTION)
        try:
            return instruction(self.context, command)
        finally:
            if command.ins != VERIFY:
                self.context.session.pin_fresh = False


def _extensions(personality: Personality) -> dict[int, Instruction]:
    """The YubiKey's own instructions, as far as this card knows them."""
    known: dict[int, Instruction] = {}
    if personality.version is not None:
        known[GET_VERSION] = _version
    if personality.serial:
        known[GET_SERIAL] = _serial
    if personality.metadata:
        known[GET_METADATA] = slots.metadata
    if personality.attestation:
        known[ATTEST] = attestation.attest
    if personality.moves_keys:
        known[MOVE] = slots.move
    if personality.policies:
        known |= {
            IMPORT: slots.import_key if personality.ways.imports else _refuse,
            0xFF: auth.set_management_key,
            0xFA: auth.set_retries,
            0xFB: auth.reset,
        }
    return known


def _refuse(_: Context, __: Command) -> bytes:
    raise CardError(apdu.FUNCTION_NOT_SUPPORTED)


def _version(context: Context, _: Command) -> bytes:
    return bytes(context.lasting.personality.version or ())


def _serial(context: Context, _: Command) -> bytes:
    return context.lasting.serial.to_bytes(4, "big")
