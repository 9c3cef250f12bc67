"""Which card the virtual one behaves as.

YubiKeys of firmware 4.3, 5.4 and 5.7; a plain card; imitators of a YubiKey, each with the ways of a kind of
applet that is in use: `imitator` takes short messages alone for Ed25519, `small` signs the beginning of long
ones and has little room, `applet` is one for Java cards, `hollow` answers some questions with nothing; and
three cards that keep to the standard's letter: `odd` in rare ways, `bound` with slots that its issuer keeps
for some algorithms and for one use each, `nameless` with nothing to tell it by.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from meshhw.lab.piv.ways import Ways

RSA3072, RSA1024, RSA2048, RSA4096 = 0x05, 0x06, 0x07, 0x16
P256, P384, ED25519, X25519 = 0x11, 0x14, 0xE0, 0xE1
"""Algorithm identifiers: SP 800-78-4 table 6-2, and those of YubiKey firmware 5.7."""

TDES, AES128, AES192, AES256 = 0x03, 0x08, 0x0A, 0x0C
"""Identifiers of management-key algorithms (SP 800-78-4 table 6-2)."""

MANAGEMENT_KEY_LENGTHS = {TDES: 24, AES128: 16, AES192: 24, AES256: 32}

_CLASSIC = frozenset({RSA1024, RSA2048, P256, P384})
_MODERN = _CLASSIC | {RSA3072, RSA4096, ED25519, X25519}


@dataclass(frozen=True, slots=True)
class Personality:
    """What a card knows. A capability that is off answers 6D00, as an unknown instruction does."""

    name: str
    version: tuple[int, int, int] | None
    """What GET VERSION claims; None where the instruction is unknown."""
    algorithms: frozenset[int]
    management_algorithms: frozenset[int] = frozenset({TDES})
    management_default: int = TDES
    retired_slots: int = 20
    serial: bool = False
    management_applet: bool = True
    otp_applet: bool = True
    metadata: bool = False
    attestation: bool = True
    moves_keys: bool = False
    policies: bool = True
    """The YubiKey's instructions for import, policies, retry counters, management key and reset."""
    missing_reference: int = 0x6A88
    """The status word for a key or datum that is not there."""
    missing_key: int = 0x6A80
    """The status word for using a slot without a key."""
    longest_eddsa: int | None = None
    """Longest message that Ed25519 signs; None where only the buffer limits it."""
    pin_protected: frozenset[int] = frozenset({0x5FC109, 0x5FC103, 0x5FC108, 0x5FC121})
    """Data objects behind the PIN: printed information, fingerprints, face, iris (part 1, table 2)."""
    lists_algorithms: bool = False
    """Whether the property template of SELECT names the algorithms."""
    chuid: bool = False
    """Whether the card leaves its maker with a card holder's unique identifier."""

    ways: Ways = field(default_factory=Ways)
    """In which it differs from other cards that know as much."""


_AES = frozenset({TDES, AES128, AES192, AES256})
_STANDARD_OBJECTS = range(0x5FC101, 0x5FC124)
_BIOMETRIC_ROOM = 512

PERSONALITIES = {
    card.name: card
    for card in (
        Personality("4.3", (4, 3, 5), _CLASSIC),
        Personality("5.4", (5, 4, 3), _CLASSIC, _AES, serial=True, metadata=True),
        Personality(
            "5.7",
            (5, 7, 1),
            _MODERN,
            _AES,
            management_default=AES192,
            serial=True,
            metadata=True,
            moves_keys=True,
        ),
        Personality(
            "plain",
            None,
            frozenset({RSA2048, P256, P384}),
            management_applet=False,
            otp_applet=False,
            attestation=False,
            policies=False,
            missing_key=0x6A88,
            chuid=True,
        ),
        Personality(
            "imitator",
            (5, 7, 4),
            _MODERN - {RSA1024, RSA4096},
            retired_slots=4,
            management_applet=False,
            otp_applet=False,
            attestation=False,
            missing_reference=0x6A86,
            missing_key=0x6A86,
            longest_eddsa=32,
            lists_algorithms=True,
            chuid=True,
            ways=Ways(says_yubikey=True),
        ),
        Personality(
            "applet",
            (5, 4, 0),
            _CLASSIC,
            _AES,
            management_default=AES192,
            serial=True,
            management_applet=False,
            otp_applet=False,
            metadata=True,
            attestation=False,
            missing_reference=0x6A86,
            lists_algorithms=True,
            ways=Ways(
                lists_each=True,
                also_listed=(TDES, AES256),
                tells_policies_of_nothing=True,
                describes_imported=False,
                keeps_policies=True,
                origins=(0, 1),
                wrong_management_key=0x6A80,
                not_locked=0x6982,
                objects=(_STANDARD_OBJECTS, range(0x5FFF00, 0x5FFF16)),
                unknown_object=0x6A81,
                pin_tries=5,
            ),
        ),
        Personality(
            "hollow",
            (6, 6, 6),
            _CLASSIC - {RSA1024} | {RSA3072},
            management_applet=False,
            otp_applet=False,
            metadata=True,
            attestation=False,
            missing_key=0x6985,
            lists_algorithms=True,
            chuid=True,
            ways=Ways(
                also_listed=(TDES, AES256),
                metadata_is_empty=True,
                wrong_management_key=0x6A80,
                wrong_old_pin=0x6300,
                asks_pin_first=True,
                imports=False,
                objects=(_STANDARD_OBJECTS,),
            ),
        ),
        Personality(
            "small",
            (5, 7, 0),
            _MODERN - {RSA1024},
            retired_slots=2,
            serial=True,
            management_applet=False,
            otp_applet=False,
            metadata=True,
            attestation=False,
            missing_key=0x6985,
            pin_protected=frozenset({0x5FC109, 0x5FC103, 0x5FC108}),
            chuid=True,
            ways=Ways(
                not_locked=0x6982,
                signs_beginning=True,
                objects=(range(0x5FC101, 0x5FC10F),),
                rooms={0x5FC109: 245, 0x5FC103: _BIOMETRIC_ROOM, 0x5FC108: _BIOMETRIC_ROOM},
            ),
        ),
        Personality(
            "odd",
            None,
            frozenset({RSA2048, P256, P384}),
            management_applet=False,
            otp_applet=False,
            attestation=False,
            policies=False,
            missing_key=0x6A88,
            chuid=True,
            ways=Ways(
                global_pin=True,
                shortest_pin=4,
                exact_le=True,
                whole_name=True,
                bare_answers=True,
                padded_objects=True,
            ),
        ),
        Personality(
            "bound",
            None,
            frozenset({RSA2048, P256, P384}),
            management_applet=False,
            otp_applet=False,
            attestation=False,
            policies=False,
            missing_key=0x6A86,
            chuid=True,
            ways=Ways(
                pin_tries=6,
                asks_pin_first=True,
                begins_afresh=True,
                objects_grow=False,
                slots_have_roles=True,
                slot_algorithms=dict.fromkeys(range(0x82, 0x96), frozenset({RSA2048}))
                | dict.fromkeys((0x9A, 0x9E), frozenset({RSA2048, P256}))
                | dict.fromkeys((0x9C, 0x9D), frozenset({RSA2048, P256, P384})),
            ),
        ),
        Personality(
            "nameless",
            None,
            frozenset({RSA2048, P256, P384}),
            management_applet=False,
            otp_applet=False,
            attestation=False,
            policies=False,
            missing_key=0x6A88,
        ),
    )
}
"""By the name that tests and `meshhw lab up` use."""
