"""Public keys between this project's octets and objects of the `cryptography` library.

Its serialization module, which only RSA needs here, is slow to import and so imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519

from meshhw.algorithms import Algorithm, Family, PublicKey
from meshhw.errors import InvalidPublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_Raw = (
    type[ed448.Ed448PublicKey]
    | type[ed25519.Ed25519PublicKey]
    | type[x448.X448PublicKey]
    | type[x25519.X25519PublicKey]
)
_RAW: dict[Algorithm, _Raw] = {
    Algorithm.ED448: ed448.Ed448PublicKey,
    Algorithm.ED25519: ed25519.Ed25519PublicKey,
    Algorithm.X448: x448.X448PublicKey,
    Algorithm.X25519: x25519.X25519PublicKey,
}
_CURVES: dict[Algorithm, ec.EllipticCurve] = {
    Algorithm.P256: ec.SECP256R1(),
    Algorithm.P384: ec.SECP384R1(),
}


def to_cryptography(public: PublicKey) -> PublicKeyTypes:
    """The library's object for a public key. Raises InvalidPublicKey for a point off its curve."""
    algorithm = public.algorithm
    try:
        if algorithm.family is Family.RSA:
            from cryptography.hazmat.primitives.serialization import load_der_public_key

            return load_der_public_key(public.octets)
        if algorithm.family is Family.WEIERSTRASS:
            return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[algorithm], public.octets)
        octets = public.u if algorithm.family is Family.MONTGOMERY else public.octets
        return _RAW[algorithm].from_public_bytes(octets)
    except ValueError as error:
        raise InvalidPublicKey(f"not a public key of {algorithm}") from error


def from_cryptography(key: PublicKeyTypes) -> PublicKey:
    """This project's form of a library object (X448 with parity octet 0). Raises InvalidPublicKey."""
    if isinstance(key, x448.X448PublicKey):
        return PublicKey(Algorithm.X448, key.public_bytes_raw() + b"\0")
    if isinstance(key, x25519.X25519PublicKey):
        return PublicKey(Algorithm.X25519, key.public_bytes_raw())
    if isinstance(key, ed448.Ed448PublicKey):
        return PublicKey(Algorithm.ED448, key.public_bytes_raw())
    if isinstance(key, ed25519.Ed25519PublicKey):
        return PublicKey(Algorithm.ED25519, key.public_bytes_raw())
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _from_nist(key)
    if isinstance(key, rsa.RSAPublicKey) and f"RSA-{key.key_size}" in tuple(Algorithm):
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        return PublicKey(Algorithm(f"RSA-{key.key_size}"), der)
    raise InvalidPublicKey(f"{type(key).__name__} is not a key of a supported algorithm")


def _from_nist(key: ec.EllipticCurvePublicKey) -> PublicKey:
    for algorithm, curve in _CURVES.items():
        if curve.name == key.curve.name:
            numbers, size = key.public_numbers(), algorithm.field_length
            octets = b"\4" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")
            return PublicKey(algorithm, octets)
    raise InvalidPublicKey(f"curve {key.curve.name} is not supported")
