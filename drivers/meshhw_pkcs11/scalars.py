"""A private key as PKCS#11 objects hold it: CKA_VALUE or RSA numbers, and its public half."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
from pkcs11 import Attribute

from meshhw.algorithms import Algorithm, Family, PrivateKey, SecretForm
from meshhw.errors import FormatError, NotSupported
from meshhw.pubkeys import from_cryptography
from meshhw_pkcs11.keytypes import encode_point

_SEED_LENGTH = {
    Algorithm.ED25519: 32,
    Algorithm.ED448: 57,
    Algorithm.X25519: 32,
    Algorithm.X448: 56,
    Algorithm.P256: 32,
    Algorithm.P384: 48,
}


@dataclass(frozen=True, slots=True)
class Loadable:
    """The attributes of the private and of the public object that are the key itself."""

    private: dict[Attribute, Any] = field(repr=False)
    public: dict[Attribute, Any]


def loadable(private: PrivateKey) -> Loadable:
    """The objects' attributes for a private key.

    Raises NotSupported for a form that no token takes, FormatError for octets that are no such key.
    """
    algorithm = private.algorithm
    if algorithm.family is Family.RSA:
        return _rsa(private)
    octets = _value(private)
    try:
        public = from_cryptography(_public(algorithm, octets))
    except ValueError as error:
        raise FormatError(f"these octets are no private key of {algorithm}") from error
    return Loadable({Attribute.VALUE: octets}, {Attribute.EC_POINT: encode_point(public)})


def _value(private: PrivateKey) -> bytes:
    algorithm, octets = private.algorithm, private.octets
    if private.form is SecretForm.SCALAR:
        return _scalar_value(algorithm, octets)
    if len(octets) != _SEED_LENGTH[algorithm]:
        raise NotSupported(
            f"a token takes {algorithm} private keys of {_SEED_LENGTH[algorithm]} octets, not {len(octets)}",
            hint="seal it instead, or generate the key on the token",
        )
    return octets


def _scalar_value(algorithm: Algorithm, octets: bytes) -> bytes:
    """X25519 and X448 scalars in the shape that clamping leaves alone; NIST scalars big-endian."""
    from meshhw.curves.named import curve_named
    from meshhw.curves.scalar import token_scalar

    if algorithm.family is Family.EDWARDS:
        raise NotSupported(
            f"tokens derive an {algorithm} scalar from its seed themselves and take no scalar",
            hint="keep a composed signature key sealed",
        )
    return token_scalar(curve_named(algorithm.value), int.from_bytes(octets, "little"))


def _public(algorithm: Algorithm, octets: bytes) -> Any:
    if algorithm.family is Family.WEIERSTRASS:
        curve = ec.SECP256R1() if algorithm is Algorithm.P256 else ec.SECP384R1()
        return ec.derive_private_key(int.from_bytes(octets), curve).public_key()
    kinds: dict[Algorithm, Any] = {
        Algorithm.ED25519: ed25519.Ed25519PrivateKey,
        Algorithm.ED448: ed448.Ed448PrivateKey,
        Algorithm.X25519: x25519.X25519PrivateKey,
        Algorithm.X448: x448.X448PrivateKey,
    }
    return kinds[algorithm].from_private_bytes(octets).public_key()


def _rsa(private: PrivateKey) -> Loadable:
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        key = load_der_private_key(private.octets, None)
    except (ValueError, TypeError) as error:
        raise FormatError("these octets are no RSA private key") from error
    if not isinstance(key, rsa.RSAPrivateKey) or f"RSA-{key.key_size}" != private.algorithm:
        raise FormatError(f"these octets are no private key of {private.algorithm}")
    numbers = key.private_numbers()
    public = {
        Attribute.MODULUS: _integer(numbers.public_numbers.n),
        Attribute.PUBLIC_EXPONENT: _integer(numbers.public_numbers.e),
    }
    secret = {
        Attribute.PRIVATE_EXPONENT: _integer(numbers.d),
        Attribute.PRIME_1: _integer(numbers.p),
        Attribute.PRIME_2: _integer(numbers.q),
        Attribute.EXPONENT_1: _integer(numbers.dmp1),
        Attribute.EXPONENT_2: _integer(numbers.dmq1),
        Attribute.COEFFICIENT: _integer(numbers.iqmp),
    }
    return Loadable(public | secret, public)


def _integer(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)
