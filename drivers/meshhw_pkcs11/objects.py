"""Private keys on a token: found, described, and matched with their public halves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pkcs11 import Attribute, DecryptMixin, DeriveMixin, KeyType, ObjectClass, PrivateKey, SignMixin
from pkcs11.exceptions import PKCS11Error

from meshhw.algorithms import Algorithm, Family, Operation, PublicKey
from meshhw.errors import InvalidPublicKey, TokenFault
from meshhw_pkcs11.keytypes import algorithm_of, decode_point
from meshhw_pkcs11.search import objects

if TYPE_CHECKING:
    import pkcs11

_PRIVATE = (
    Attribute.KEY_TYPE,
    Attribute.ID,
    Attribute.LABEL,
    Attribute.EC_PARAMS,
    Attribute.MODULUS,
    Attribute.PUBLIC_EXPONENT,
    Attribute.ALWAYS_AUTHENTICATE,
)
_PUBLIC = (Attribute.EC_POINT, Attribute.EC_PARAMS, Attribute.LABEL)


@dataclass(frozen=True, slots=True)
class Described:
    """What a private key object says of itself."""

    algorithm: Algorithm
    id: bytes
    label: str
    key_type: int
    uses: frozenset[Operation]
    always_authenticate: bool
    rsa_public: PublicKey | None = None


def private_keys(session: pkcs11.Session, id: bytes | None = None, label: str | None = None) -> list[Any]:
    """The private key objects, or those of this CKA_ID and CKA_LABEL (neither need be unique)."""
    template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if id is not None:
        template[Attribute.ID] = id
    if label is not None:
        template[Attribute.LABEL] = label
    found = objects(session, template)
    if not all(isinstance(one, PrivateKey) for one in found):
        raise TokenFault("the token does not say what its keys are", hint="try again")
    return found


def describe(key: Any) -> Described | None:
    """The description of a private key object; None for algorithms that this project does not use."""
    said = key.get_attributes(_PRIVATE)
    key_type, params = said[Attribute.KEY_TYPE], said.get(Attribute.EC_PARAMS, b"")
    rsa = _rsa_public(said) if key_type == KeyType.RSA else None
    algorithm = rsa.algorithm if rsa else algorithm_of(key_type, params)
    if algorithm is None:
        return None
    return Described(
        algorithm,
        said.get(Attribute.ID, b""),
        said.get(Attribute.LABEL, ""),
        key_type,
        _uses(key, algorithm),
        bool(said.get(Attribute.ALWAYS_AUTHENTICATE)),
        rsa,
    )


def public_objects(session: pkcs11.Session, key: Described) -> list[Any]:
    """The public key objects of a private key's CKA_ID and type."""
    template = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: key.key_type,
        Attribute.ID: key.id,
    }
    return objects(session, template)


def public_candidates(session: pkcs11.Session, key: Described) -> list[PublicKey]:
    """The public keys that may belong to a private key: same CKA_ID and curve, those of its label first."""
    if key.rsa_public is not None:
        return [key.rsa_public]
    said = [found.get_attributes(_PUBLIC) for found in public_objects(session, key)]
    fitting = [one for one in said if Attribute.EC_POINT in one and _same_curve(key, one)]
    fitting.sort(key=lambda one: one.get(Attribute.LABEL) != key.label)
    told = [decode_point(key.algorithm, one[Attribute.EC_POINT]) for one in fitting]
    return list(dict.fromkeys(told or _certified(session, key)))


def _certified(session: pkcs11.Session, key: Described) -> Iterator[PublicKey]:
    """The public keys of that algorithm in certificates under a private key's CKA_ID: a token that was filled
    by other programs may have nothing else."""
    from cryptography.x509 import load_der_x509_certificate

    from meshhw.pubkeys import from_cryptography

    if not key.id:
        return
    for found in objects(session, {Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.ID: key.id}):
        try:
            public = from_cryptography(load_der_x509_certificate(found[Attribute.VALUE]).public_key())
        except (PKCS11Error, ValueError, InvalidPublicKey):
            continue  # no certificate of X.509, or one for a key that this project does not use
        if public.algorithm is key.algorithm:
            yield public


def _same_curve(key: Described, public: dict[Any, Any]) -> bool:
    """SoftHSM writes the curve of one pair by its name in one half and by its identifier in the other."""
    return algorithm_of(key.key_type, public.get(Attribute.EC_PARAMS, b"")) is key.algorithm


def _uses(key: Any, algorithm: Algorithm) -> frozenset[Operation]:
    """What the key's own flags allow and its algorithm can."""
    allowed = set()
    if isinstance(key, SignMixin) and algorithm.signs:
        allowed.add(Operation.SIGN)
    if isinstance(key, DeriveMixin) and algorithm.agrees:
        allowed.add(Operation.AGREE)
    if isinstance(key, DecryptMixin) and algorithm.family is Family.RSA:
        allowed.add(Operation.DECRYPT)
    return frozenset(allowed)


def _rsa_public(said: dict[Any, Any]) -> PublicKey | None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    from meshhw.pubkeys import from_cryptography

    modulus, exponent = said.get(Attribute.MODULUS, b""), said.get(Attribute.PUBLIC_EXPONENT, b"\1\0\1")
    try:
        numbers = RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus))
        return from_cryptography(numbers.public_key())
    except (ValueError, InvalidPublicKey):
        return None  # a size that this project does not use
