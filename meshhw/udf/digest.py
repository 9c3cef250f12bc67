"""Digests of content, with their type and compression, and keyed authenticators (mesh-udf, sections 5.1 and
5.2).
"""

from __future__ import annotations

import hashlib
import hmac

from meshhw.udf.form import DEFAULT_BITS, Kind, present

_COMPRESSION_STEPS = (20, 30, 40, 50)
_HASHES = {Kind.DIGEST_SHA2: "sha512", Kind.DIGEST_SHA3: "sha3_512"}


def content_digest(
    data: bytes, content_type: str, *, kind: Kind = Kind.DIGEST_SHA2, bits: int = DEFAULT_BITS
) -> str:
    """The UDF of `data` as content of this type, at a precision that counts the type octet."""
    return present(content_digest_octets(data, content_type, kind=kind), bits)


def content_digest_octets(data: bytes, content_type: str, *, kind: Kind = Kind.DIGEST_SHA2) -> bytes:
    """The 65 octets of a content digest: type and compression, then the whole typed digest."""
    return typed_digest_octets(hashlib.new(_HASHES[kind], data).digest(), content_type, kind=kind)


def typed_digest_octets(digest: bytes, content_type: str, *, kind: Kind = Kind.DIGEST_SHA2) -> bytes:
    """The same from the content's own digest (64 octets), for content that was hashed as a stream."""
    typed = hashlib.new(_HASHES[kind], content_type.encode() + b":" + digest).digest()
    return bytes([kind.value + compression_level(typed)]) + typed


def compression_level(typed: bytes) -> int:
    """How many of 20, 30, 40 and 50 zero bits the typed digest ends in. Work spent there shortens names."""
    number = int.from_bytes(typed, "big")
    zeros = (number & -number).bit_length() - 1 if number else 8 * len(typed)
    return sum(zeros >= step for step in _COMPRESSION_STEPS)


def authenticator(data: bytes, content_type: str, key: str, *, bits: int = DEFAULT_BITS) -> str:
    """The keyed digest of content (type A). The key is used as it is written, dashes included."""
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    pseudorandom = hmac.digest(b"KeyedUDFMaster", key.encode(), "sha512")
    expanded = HKDFExpand(SHA512(), 64, b"KeyedUDFExpand").derive(pseudorandom)
    message = content_type.encode() + b":" + hashlib.sha512(data).digest()
    return mac_name(hmac.digest(expanded, message, "sha512"), bits=bits)


def mac_name(mac: bytes, *, bits: int = DEFAULT_BITS) -> str:
    """A message authentication code presented as a UDF of type A."""
    return present(bytes([Kind.AUTHENTICATOR.value]) + mac, bits)
