"""How PKCS#11 writes keys down: key types, curve parameters and points, in each convention that is in use.

X25519 and X448 keys are CKK_EC_MONTGOMERY by the standard (v3.0, section 2.3.9); SoftHSM has them under
CKK_EC_EDWARDS, NSS under CKK_EC. Ed25519's curve is an object identifier or a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from pkcs11 import KeyType, Mechanism
from pkcs11.attributes import AttributeMapper, handle_ulong
from pkcs11.constants import Attribute

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import InvalidPublicKey

_Enum = TypeVar("_Enum", bound=IntEnum)


def _member(enum: type[_Enum], value: int, name: str) -> _Enum:
    """A member that the standard has and python-pkcs11's enumeration may lack."""
    try:
        return enum(value)
    except ValueError:
        member = int.__new__(enum, value)
        member._name_, member._value_ = name, value
        return member


EC_MONTGOMERY = _member(KeyType, 0x41, "EC_MONTGOMERY")
EC_MONTGOMERY_KEY_PAIR_GEN = _member(Mechanism, 0x1056, "EC_MONTGOMERY_KEY_PAIR_GEN")


@dataclass(frozen=True, slots=True)
class KeyForm:
    """One way of writing a curve's keys: key type, CKA_EC_PARAMS (DER), and how such a key is generated."""

    algorithm: Algorithm
    key_type: KeyType
    params: bytes
    generator: Mechanism


def _oid(text: str) -> bytes:
    return bytes((6, len(text) // 2)) + bytes.fromhex(text)


def _name(text: str) -> bytes:
    return bytes((0x13, len(text))) + text.encode()


_NIST = (KeyType.EC, Mechanism.EC_KEY_PAIR_GEN)
_EDWARDS = (KeyType.EC_EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN)
_MONTGOMERY = (EC_MONTGOMERY, EC_MONTGOMERY_KEY_PAIR_GEN)
_GNU_CURVE25519 = _oid("2b06010401da470f01")  # 1.3.6.1.4.1.11591.15.1

_SPELLINGS: tuple[tuple[Algorithm, tuple[KeyType, Mechanism], tuple[bytes, ...]], ...] = (
    (Algorithm.P256, _NIST, (_oid("2a8648ce3d030107"), _name("secp256r1"))),
    (Algorithm.P384, _NIST, (_oid("2b81040022"), _name("secp384r1"))),
    (Algorithm.ED25519, _EDWARDS, (_oid("2b6570"), _name("edwards25519"), _GNU_CURVE25519)),
    (Algorithm.ED448, _EDWARDS, (_oid("2b6571"), _name("edwards448"))),
    (Algorithm.X25519, _MONTGOMERY, (_oid("2b656e"), _name("curve25519"))),
    (Algorithm.X448, _MONTGOMERY, (_oid("2b656f"), _name("curve448"))),
    (Algorithm.X25519, _EDWARDS, (_oid("2b656e"), _name("curve25519"))),
    (Algorithm.X448, _EDWARDS, (_oid("2b656f"), _name("curve448"))),
    (Algorithm.X25519, _NIST, (_GNU_CURVE25519, _oid("2b656e"), _name("curve25519"))),
)
FORMS = tuple(
    KeyForm(algorithm, key_type, spelling, generator)
    for algorithm, (key_type, generator), spellings in _SPELLINGS
    for spelling in spellings
)
_BY_ATTRIBUTES = {(int(form.key_type), form.params): form for form in FORMS}


def form_for(algorithm: Algorithm, key_type: KeyType) -> KeyForm:
    """The first spelling of an algorithm under a key type."""
    return next(form for form in FORMS if form.algorithm is algorithm and form.key_type == key_type)


def algorithm_of(key_type: int, params: bytes) -> Algorithm | None:
    """The algorithm of an elliptic key's attributes; None for curves that this project does not use."""
    form = _BY_ATTRIBUTES.get((key_type, params))
    return form.algorithm if form else None


def decode_point(algorithm: Algorithm, point: bytes) -> PublicKey:
    """The public key in CKA_EC_POINT, which is a DER OCTET STRING or, in some modules, the bare octets.

    X448 carries no sign: its public key is the lift with parity 0. Raises InvalidPublicKey.
    """
    length = algorithm.field_length if algorithm.family == "montgomery" else algorithm.public_length or 0
    if len(point) > length and point[0] == 4 and point[1] == length:
        point = point[2:]
    if len(point) != length:
        raise InvalidPublicKey(f"the token's {algorithm} public key has {len(point)} octets")
    return PublicKey(algorithm, point + b"\0" if algorithm is Algorithm.X448 else point)


def encode_point(public: PublicKey) -> bytes:
    """CKA_EC_POINT of a public key, as a DER OCTET STRING."""
    octets = token_octets(public)
    return bytes((4, len(octets))) + octets


def token_octets(public: PublicKey) -> bytes:
    """A public key as tokens take it: u alone on Montgomery curves."""
    return public.u if public.algorithm.family == "montgomery" else public.octets


class TolerantMapper(AttributeMapper):
    """Attributes as python-pkcs11 reads them, but key types beyond its enumeration and labels in any coding
    do not stop it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_handler(Attribute.KEY_TYPE, handle_ulong[0], handle_ulong[1])
        self.register_handler(Attribute.LABEL, str.encode, lambda octets: octets.decode("utf-8", "replace"))
