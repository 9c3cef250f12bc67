"""PIN/UV auth protocols 1 and 2, the authenticator's side (CTAP 2.1 section 6.5.6 and 6.5.7)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw.lab.ctap import status
from meshhw.lab.ctap.status import CtapRefusal

_BLOCK = 16
_KEY_TYPE, _ALGORITHM, _CURVE, _X, _Y = 1, 3, -1, -2, -3
_EC2, _ECDH_HKDF_256, _P256 = 2, -25, 1


class PinProtocol:
    """Protocol 1: AES-256-CBC with a zero IV, HMAC-SHA-256 cut to 16 octets, one key for both."""

    version = 1

    def __init__(self) -> None:
        self.regenerate()

    def regenerate(self) -> None:
        """A new key-agreement key (at power-up, and after a wrong PIN)."""
        self._private = ec.generate_private_key(ec.SECP256R1())

    def public(self) -> dict[int, int | bytes]:
        """The key-agreement key as a COSE_Key."""
        numbers = self._private.public_key().public_numbers()
        return {
            _KEY_TYPE: _EC2,
            _ALGORITHM: _ECDH_HKDF_256,
            _CURVE: _P256,
            _X: numbers.x.to_bytes(32, "big"),
            _Y: numbers.y.to_bytes(32, "big"),
        }

    def decapsulate(self, peer: Mapping[Any, Any]) -> bytes:
        """The shared secret with the platform's COSE_Key. Refuses a point that is not on the curve."""
        try:
            x, y = int.from_bytes(peer[_X], "big"), int.from_bytes(peer[_Y], "big")
            point = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        except (KeyError, TypeError, ValueError) as error:
            raise CtapRefusal(status.INVALID_PARAMETER) from error
        return self._kdf(self._private.exchange(ec.ECDH(), point))

    def encrypt(self, key: bytes, plaintext: bytes) -> bytes:
        """Whole blocks, without padding."""
        return _cbc(key, bytes(_BLOCK), plaintext, encrypt=True)

    def decrypt(self, key: bytes, ciphertext: bytes) -> bytes:
        """Refuses anything but whole blocks."""
        if not ciphertext or len(ciphertext) % _BLOCK:
            raise CtapRefusal(status.INVALID_PARAMETER)
        return _cbc(key, bytes(_BLOCK), ciphertext, encrypt=False)

    def verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the MAC is right."""
        return hmac.compare_digest(self._mac(key, message), signature)

    def _mac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, "sha256")[:16]

    def _kdf(self, shared: bytes) -> bytes:
        return hashlib.sha256(shared).digest()


class PinProtocol2(PinProtocol):
    """Protocol 2: random IVs, whole HMACs, two keys by HKDF. A bare token (32 octets) is its own HMAC key."""

    version = 2

    def encrypt(self, key: bytes, plaintext: bytes) -> bytes:
        iv = secrets.token_bytes(_BLOCK)
        return iv + _cbc(key[32:], iv, plaintext, encrypt=True)

    def decrypt(self, key: bytes, ciphertext: bytes) -> bytes:
        if len(ciphertext) < 2 * _BLOCK or len(ciphertext) % _BLOCK:
            raise CtapRefusal(status.INVALID_PARAMETER)
        return _cbc(key[32:], ciphertext[:_BLOCK], ciphertext[_BLOCK:], encrypt=False)

    def _mac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key[:32], message, "sha256")

    def _kdf(self, shared: bytes) -> bytes:
        return b"".join(
            HKDF(SHA256(), 32, salt=bytes(32), info=info).derive(shared)
            for info in (b"CTAP2 HMAC key", b"CTAP2 AES key")
        )


def _cbc(key: bytes, iv: bytes, data: bytes, *, encrypt: bool) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CBC(iv))
    worker = cipher.encryptor() if encrypt else cipher.decryptor()
    return worker.update(data) + worker.finalize()
