"""Slots and algorithm identifiers of PIV (SP 800-73-4 part 1, table 4; SP 800-78-4, table 6-2)."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, Operation
from meshhw.errors import InvalidURI, KeyNotFound
from meshhw.keystore.api import KeySpec, PinPolicy, TouchPolicy
from meshhw.keystore.uri import KeyURI

AUTHENTICATION, SIGNATURE, KEY_MANAGEMENT, CARD_AUTHENTICATION = 0x9A, 0x9C, 0x9D, 0x9E
STANDARD = (AUTHENTICATION, SIGNATURE, KEY_MANAGEMENT, CARD_AUTHENTICATION)
RETIRED = tuple(range(0x82, 0x96))
SLOTS = (*STANDARD, *RETIRED)
ATTESTATION = 0xF9
NONE = 0x00
"""No card has it: to ask whether an instruction is known, and to use no key."""

CERTIFICATES = {
    AUTHENTICATION: 0x5FC105,
    SIGNATURE: 0x5FC10A,
    KEY_MANAGEMENT: 0x5FC10B,
    CARD_AUTHENTICATION: 0x5FC101,
    ATTESTATION: 0x5FFF01,
} | {slot: 0x5FC10D + index for index, slot in enumerate(RETIRED)}
"""The data object with each slot's certificate (SP 800-73-4 part 1, table 3)."""

CODES = {
    Algorithm.RSA2048: 0x07,
    Algorithm.RSA3072: 0x05,
    Algorithm.RSA4096: 0x16,
    Algorithm.P256: 0x11,
    Algorithm.P384: 0x14,
    Algorithm.ED25519: 0xE0,
    Algorithm.X25519: 0xE1,
}
ALGORITHMS = {code: algorithm for algorithm, code in CODES.items()}
CLASSIC = (Algorithm.RSA2048, Algorithm.P256, Algorithm.P384)
MODERN = tuple(CODES)

PIN_POLICIES = {1: PinPolicy.NEVER, 2: PinPolicy.ONCE, 3: PinPolicy.ALWAYS}
TOUCH_POLICIES = {1: TouchPolicy.NEVER, 2: TouchPolicy.ALWAYS, 3: TouchPolicy.CACHED}

# Slot 9c asks for the PIN at each signature on every card, so it comes last where any slot will do.
_FOR_SIGNING = (AUTHENTICATION, *RETIRED, SIGNATURE, KEY_MANAGEMENT)
_FOR_AGREEMENT = (KEY_MANAGEMENT, *RETIRED, AUTHENTICATION, SIGNATURE)
_FOR_BOTH = (*RETIRED, AUTHENTICATION, KEY_MANAGEMENT, SIGNATURE)


def usual_pin_policy(slot: int) -> PinPolicy:
    """What a card does that knows no policies (SP 800-73-4 part 1, table 4b)."""
    return {SIGNATURE: PinPolicy.ALWAYS, CARD_AUTHENTICATION: PinPolicy.NEVER}.get(slot, PinPolicy.ONCE)


def name(slot: int) -> str:
    """As URIs and people write it."""
    return f"{slot:02x}"


def parse(text: str) -> int:
    """The slot of that name. Raises InvalidURI."""
    try:
        slot = int(text, 16)
    except ValueError:
        slot = -1
    if slot not in SLOTS or len(text) != 2:
        raise InvalidURI(f"there is no PIV slot {text!r}", hint="slots are 9a, 9c, 9d, 9e and 82 to 95")
    return slot


def of(uri: KeyURI) -> int:
    """The slot that a key's URI names. Raises KeyNotFound when it names none."""
    text = uri.get("slot")
    if text is None:
        raise KeyNotFound(f"{uri} names no slot", hint="append slot=9a, 9c, 9d, 9e or 82 to 95")
    return parse(text)


def last_resort(spec: KeySpec) -> frozenset[int]:
    """Slots that the standard has for another use than the only one of a key (part 1, table 4b)."""
    signs, agrees = spec.wants(Operation.SIGN), spec.wants(Operation.AGREE)
    if not spec.uses or signs == agrees:
        return frozenset()
    return frozenset({KEY_MANAGEMENT} if signs else {AUTHENTICATION, SIGNATURE})


def preferred(spec: KeySpec) -> tuple[int, ...]:
    """Where a new key goes if the caller does not say, best first."""
    signs, agrees = spec.wants(Operation.SIGN), spec.wants(Operation.AGREE)
    if spec.uses and signs != agrees:
        return _FOR_SIGNING if signs else _FOR_AGREEMENT
    return _FOR_BOTH
