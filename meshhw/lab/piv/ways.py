"""How a card says what it says: where cards differ that know as much as each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ways:
    """How a card says what it says. The defaults are a YubiKey's."""

    says_yubikey: bool = False
    """Whether its answer to reset is a YubiKey's, though it is none."""
    lists_each: bool = False
    """Whether the property template has an object for each algorithm, instead of one for all."""
    also_listed: tuple[int, ...] = ()
    """Identifiers that are listed beside those of the keys."""
    metadata_is_empty: bool = False
    """Whether GET METADATA succeeds and says nothing."""
    tells_policies_of_nothing: bool = False
    """Whether the metadata of an empty slot are its policies."""
    describes_imported: bool = True
    """Whether the metadata of an imported key can be had; else the application stumbles (6F00)."""
    keeps_policies: bool = False
    """Whether a key that is given no PIN policy takes that of the key before it in its slot."""
    origins: tuple[int, int] = (1, 2)
    """Metadata's codes for a key that was generated, and for one that was imported."""
    attests_bare: bool = False
    """Whether an attestation has its chain alone, and none of the YubiKey's extensions."""
    proves_itself: bool = True
    """Whether it gives a witness, and so proves that it knows the management key, too."""
    wrong_management_key: int = 0x6982
    wrong_old_pin: int | None = None
    """What CHANGE REFERENCE DATA answers to a wrong one; None for the tries that are left."""
    not_locked: int = 0x6985
    """What RESET answers while PIN and PUK have tries left."""
    asks_pin_first: bool = False
    """Whether a use without the PIN is refused before the key is looked for."""
    slot_algorithms: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """The algorithms of slots that take not all of the card's."""
    slots_have_roles: bool = False
    """Whether the curve keys of 9d and of the retired slots only agree, and those of the others only sign."""
    begins_afresh: bool = False
    """Whether the proof of the management key ends when another one is begun."""
    signs_beginning: bool = False
    """Whether Ed25519 signs the first 32 octets of a longer message, and says nothing."""
    imports: bool = True
    objects: tuple[range, ...] | None = None
    """The data objects that it has room for, by name; None for those of its kind."""
    objects_grow: bool = True
    """Whether a value may be longer than the first that its object had."""
    unknown_object: int = 0x6A82
    """What PUT DATA answers to another."""
    rooms: Mapping[int, int] = field(default_factory=dict)
    """The longest value of objects that have less room than others."""
    pin_tries: int = 3
    global_pin: bool = False
    """Whether the PIN is the one of all applications of the card, and says so in the discovery object."""
    shortest_pin: int = 6
    short_alone: bool = False
    """Whether it refuses extended commands (6700)."""
    answers_in_parts: bool = False
    """Whether it cuts the answers to extended commands too."""
    exact_le: bool = False
    """Whether it answers 6Cxx to another expected length than the answer's."""
    whole_name: bool = False
    """Whether SELECT takes nothing but the application's name with its version."""
    bare_answers: bool = False
    """Public keys without their template, signatures as two numbers, agreements as whole points, numbers of
    RSA without the zeros in front."""
    turns_x25519: bool = False
    """Whether the octets of X25519's coordinates are the wrong way round."""
    padded_objects: bool = False
    """Whether values are filled up with octets 00."""
