"""Secrets sealed to a key of the card by ECDH: an ephemeral key, HKDF, AES-256-GCM.

A blob is: "PIV1", slot, algorithm identifier, 8 octets of the SHA-256 of the card's public key, the ephemeral
public key, ciphertext. docs/tokens/piv.md has the derivation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import DecryptionFailed, InvalidPublicKey
from meshhw.pubkeys import from_cryptography, to_cryptography
from meshhw_piv import slots

MAGIC = b"PIV1"
HEADER_LENGTH = len(MAGIC) + 2 + 8
NONCE = bytes(12)
"""One key seals one message, so the nonce may be constant."""


def key_id(public: PublicKey) -> bytes:
    """What a blob calls the card's key."""
    return hashlib.sha256(public.octets).digest()[:8]


def seal(slot: int, public: PublicKey, secret: bytes, purpose: bytes) -> bytes:
    """Seal to a key; the card is not needed. Raises InvalidPublicKey."""
    ephemeral, z = _agreed(public)
    header = MAGIC + bytes([slot, slots.CODES[public.algorithm]]) + key_id(public) + ephemeral.octets
    return header + AESGCM(_derive(z, header, public)).encrypt(NONCE, secret, header + purpose)


def place(blob: bytes) -> tuple[int, bytes]:
    """The slot and the key identifier that a blob names. Raises DecryptionFailed."""
    if len(blob) <= HEADER_LENGTH or not blob.startswith(MAGIC):
        raise DecryptionFailed("this was not sealed by a PIV card")
    return blob[len(MAGIC)], blob[len(MAGIC) + 2 : HEADER_LENGTH]


def unseal(agree: Callable[[PublicKey], bytes], public: PublicKey, blob: bytes, purpose: bytes) -> bytes:
    """The secret, by one agreement of the card. Raises DecryptionFailed."""
    end = HEADER_LENGTH + (public.algorithm.public_length or 0)
    header, sealed = blob[:end], blob[end:]
    try:
        z = agree(PublicKey(public.algorithm, header[HEADER_LENGTH:]))
        return AESGCM(_derive(z, header, public)).decrypt(NONCE, sealed, header + purpose)
    except (InvalidTag, InvalidPublicKey):
        raise DecryptionFailed("the sealed octets were changed, or are for another purpose") from None


def _agreed(public: PublicKey) -> tuple[PublicKey, bytes]:
    peer = to_cryptography(public)
    if isinstance(peer, x25519.X25519PublicKey):
        montgomery = x25519.X25519PrivateKey.generate()
        return from_cryptography(montgomery.public_key()), montgomery.exchange(peer)
    assert isinstance(peer, ec.EllipticCurvePublicKey)
    nist = ec.generate_private_key(peer.curve)
    return from_cryptography(nist.public_key()), nist.exchange(ec.ECDH(), peer)


def _derive(z: bytes, header: bytes, public: PublicKey) -> bytes:
    info = b"meshhw piv seal" + header + public.octets
    return HKDF(SHA256(), 32, None, info).derive(z)


SEALING = frozenset({Algorithm.X25519, Algorithm.P256, Algorithm.P384})
