"""How long a message a card signs with Ed25519.

Imitations of a YubiKey are known that take 32 octets and no more, and others that take more and sign the
first 32. Either is found out by the first longer message, and before that by what costs nobody anything: a
certificate that the key has signed itself, or a signature by a key that asks for neither PIN nor touch.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Algorithm, Operation
from meshhw.errors import NotSupported
from meshhw.keystore.api import PinPolicy, TouchPolicy
from meshhw_piv import facts, slots, tlv
from meshhw_piv.facts import KeyFacts
from meshhw_piv.instructions import AUTHENTICATE
from meshhw_piv.session import CardSession

SHORT = 32
CHALLENGE, RESPONSE, DYNAMIC = 0x81, 0x82, 0x7C
QUESTION = b"meshhw asks whether this card signs messages of more than 32 octets"


def ask(session: CardSession, held: Sequence[KeyFacts]) -> None:
    """Find out by the keys that the card holds, if they can tell; nobody is asked for anything."""
    for key in held:
        if key.algorithm is Algorithm.ED25519 and session.signs_long is None:
            session.signs_long = True if _signed_itself(session, key) else _answer(session, key)


def verify(session: CardSession, key: bytes, signature: bytes, message: bytes) -> None:
    """Check what the card signed. Raises InvalidSignature, and NotSupported for a part of it."""
    public = ed25519.Ed25519PublicKey.from_public_bytes(key)
    try:
        public.verify(signature, message)
    except InvalidSignature:
        if len(message) <= SHORT or not _verifies(public, signature, message[:SHORT]):
            raise
        session.signs_long = False
        raise too_long(session) from None
    if len(message) > SHORT:
        session.signs_long = True


def too_long(session: CardSession) -> NotSupported:
    """The error for a message that the card does not sign."""
    return NotSupported(
        f"{session.identity.label} signs messages of at most {SHORT} octets with Ed25519",
        hint="sign with a P-256 or P-384 key of it",
    )


def _signed_itself(session: CardSession, key: KeyFacts) -> bool:
    try:
        der = facts.certificate(session, key.slot)
        certificate = x509.load_der_x509_certificate(der or b"")
    except ValueError:
        return False
    signed = certificate.tbs_certificate_bytes
    return _verifies(_public(key), certificate.signature, signed) and len(signed) > SHORT


def _answer(session: CardSession, key: KeyFacts) -> bool | None:
    """By a signature, if the key gives it unasked; None if it does not."""
    policies = (key.pin_policy, key.touch_policy)
    if policies != (PinPolicy.NEVER, TouchPolicy.NEVER):
        return None
    request = Tlv(DYNAMIC, Tlv(RESPONSE) + Tlv(CHALLENGE, QUESTION))
    uri = session.identity.uri.key(slot=slots.name(key.slot))
    try:
        answer = session.send(AUTHENTICATE, slots.CODES[Algorithm.ED25519], key.slot, request)
        signature = tlv.unwrap(RESPONSE, tlv.unwrap(DYNAMIC, answer))
    except (ApduError, ValueError):
        session.options.recorder.record(uri, Operation.SIGN, NotSupported.__name__)
        return False
    session.options.recorder.record(uri, Operation.SIGN, "ok")
    return _verifies(_public(key), signature, QUESTION)


def _public(key: KeyFacts) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(key.public.octets)


def _verifies(public: ed25519.Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True
