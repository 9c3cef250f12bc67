"""What FIDO2 authenticators state, read and verified with `cryptography` and struct alone.

Authenticator data is WebAuthn section 6.1; public keys are COSE_Key maps (RFC 9053).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import FormatError, InvalidPublicKey, SignatureInvalid
from meshhw.keystore import cbor
from meshhw.pubkeys import to_cryptography

USER_PRESENT, USER_VERIFIED, ATTESTED, EXTENDED = 0x01, 0x04, 0x40, 0x80
ES256, EDDSA, ES384 = -7, -8, -35
_HEAD = struct.Struct(">32sBI")
_CREDENTIAL = struct.Struct(">16sH")
_KEY_TYPE, _ALGORITHM, _CURVE, _X, _Y = 1, 3, -1, -2, -3
_CURVES: dict[object, Algorithm] = {(2, 1): Algorithm.P256, (2, 2): Algorithm.P384, (1, 6): Algorithm.ED25519}


@dataclass(frozen=True, slots=True)
class AuthenticatorData:
    """Parsed authenticator data. `aaguid`, `credential` and `public` are of attested credential data."""

    rp_id_hash: bytes
    flags: int
    counter: int
    aaguid: bytes = b""
    credential: bytes = b""
    public: PublicKey | None = None
    extensions: dict[Any, Any] = field(default_factory=dict)

    @property
    def present(self) -> bool:
        """Whether the authenticator was touched."""
        return bool(self.flags & USER_PRESENT)

    @property
    def verified(self) -> bool:
        """Whether the person was verified, by PIN or by body."""
        return bool(self.flags & USER_VERIFIED)


def parse_authenticator_data(octets: bytes) -> AuthenticatorData:
    """Raises FormatError."""
    if len(octets) < _HEAD.size:
        raise FormatError("authenticator data is cut short", position=len(octets))
    rp_id_hash, flags, counter = _HEAD.unpack_from(octets)
    at, aaguid, credential, public = _HEAD.size, b"", b"", None
    if flags & ATTESTED:
        aaguid, credential, public, at = _attested(octets, at)
    extensions: Any = {}
    if flags & EXTENDED:
        extensions, at = cbor.decode_first(octets, at)
    if at != len(octets) or not isinstance(extensions, dict):
        raise FormatError("authenticator data does not end where it should", position=at)
    return AuthenticatorData(rp_id_hash, flags, counter, aaguid, credential, public, extensions)


def _attested(octets: bytes, at: int) -> tuple[bytes, bytes, PublicKey, int]:
    if len(octets) < at + _CREDENTIAL.size:
        raise FormatError("attested credential data is cut short", position=len(octets))
    aaguid, length = _CREDENTIAL.unpack_from(octets, at)
    at += _CREDENTIAL.size
    credential = octets[at : at + length]
    key, end = cbor.decode_first(octets, at + length)
    return aaguid, credential, public_from_cose(key), end


def public_from_cose(key: object) -> PublicKey:
    """The public key of a COSE_Key. Raises FormatError for other kinds, InvalidPublicKey."""
    if not isinstance(key, dict):
        raise FormatError("a COSE key is a map")
    algorithm = _CURVES.get((key.get(_KEY_TYPE), key.get(_CURVE)))
    x, y = key.get(_X), key.get(_Y)
    if algorithm is None or not isinstance(x, bytes):
        raise FormatError("a COSE key of a kind that is not supported")
    if algorithm is Algorithm.ED25519:
        return PublicKey(algorithm, x)
    if not isinstance(y, bytes) or len(x) != algorithm.field_length:
        raise FormatError("a COSE key without a whole point")
    return PublicKey(algorithm, b"\x04" + x + y)


def cose_algorithm(key: Algorithm) -> int:
    """The COSE algorithm that credentials of that algorithm sign with."""
    return {Algorithm.P256: ES256, Algorithm.ED25519: EDDSA, Algorithm.P384: ES384}[key]


def check_signature(public: PublicKey | PublicKeyTypes, message: bytes, signature: bytes) -> None:
    """Verify a signature as WebAuthn has them (ECDSA in DER). Raises SignatureInvalid."""
    try:
        key = to_cryptography(public) if isinstance(public, PublicKey) else public
        if isinstance(key, ec.EllipticCurvePublicKey):
            hashed = hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
            key.verify(signature, message, ec.ECDSA(hashed))
            return
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
            return
    except (InvalidSignature, InvalidPublicKey) as error:
        raise SignatureInvalid("the authenticator's signature is wrong") from error
    raise SignatureInvalid("the authenticator's signature is of a kind that is not supported")
