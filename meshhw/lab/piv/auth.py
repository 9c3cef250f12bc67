"""PIN, PUK and management key: VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER and their like."""

from __future__ import annotations

import hmac
import secrets

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from meshhw.lab.piv import apdu
from meshhw.lab.piv.apdu import CardError, Command
from meshhw.lab.piv.context import Context
from meshhw.lab.piv.personality import MANAGEMENT_KEY_LENGTHS, TDES
from meshhw.lab.piv.state import Reference
from meshhw.lab.piv.tlv import fields, tlv, unwrap

GLOBAL_PIN, PIN, PUK = 0x00, 0x80, 0x81
LENGTH = 8
MOST_SHOWN = 15
TOUCHED, UNTOUCHED = 0xFE, 0xFF
WITNESS, CHALLENGE, RESPONSE, DYNAMIC = 0x80, 0x81, 0x82, 0x7C


def verify(context: Context, command: Command) -> bytes:
    """VERIFY (SP 800-73-4 part 2, 3.2.1); without data it asks for the counter."""
    session, pin = context.session, context.lasting.pin
    if command.p2 != reference(context):
        raise CardError(context.lasting.personality.missing_reference)
    if command.p1 == 0xFF:
        session.pin_verified = session.pin_fresh = False
        return b""
    if not command.data:
        if session.pin_verified:
            return b""
        raise _left(pin)
    if len(command.data) != LENGTH:
        raise CardError(apdu.WRONG_DATA)
    session.pin_verified = session.pin_fresh = False
    _compare(pin, command.data)
    session.pin_verified = session.pin_fresh = True
    return b""


def change_reference(context: Context, command: Command) -> bytes:
    """CHANGE REFERENCE DATA (3.2.2) of the PIN or the PUK."""
    references = {reference(context): context.lasting.pin, PUK: context.lasting.puk}
    changed = references.get(command.p2)
    ways = context.lasting.personality.ways
    if changed is None:
        raise CardError(context.lasting.personality.missing_reference)
    try:
        _replace(changed, changed, command.data, ways.shortest_pin)
    except CardError as error:
        if ways.wrong_old_pin is None or error.status & 0xFFF0 != apdu.VERIFY_FAILED:
            raise
        raise CardError(ways.wrong_old_pin) from error
    return b""


def reference(context: Context) -> int:
    """The PIN's: of the application, or of the whole card."""
    return GLOBAL_PIN if context.lasting.personality.ways.global_pin else PIN


def reset_retry(context: Context, command: Command) -> bytes:
    """RESET RETRY COUNTER (3.2.3): a new PIN by the PUK."""
    if command.p2 != PIN:
        raise CardError(context.lasting.personality.missing_reference)
    shortest = context.lasting.personality.ways.shortest_pin
    _replace(context.lasting.puk, context.lasting.pin, command.data, shortest)
    return b""


def set_retries(context: Context, command: Command) -> bytes:
    """The counters' new lengths; PIN and PUK go back to their defaults."""
    context.need_management()
    if not context.session.pin_verified:
        raise CardError(apdu.SECURITY_NOT_SATISFIED)
    if not command.p1 or not command.p2:
        raise CardError(apdu.WRONG_P1P2)
    lasting = context.lasting
    lasting.pin = Reference.fresh(lasting.pin.default, command.p1)
    lasting.puk = Reference.fresh(lasting.puk.default, command.p2)
    return b""


def reset(context: Context, _: Command) -> bytes:
    """Erase the applet, which needs PIN and PUK both locked."""
    if context.lasting.pin.left or context.lasting.puk.left:
        raise CardError(context.lasting.personality.ways.not_locked)
    context.lasting.erase()
    return b""


def authenticate_management(context: Context, command: Command) -> bytes:
    """GENERAL AUTHENTICATE with key 9B: mutual (witness) or one-sided (challenge), part 2, appendix A.1."""
    lasting, session = context.lasting, context.session
    if (command.p1 or TDES) != lasting.management_algorithm:
        raise CardError(apdu.WRONG_P1P2)
    asked = fields(unwrap(DYNAMIC, command.data))
    block = 8 if lasting.management_algorithm == TDES else 16
    if lasting.personality.ways.begins_afresh and b"" in (asked.get(WITNESS), asked.get(CHALLENGE)):
        session.managed = False
    if asked.get(WITNESS) == b"":
        if not lasting.personality.ways.proves_itself:
            raise CardError(apdu.SECURITY_NOT_SATISFIED)
        session.witness = secrets.token_bytes(block)
        return tlv(DYNAMIC, tlv(WITNESS, _encrypt(context, session.witness)))
    if asked.get(CHALLENGE) == b"":
        session.challenge = secrets.token_bytes(block)
        return tlv(DYNAMIC, tlv(CHALLENGE, session.challenge))
    witness, challenge = session.witness, session.challenge
    session.witness = session.challenge = None
    if witness is not None and WITNESS in asked:
        _prove(context, witness, asked[WITNESS])
        return tlv(DYNAMIC, tlv(RESPONSE, _encrypt(context, asked.get(CHALLENGE, b""))))
    if challenge is not None and RESPONSE in asked:
        _prove(context, _encrypt(context, challenge), asked[RESPONSE])
        return b""
    raise CardError(apdu.WRONG_DATA)


def set_management_key(context: Context, command: Command) -> bytes:
    """The YubiKey's SET MANAGEMENT KEY: algorithm, 9B, length, key."""
    context.need_management()
    if command.p1 != 0xFF or command.p2 not in (TOUCHED, UNTOUCHED) or len(command.data) < 3:
        raise CardError(apdu.WRONG_P1P2)
    algorithm, key = command.data[0], unwrap(0x9B, command.data[1:])
    allowed = context.lasting.personality.management_algorithms
    if algorithm not in allowed or len(key) != MANAGEMENT_KEY_LENGTHS[algorithm]:
        raise CardError(apdu.WRONG_DATA)
    context.lasting.management_key, context.lasting.management_algorithm = key, algorithm
    context.lasting.management_touch = 2 if command.p2 == TOUCHED else 1
    return b""


def _prove(context: Context, expected: bytes, given: bytes) -> None:
    if not hmac.compare_digest(expected, given):
        raise CardError(context.lasting.personality.ways.wrong_management_key)
    if context.lasting.management_touch != 1:
        context.need_touch()
    context.session.managed = True


def _encrypt(context: Context, block: bytes) -> bytes:
    algorithm, key = context.lasting.management_algorithm, context.lasting.management_key
    if len(block) != (8 if algorithm == TDES else 16):
        raise CardError(apdu.WRONG_DATA)
    cipher = TripleDES(key) if algorithm == TDES else AES(key)
    encryptor = Cipher(cipher, modes.ECB()).encryptor()  # noqa: S305  one block, as SP 800-73-4 demands
    return encryptor.update(block) + encryptor.finalize()


def _replace(proof: Reference, target: Reference, data: bytes, shortest: int) -> None:
    if len(data) != 2 * LENGTH:
        raise CardError(apdu.WRONG_DATA)
    _compare(proof, data[:LENGTH])
    new = data[LENGTH:]
    if len(new.rstrip(b"\xff")) < shortest:
        raise CardError(apdu.WRONG_DATA)
    target.value, target.left = new, target.tries


def _compare(reference: Reference, given: bytes) -> None:
    if reference.left == 0:
        raise CardError(apdu.BLOCKED)
    if not hmac.compare_digest(reference.value, given):
        reference.left -= 1
        raise CardError(apdu.VERIFY_FAILED | min(reference.left, MOST_SHOWN))
    reference.left = reference.tries


def _left(reference: Reference) -> CardError:
    if reference.left == 0:
        return CardError(apdu.BLOCKED)
    return CardError(apdu.VERIFY_FAILED | min(reference.left, MOST_SHOWN))
