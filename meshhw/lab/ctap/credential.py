"""Credentials: a 32-octet seed from which key and hmac-secret come, kept in the card or in the id itself."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

ES256, EDDSA = -7, -8
ALGORITHMS = (ES256, EDDSA)
PROTECT_OPTIONAL, PROTECT_LISTED, PROTECT_REQUIRED = 1, 2, 3
"""credProtect levels (CTAP 2.1 section 12.1): verification is optional, optional when listed, required."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_NONCE = 12


@dataclass(slots=True)
class Credential:
    """One key pair for one relying party."""

    rp_id: str
    algorithm: int
    protect: int
    seed: bytes = field(repr=False)
    identifier: bytes = b""
    user: Mapping[str, Any] | None = None
    """The user entity of a discoverable credential; None for one that lives in its identifier alone."""

    @property
    def rp_id_hash(self) -> bytes:
        """SHA-256 of the relying party's id."""
        return hashlib.sha256(self.rp_id.encode()).digest()

    def cose_key(self) -> dict[int, int | bytes]:
        """The public key (RFC 9053)."""
        key = self._private()
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return {1: 1, 3: EDDSA, -1: 6, -2: key.public_key().public_bytes_raw()}
        numbers = key.public_key().public_numbers()
        return {1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}

    def sign(self, message: bytes) -> bytes:
        """An assertion's signature: DER for ES256."""
        key = self._private()
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(message)
        return key.sign(message, ec.ECDSA(SHA256()))

    def secret(self, salt: bytes, *, verified: bool) -> bytes:
        """hmac-secret's output; there are two, with and without user verification."""
        return hmac.digest(self._part(b"verified" if verified else b"unverified"), salt, "sha256")

    def _private(self) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
        if self.algorithm == EDDSA:
            return ed25519.Ed25519PrivateKey.from_private_bytes(self._part(b"key"))
        number = int.from_bytes(self._part(b"key") + self._part(b"more"), "big")
        return ec.derive_private_key(1 + number % (_P256_ORDER - 1), ec.SECP256R1())

    def _part(self, name: bytes) -> bytes:
        return hmac.digest(self.seed, name, "sha256")


class Wrapper:
    """Puts credentials into identifiers that only this card reads, and takes them out again."""

    def __init__(self) -> None:
        self._cipher = AESGCM(secrets.token_bytes(32))

    def wrap(self, credential: Credential) -> bytes:
        """An identifier of 62 octets."""
        nonce = secrets.token_bytes(_NONCE)
        content = bytes([-credential.algorithm, credential.protect]) + credential.seed
        return nonce + self._cipher.encrypt(nonce, content, credential.rp_id.encode())

    def unwrap(self, identifier: bytes, rp_id: str) -> Credential | None:
        """The credential; None when the identifier is of another card, relying party, or damaged."""
        try:
            content = self._cipher.decrypt(identifier[:_NONCE], identifier[_NONCE:], rp_id.encode())
        except (InvalidTag, ValueError):
            return None
        return Credential(rp_id, -content[0], content[1], content[2:], identifier)
