"""The encodings of SSH: strings and integers (RFC 4251 section 5), public keys and signatures.

Public keys are written by `cryptography`; signatures follow RFC 8709 (Ed25519), RFC 5656 (ECDSA) and
RFC 8332 (RSA with SHA-2).
"""

from __future__ import annotations

import base64
import struct

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshhw.algorithms import Algorithm, Family, PublicKey
from meshhw.errors import FormatError, NotSupported
from meshhw.pubkeys import to_cryptography

FLAG_RSA_SHA256 = 2
FLAG_RSA_SHA512 = 4


class Reader:
    """Reads one message from front to back. Raises FormatError where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def octet(self) -> int:
        """One octet as a number."""
        return self._take(1)[0]

    def number(self) -> int:
        """uint32."""
        return int(struct.unpack(">I", self._take(4))[0])

    def string(self) -> bytes:
        """A string with its length in front."""
        return self._take(self.number())

    def end(self) -> None:
        """Raises FormatError when octets are left."""
        if self._at != len(self._data):
            raise FormatError("an SSH message is longer than its content", position=self._at)

    def _take(self, length: int) -> bytes:
        piece = self._data[self._at : self._at + length]
        if len(piece) != length:
            raise FormatError("an SSH message ends too early", position=len(self._data))
        self._at += length
        return piece


def string(data: bytes) -> bytes:
    """`data` with its length in front."""
    return struct.pack(">I", len(data)) + data


def mpint(number: int) -> bytes:
    """A non-negative integer: big-endian, with a zero octet in front where the top bit is set."""
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


def authorized_key(public: PublicKey, comment: str) -> str:
    """The line for `authorized_keys` and for git's `user.signingkey`. Raises NotSupported for X and Ed448."""
    if public.algorithm.family is Family.MONTGOMERY or public.algorithm is Algorithm.ED448:
        raise NotSupported(
            f"SSH knows no {public.algorithm} keys", hint="use Ed25519, P-256, P-384 or an RSA key"
        )
    line = to_cryptography(public).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{line} {comment}".rstrip()


def public_blob(public: PublicKey) -> bytes:
    """The key as the agent protocol carries it."""
    return base64.b64decode(authorized_key(public, "").split()[1])


def signature_name(public: PublicKey, flags: int) -> str:
    """The signature algorithm that a request means. Raises NotSupported for RSA with SHA-1."""
    if public.algorithm.family is not Family.RSA:
        return authorized_key(public, "").split()[0]
    if flags & FLAG_RSA_SHA512:
        return "rsa-sha2-512"
    if flags & FLAG_RSA_SHA256:
        return "rsa-sha2-256"
    raise NotSupported("RSA signatures with SHA-1 are not made")


def signature_blob(public: PublicKey, name: str, signature: bytes) -> bytes:
    """A signature in this project's form as SSH carries it."""
    if public.algorithm.family is Family.WEIERSTRASS:
        half = len(signature) // 2
        r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        signature = mpint(r) + mpint(s)
    return string(name.encode()) + string(signature)
