"""Nonces and symmetric keys as UDFs (mesh-udf, section 4; types N and E)."""

from __future__ import annotations

import hashlib
import secrets

from meshhw.errors import InvalidName
from meshhw.udf.digest import compression_level
from meshhw.udf.form import DEFAULT_BITS, UDF, Kind, present

NONCE_OCTETS = 16
SECRET_OCTETS = 16
_MAX_OCTETS = 64


def nonce(octets: int = NONCE_OCTETS) -> UDF:
    """A fresh random nonce, for instance a message's identifier."""
    return UDF.make(Kind.NONCE, secrets.token_bytes(_length(octets)))


def symmetric_key(octets: int = SECRET_OCTETS) -> UDF:
    """A fresh random symmetric key."""
    return UDF.make(Kind.SYMMETRIC, secrets.token_bytes(_length(octets)))


def symmetric_key_id(key: UDF) -> str:
    """The public name of a symmetric key, as an EARL's publication is catalogued. Raises InvalidName."""
    if key.kind is not Kind.SYMMETRIC:
        raise InvalidName("only a symmetric key (type E) has such a name")
    typed = hashlib.sha512(b"UDFEncryption:" + key.data).digest()
    digest_type = Kind.DIGEST_SHA2.value + compression_level(typed)
    return present(bytes([Kind.SYMMETRIC.value, digest_type]) + typed, DEFAULT_BITS)


def _length(octets: int) -> int:
    if not NONCE_OCTETS <= octets <= _MAX_OCTETS:
        raise InvalidName(f"a random UDF has {NONCE_OCTETS} to {_MAX_OCTETS} octets, not {octets}")
    return octets
