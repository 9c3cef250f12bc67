"""What the virtual card remembers: lasting state (keys, objects, PINs) and the state of one session."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from meshhw.lab.piv.keys import SlotKey
from meshhw.lab.piv.personality import Personality

DEFAULT_PIN = b"123456\xff\xff"
DEFAULT_PUK = b"12345678"
DEFAULT_MANAGEMENT_KEY = bytes.fromhex("010203040506070801020304050607080102030405060708")
CHUID_OBJECT = 0x5FC102
MEMORY = 51200
"""Octets for all objects together."""
LONGEST_OBJECT = 3052


@dataclass(slots=True)
class Reference:
    """A PIN or PUK with its counter (SP 800-73-4 part 2, 3.2.1)."""

    default: bytes = field(repr=False)
    value: bytes = field(repr=False)
    tries: int = 3
    left: int = 3

    @classmethod
    def fresh(cls, default: bytes, tries: int = 3) -> Reference:
        return cls(default, default, tries, tries)


@dataclass(slots=True)
class Lasting:
    """What survives power-off."""

    personality: Personality
    serial: int
    pin: Reference = field(default_factory=lambda: Reference.fresh(DEFAULT_PIN))
    puk: Reference = field(default_factory=lambda: Reference.fresh(DEFAULT_PUK))
    management_key: bytes = field(default=DEFAULT_MANAGEMENT_KEY, repr=False)
    management_algorithm: int = 0
    management_touch: int = 1
    keys: dict[int, SlotKey] = field(default_factory=dict, repr=False)
    objects: dict[int, bytes] = field(default_factory=dict, repr=False)
    allotted: dict[int, int] = field(default_factory=dict)
    """The room of each object on a card that gives it once."""
    capacity: int = MEMORY

    def __post_init__(self) -> None:
        self.management_algorithm = self.personality.management_default
        self.pin = Reference.fresh(DEFAULT_PIN, self.personality.ways.pin_tries)
        if self.personality.chuid:
            self.objects[CHUID_OBJECT] = chuid(secrets.token_bytes(16))

    def erase(self) -> None:
        """As the reset instruction leaves it; the attestation key and its certificate stay."""
        kept = {slot: key for slot, key in self.keys.items() if slot == ATTESTATION_SLOT}
        certificate = self.objects.get(ATTESTATION_OBJECT)
        self.pin = Reference.fresh(DEFAULT_PIN, self.personality.ways.pin_tries)
        self.puk = Reference.fresh(DEFAULT_PUK)
        self.management_key = DEFAULT_MANAGEMENT_KEY
        self.management_algorithm, self.management_touch = self.personality.management_default, 1
        self.keys, self.objects = kept, {}
        if certificate is not None:
            self.objects[ATTESTATION_OBJECT] = certificate

    @property
    def used(self) -> int:
        """Octets that the objects take."""
        return sum(map(len, self.objects.values()))


ATTESTATION_SLOT = 0xF9
ATTESTATION_OBJECT = 0x5FFF01


@dataclass(slots=True)
class Session:
    """What a reset or another SELECT forgets."""

    pin_verified: bool = False
    pin_fresh: bool = False
    """The PIN was verified by the very command before this one (policy `always`)."""
    managed: bool = False
    witness: bytes | None = field(default=None, repr=False)
    challenge: bytes | None = field(default=None, repr=False)


def chuid(guid: bytes) -> bytes:
    """A card holder's unique identifier (SP 800-73-4 part 1, 3.1.2) of that GUID, unsigned."""
    fasc_n = bytes.fromhex("d4e739da739ced39ce739d836858210842108421c84210c3eb")
    return b"".join(
        (
            b"\x30\x19" + fasc_n,
            b"\x34\x10" + guid,
            b"\x35\x08" + b"20391231",
            b"\x3e\x00",
            b"\xfe\x00",
        )
    )
