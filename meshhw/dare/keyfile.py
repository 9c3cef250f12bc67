"""Key files: PEM (RFC 8410, RFC 5915, RFC 8017) or the Mesh's own JSON, told apart by their first octets."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519

from meshhw.algorithms import PrivateKey, PublicKey
from meshhw.dare.keys import SeedKey, private_from_jose, public_from_jose
from meshhw.errors import FormatError
from meshhw.jsonbcd import Limits, decode
from meshhw.pubkeys import from_cryptography, to_cryptography

_LIMITS = Limits(depth=8, token=1 << 16, items=64, total=1 << 17)
_RAW = (ed448.Ed448PrivateKey, ed25519.Ed25519PrivateKey, x448.X448PrivateKey, x25519.X25519PrivateKey)
_HINT = "key files are PEM, or JSON such as " + '{"PublicKeyECDH":{"crv":"X25519","Public":"..."}}'
_PRIVATE_HINT = (
    "key files are plain PEM, or JSON such as " + '{"PrivateKeyECDH":{"crv":"X25519","Private":"..."}}'
)


def read_public(octets: bytes) -> PublicKey:
    """The public key in a file. Raises FormatError, InvalidPublicKey."""
    if octets.lstrip().startswith(b"{"):
        return public_from_jose(decode(octets, _LIMITS, lenient=True))
    try:
        return from_cryptography(serialization.load_pem_public_key(octets))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError("this is not a public key file", hint=_HINT) from error


def is_private(octets: bytes) -> bool:
    """Whether a file that holds no public key calls what it holds a private one."""
    return b"Private" in octets or b"PRIVATE KEY" in octets


def read_private(octets: bytes) -> PrivateKey | SeedKey:
    """The private key, or seed, in a file. Encrypted PEM is refused. Raises FormatError."""
    if octets.lstrip().startswith(b"{"):
        return private_from_jose(decode(octets, _LIMITS, lenient=True))
    try:
        key = serialization.load_pem_private_key(octets, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError(
            "this is not a private key file, or is an encrypted one", hint=_PRIVATE_HINT
        ) from error
    if isinstance(key, _RAW):
        return PrivateKey(from_cryptography(key.public_key()).algorithm, key.private_bytes_raw())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = from_cryptography(key.public_key()).algorithm
        number = key.private_numbers().private_value
        return PrivateKey(algorithm, number.to_bytes(algorithm.field_length, "big"))
    raise FormatError("a private key of this algorithm cannot be used from a file", hint=_PRIVATE_HINT)


def write_public(public: PublicKey) -> bytes:
    """The public key as PEM SubjectPublicKeyInfo, which has no place for an X448 key's sign octet."""
    return to_cryptography(public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
