"""RSA paddings outside the card, which only exponentiates (RFC 8017)."""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from meshhw.errors import DecryptionFailed, NotSupported

SALT_LENGTH = 32
_OAEP: dict[str, hashes.HashAlgorithm] = {"oaep-sha1": hashes.SHA1(), "oaep-sha256": hashes.SHA256()}  # noqa: S303


def block_for_pss(message: bytes, length: int) -> bytes:
    """EMSA-PSS-ENCODE with SHA-256 (RFC 8017 section 9.1.1) for a modulus of `length` octets."""
    salt = secrets.token_bytes(SALT_LENGTH)
    digest = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + salt).digest()
    block = (b"\x01" + salt).rjust(length - len(digest) - 1, b"\0")
    masked = bytes(a ^ b for a, b in zip(block, _mask(digest, len(block)), strict=True))
    return bytes([masked[0] & 0x7F]) + masked[1:] + digest + b"\xbc"


def open_oaep(block: bytes, scheme: str) -> bytes:
    """The message in a decrypted block. Raises DecryptionFailed, NotSupported.

    The library's own, timing-safe decoder reads it: the block is encrypted to a throw-away key of the same
    size, which the library then decrypts.
    """
    algorithm = _OAEP.get(scheme)
    if algorithm is None:
        raise NotSupported(f"RSA decryption knows {', '.join(_OAEP)}, not {scheme}")
    key = _throw_away(len(block) * 8)
    numbers = key.public_key().public_numbers()
    again = pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(len(block), "big")
    try:
        return key.decrypt(again, padding.OAEP(padding.MGF1(algorithm), algorithm, None))
    except ValueError:
        raise DecryptionFailed("the ciphertext is not for this key") from None


@lru_cache(maxsize=4)
def _throw_away(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def _mask(seed: bytes, length: int) -> bytes:
    """MGF1 with SHA-256 (RFC 8017 appendix B.2.1)."""
    blocks = range(-(-length // 32))
    return b"".join(hashlib.sha256(seed + count.to_bytes(4, "big")).digest() for count in blocks)[:length]
