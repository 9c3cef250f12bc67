"""Keys in slots: make, import, use, describe, move and delete."""

from __future__ import annotations

import time

from meshhw.lab.piv import apdu, auth, keys
from meshhw.lab.piv.apdu import CardError, Command
from meshhw.lab.piv.context import Context
from meshhw.lab.piv.keys import SlotKey
from meshhw.lab.piv.personality import X25519, Personality
from meshhw.lab.piv.state import ATTESTATION_SLOT, DEFAULT_MANAGEMENT_KEY, Reference
from meshhw.lab.piv.tlv import fields, tlv, unwrap

MANAGEMENT_SLOT = 0x9B
AUTHENTICATION_SLOT, SIGNATURE_SLOT, KEY_MANAGEMENT_SLOT, CARD_AUTHENTICATION_SLOT = 0x9A, 0x9C, 0x9D, 0x9E
FIRST_RETIRED = 0x82
PIN_POLICY, TOUCH_POLICY = 0xAA, 0xAB
EXPONENTIATION = 0x85
NOWHERE = 0xFF


def generate(context: Context, command: Command) -> bytes:
    """GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4 part 2, 3.3.1)."""
    context.need_management()
    slot = _slot(context, command.p2)
    asked = fields(unwrap(0xAC, command.data))
    algorithm = int.from_bytes(asked.get(0x80, b""), "big")
    _check_algorithm(context, algorithm)
    _check_slot(context, slot, algorithm)
    pin, touch = _policies(context, slot, asked)
    made = SlotKey(algorithm, keys.generate(algorithm), keys.GENERATED, pin, touch)
    context.lasting.keys[slot] = made
    bare = context.lasting.personality.ways.bare_answers
    return made.public() if bare else tlv(0x7F49, made.public())


def import_key(context: Context, command: Command) -> bytes:
    """The YubiKey's IMPORT ASYMMETRIC KEY."""
    context.need_management()
    slot = _slot(context, command.p2)
    _check_algorithm(context, command.p1)
    pin, touch = _policies(context, slot, fields(command.data))
    private = keys.load(command.p1, command.data)
    context.lasting.keys[slot] = SlotKey(command.p1, private, keys.IMPORTED, pin, touch)
    return b""


def authenticate(context: Context, command: Command) -> bytes:
    """GENERAL AUTHENTICATE (3.2.4): sign, decrypt, agree; or the management key's own dialogue."""
    if command.p2 == MANAGEMENT_SLOT:
        return auth.authenticate_management(context, command)
    key = context.lasting.keys.get(command.p2)
    ways = context.lasting.personality.ways
    if ways.asks_pin_first and command.p2 != CARD_AUTHENTICATION_SLOT:
        session = context.session
        if not (session.pin_fresh if command.p2 == SIGNATURE_SLOT else session.pin_verified):
            raise CardError(apdu.SECURITY_NOT_SATISFIED)
    if key is None:
        raise CardError(context.lasting.personality.missing_key)
    if key.algorithm != command.p1:
        raise CardError(apdu.WRONG_DATA)
    _check_pin(context, key)
    if key.wants_touch:
        context.need_touch()
        key.touched = time.monotonic()
    asked = fields(unwrap(auth.DYNAMIC, command.data))
    if ways.slots_have_roles and key.algorithm in keys.CURVES:
        _check_role(command.p2, agrees=EXPONENTIATION in asked)
    if EXPONENTIATION in asked:
        turn = -1 if ways.turns_x25519 and key.algorithm == X25519 else 1
        result = key.agree(asked[EXPONENTIATION][::turn], whole=ways.bare_answers)[::turn]
    else:
        result = key.raw(asked.get(auth.CHALLENGE, b""), context.lasting.personality)
    return tlv(auth.DYNAMIC, tlv(auth.RESPONSE, result))


def metadata(context: Context, command: Command) -> bytes:
    """The YubiKey's GET METADATA of a slot, the PIN, the PUK or the management key."""
    lasting = context.lasting
    ways = lasting.personality.ways
    if ways.metadata_is_empty:
        return b""
    references = {auth.PIN: lasting.pin, auth.PUK: lasting.puk}
    if command.p2 in references:
        return _of_reference(references[command.p2])
    if command.p2 == MANAGEMENT_SLOT:
        default = lasting.management_key == DEFAULT_MANAGEMENT_KEY
        return (
            tlv(1, bytes([lasting.management_algorithm]))
            + tlv(2, bytes([0, lasting.management_touch]))
            + tlv(5, bytes([default]))
        )
    key = lasting.keys.get(command.p2)
    if key is None and ways.tells_policies_of_nothing and command.p2 in valid_slots(lasting.personality):
        return tlv(2, bytes([keys.PIN_ONCE, keys.TOUCH_NEVER])) + tlv(3, b"\0")
    if key is None:
        raise CardError(lasting.personality.missing_reference)
    if key.origin == keys.IMPORTED and not ways.describes_imported:
        raise CardError(apdu.FAILURE)
    return (
        tlv(1, bytes([key.algorithm]))
        + tlv(2, bytes([key.pin_policy, key.touch_policy]))
        + tlv(3, bytes([ways.origins[key.origin - keys.GENERATED]]))
        + tlv(4, key.public())
    )


def move(context: Context, command: Command) -> bytes:
    """The YubiKey's MOVE KEY; a move to FF deletes."""
    context.need_management()
    held = context.lasting.keys
    if command.p2 not in held:
        raise CardError(context.lasting.personality.missing_reference)
    if command.p1 != NOWHERE:
        target = _slot(context, command.p1)
        if target in held or target == ATTESTATION_SLOT:
            raise CardError(apdu.CONDITIONS_NOT_SATISFIED)
        held[target] = held[command.p2]
    del held[command.p2]
    return b""


def valid_slots(personality: Personality) -> frozenset[int]:
    """The slots that a card of this kind has."""
    retired = range(FIRST_RETIRED, FIRST_RETIRED + personality.retired_slots)
    extra = {ATTESTATION_SLOT} if personality.attestation else set()
    return frozenset({0x9A, 0x9C, 0x9D, 0x9E, *retired, *extra})


def _slot(context: Context, slot: int) -> int:
    if slot not in valid_slots(context.lasting.personality):
        raise CardError(apdu.WRONG_P1P2)
    return slot


def _check_algorithm(context: Context, algorithm: int) -> None:
    if algorithm not in context.lasting.personality.algorithms:
        raise CardError(apdu.WRONG_DATA)


def _check_slot(context: Context, slot: int, algorithm: int) -> None:
    """Whether a slot that is kept for some algorithms takes a key of this one."""
    allowed = context.lasting.personality.ways.slot_algorithms
    if slot in allowed and algorithm not in allowed[slot]:
        raise CardError(apdu.WRONG_DATA)


def _check_role(slot: int, *, agrees: bool) -> None:
    """The standard's use of each slot (SP 800-73-4 part 1, table 4b)."""
    if agrees and slot in (AUTHENTICATION_SLOT, SIGNATURE_SLOT, CARD_AUTHENTICATION_SLOT):
        raise CardError(apdu.SECURITY_NOT_SATISFIED)
    if not agrees and (slot == KEY_MANAGEMENT_SLOT or slot < AUTHENTICATION_SLOT):
        raise CardError(apdu.WRONG_P1P2)


def _policies(context: Context, slot: int, asked: dict[int, bytes]) -> tuple[int, int]:
    pin = int.from_bytes(asked.get(PIN_POLICY, b""), "big")
    touch = int.from_bytes(asked.get(TOUCH_POLICY, b""), "big")
    if (pin or touch) and not context.lasting.personality.policies:
        raise CardError(apdu.WRONG_DATA)
    if pin > keys.PIN_ALWAYS or touch > keys.TOUCH_CACHED:
        raise CardError(apdu.WRONG_DATA)
    usual = {SIGNATURE_SLOT: keys.PIN_ALWAYS, CARD_AUTHENTICATION_SLOT: keys.PIN_NEVER}
    before = context.lasting.keys.get(slot)
    if before is not None and context.lasting.personality.ways.keeps_policies:
        usual[slot] = before.pin_policy
    return pin or usual.get(slot, keys.PIN_ONCE), touch or keys.TOUCH_NEVER


def _check_pin(context: Context, key: SlotKey) -> None:
    session = context.session
    satisfied = {
        keys.PIN_NEVER: True,
        keys.PIN_ONCE: session.pin_verified,
        keys.PIN_ALWAYS: session.pin_fresh,
    }
    if not satisfied[key.pin_policy]:
        raise CardError(apdu.SECURITY_NOT_SATISFIED)


def _of_reference(reference: Reference) -> bytes:
    default = bytes([reference.value == reference.default])
    return tlv(1, b"\xff") + tlv(5, default) + tlv(6, bytes([reference.tries, reference.left]))
