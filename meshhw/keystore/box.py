"""The one container of what is kept encrypted: vault files and sealed secrets, with a readable header.

    "meshhw-box/1" LF  header (JSON, one line) LF
    salt (32)  commitment (32)  ciphertext and tag (16)  checksum (32)

With okm = HKDF-SHA-512(key, salt, "meshhw/box/1", 64) the body is AES-256-GCM under okm[:32] with a nonce of
twelve zero octets (a fresh salt makes every key a new one) and everything before the salt as associated
data; okm[32:] is the commitment, compared before GCM opens, since GCM alone would let one ciphertext open
under two keys. The checksum is the SHA-256 of all before it: it tells damage from a wrong key, and proves
nothing against a person.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw.errors import DecryptionFailed, FormatError, IntegrityError, NewerVersion

MAGIC = b"meshhw-box/"
VERSION = 1
LONGEST = 1 << 20
_LONGEST_HEADER = 1 << 16
_SALT = _COMMITMENT = _CHECKSUM = 32
_TAG = 16
_NONCE = bytes(12)
_DAMAGED = "restore it from a backup"


@dataclass(frozen=True, slots=True)
class Box:
    """A parsed container; nothing in it is authenticated until `open` returns."""

    name: str
    bound: bytes
    header: bytes
    salt: bytes
    commitment: bytes
    ciphertext: bytes

    def fits(self, key: bytes) -> bool:
        """Whether the box was made with this key."""
        return hmac.compare_digest(_derive(key, self.salt)[1], self.commitment)

    def open(self, key: bytes) -> bytes:
        """The body. Raises DecryptionFailed for another key, or a changed header or body."""
        body_key, commitment = _derive(key, self.salt)
        if not hmac.compare_digest(commitment, self.commitment):
            raise DecryptionFailed(f"{self.name} belongs to another key", hint=_DAMAGED)
        try:
            return AESGCM(body_key).decrypt(_NONCE, self.ciphertext, self.bound)
        except InvalidTag as error:
            raise DecryptionFailed(f"{self.name} was changed", hint=_DAMAGED) from error


def pack(key: bytes, header: bytes, body: bytes) -> bytes:
    """The container's octets. `header` is one line without its end."""
    bound = MAGIC + str(VERSION).encode() + b"\n" + header + b"\n"
    salt = secrets.token_bytes(_SALT)
    body_key, commitment = _derive(key, salt)
    boxed = bound + salt + commitment + AESGCM(body_key).encrypt(_NONCE, body, bound)
    return boxed + hashlib.sha256(boxed).digest()


def parse(data: bytes, name: str) -> Box:
    """Read a container; `name` is for messages. Raises IntegrityError, FormatError, NewerVersion."""
    if not data.startswith(MAGIC):
        raise FormatError(f"{name} is no sealed file", position=0)
    boxed, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    if not hmac.compare_digest(hashlib.sha256(boxed).digest(), checksum):
        raise IntegrityError(f"{name} is damaged: its checksum is wrong", hint=_DAMAGED)
    first, _, rest = boxed.partition(b"\n")
    _check_version(first[len(MAGIC) :], name)
    header, newline, _ = rest[: _LONGEST_HEADER + 1].partition(b"\n")
    if not newline or len(rest) - len(header) - 1 < _SALT + _COMMITMENT + _TAG:
        raise FormatError(f"{name} is cut short", position=len(data))
    bound_length = len(first) + 1 + len(header) + 1
    sealed = boxed[bound_length:]
    return Box(
        name,
        bound=boxed[:bound_length],
        header=header,
        salt=sealed[:_SALT],
        commitment=sealed[_SALT : _SALT + _COMMITMENT],
        ciphertext=sealed[_SALT + _COMMITMENT :],
    )


def _check_version(text: bytes, name: str) -> None:
    if not text.isdigit() or len(text) > 4:
        raise FormatError(f"{name} names no version", position=len(MAGIC))
    if int(text) > VERSION:
        raise NewerVersion(f"{name} has version {int(text)}; this program knows {VERSION}")
    if int(text) != VERSION:
        raise FormatError(f"{name} has version {int(text)}, which never was", position=len(MAGIC))


def _derive(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    okm = HKDF(SHA512(), 32 + _COMMITMENT, salt=salt, info=b"meshhw/box/1").derive(key)
    return okm[:32], okm[32:]
