"""Fingerprints of public keys as they are really published (mesh-udf, section 5.1; both eras).

The structure that is hashed is not RFC 8410's: for the four Montgomery and Edwards curves it has NULL
parameters and an OCTET STRING inside the BIT STRING. NIST keys use RFC 5480, RSA keys PKCS #1, in the
ordinary way.
"""

from __future__ import annotations

from enum import StrEnum

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.udf.digest import content_digest
from meshhw.udf.form import DEFAULT_BITS, UDF, Kind

_SEQUENCE, _OCTET_STRING, _BIT_STRING, _NULL = 0x30, 0x04, 0x03, b"\x05\x00"
_OIDS = {  # 1.3.101.110 to .113
    Algorithm.X25519: bytes.fromhex("06032b656e"),
    Algorithm.X448: bytes.fromhex("06032b656f"),
    Algorithm.ED25519: bytes.fromhex("06032b6570"),
    Algorithm.ED448: bytes.fromhex("06032b6571"),
}


_NIST = {
    Algorithm.P256: bytes.fromhex("06072a8648ce3d0201 06082a8648ce3d030107"),
    Algorithm.P384: bytes.fromhex("06072a8648ce3d0201 06052b81040022"),
}
"""RFC 5480, section 2.1.1: id-ecPublicKey and the named curve. Written here because the library that would
write it takes longer to import than all else that a fingerprint needs."""


class Era(StrEnum):
    """The content type under which keys are fingerprinted."""

    CURRENT = "PKIXKey"
    """Since November 2020; everything that is written now."""
    X509_KEYINFO = "application/x509-keyinfo"
    """Until July 2020; read only."""


def key_info(public: PublicKey) -> bytes:
    """The DER structure whose digest names the key. Raises InvalidPublicKey for a key that has none."""
    if public.algorithm in _NIST:
        named = _der(_SEQUENCE, _NIST[public.algorithm])
        return _der(_SEQUENCE, named + _der(_BIT_STRING, b"\0" + public.octets))
    oid = _OIDS.get(public.algorithm)
    if oid is None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        from meshhw.pubkeys import to_cryptography

        return to_cryptography(public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm = _der(_SEQUENCE, oid + _NULL)
    return _der(_SEQUENCE, algorithm + _der(_BIT_STRING, b"\0" + _der(_OCTET_STRING, public.octets)))


def fingerprint(public: PublicKey, *, era: Era = Era.CURRENT, bits: int = DEFAULT_BITS) -> str:
    """The UDF of a public key. X25519 is named by its 32 octets, X448 by 57 with the sign."""
    return content_digest(key_info(public), era.value, bits=bits)


def oid_name(public: PublicKey) -> str:
    """The UDF of type O that holds the whole key."""
    return UDF.make(Kind.OID, key_info(public)).text


def _der(tag: int, content: bytes) -> bytes:
    """One DER element of fewer than 128 octets, which is all that these keys need."""
    assert len(content) < 128
    return bytes([tag, len(content)]) + content
