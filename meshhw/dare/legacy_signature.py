"""The reference's Ed25519 signatures: Ed25519ctx of RFC 8032 with an empty context, which libraries lack."""

from __future__ import annotations

import hashlib

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.edwards import ED25519
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.errors import InvalidPublicKey

_DOM2 = b"SigEd25519 no Ed25519 collisions\x00\x00"  # RFC 8032 section 2: no pre-hash, an empty context


def verifies_with_empty_context(public: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether this is such a signature: S * B = R + H(dom2 || R || A || M) * A."""
    if public.algorithm is not Algorithm.ED25519 or len(signature) != 64:
        return False
    response = int.from_bytes(signature[32:], "little")
    if response >= ED25519.order:
        return False
    hashed = hashlib.sha512(_DOM2 + signature[:32] + public.octets + message).digest()
    try:
        expected = ED25519.decode(signature[:32]) + multiply(
            ED25519.decode(public.octets), int.from_bytes(hashed, "little")
        )
    except InvalidPublicKey:
        return False
    return base_multiple(ED25519, response) == expected
