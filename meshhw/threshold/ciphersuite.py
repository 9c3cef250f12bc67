"""The hash functions and encodings of FROST's ciphersuites (RFC 9591, sections 6.1, 6.3 and 6.4)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from meshhw.curves.eddsa import DOM4
from meshhw.curves.edwards import ED448, ED25519
from meshhw.curves.point import Curve, Point
from meshhw.curves.scalar import field_of
from meshhw.curves.weierstrass import P256
from meshhw.errors import FormatError, NotSupported


class Ciphersuite(ABC):
    """A group with the five hash functions that FROST needs; their names are the RFC's."""

    name: str
    curve: Curve
    context: bytes
    scalar_octets: int

    @abstractmethod
    def hash(self, octets: bytes) -> bytes:
        """The suite's hash."""

    @abstractmethod
    def to_scalar(self, label: bytes, message: bytes) -> int:
        """H1 (label rho), H2 (label chal) and H3 (label nonce)."""

    def binding_factor(self, message: bytes) -> int:
        """H1."""
        return self.to_scalar(b"rho", message)

    def challenge(self, message: bytes) -> int:
        """H2; on the Edwards curves that of RFC 8032, so that the signature is an ordinary one."""
        return self.to_scalar(b"chal", message)

    def nonce(self, message: bytes) -> int:
        """H3."""
        return self.to_scalar(b"nonce", message)

    def message_hash(self, message: bytes) -> bytes:
        """H4."""
        return self.hash(self.context + b"msg" + message)

    def commitment_hash(self, message: bytes) -> bytes:
        """H5."""
        return self.hash(self.context + b"com" + message)

    def encode_scalar(self, scalar: int) -> bytes:
        """Little-endian on the Edwards curves, big-endian on P-256."""
        return scalar.to_bytes(self.scalar_octets, "little")

    def decode_scalar(self, octets: bytes) -> int:
        """Raises FormatError for a wrong length or a value that is not below the order."""
        scalar = int.from_bytes(octets, "little")
        return self._in_range(scalar, octets)

    def encode_point(self, point: Point) -> bytes:
        """RFC 8032, or SEC 1 compressed."""
        return point.encode()

    def _in_range(self, scalar: int, octets: bytes) -> int:
        if len(octets) != self.scalar_octets or scalar >= self.curve.order:
            raise FormatError(f"not a scalar of {self.name}")
        return scalar


class Ed25519Sha512(Ciphersuite):
    """FROST(Ed25519, SHA-512)."""

    name = "Ed25519"
    curve = ED25519
    context = b"FROST-ED25519-SHA512-v1"
    scalar_octets = 32

    def hash(self, octets: bytes) -> bytes:
        """SHA-512."""
        return hashlib.sha512(octets).digest()

    def to_scalar(self, label: bytes, message: bytes) -> int:
        """Reduced from 64 octets; the challenge has no prefix."""
        prefix = b"" if label == b"chal" else self.context + label
        return field_of(self.curve).reduce(self.hash(prefix + message))


class Ed448Shake256(Ciphersuite):
    """FROST(Ed448, SHAKE256)."""

    name = "Ed448"
    curve = ED448
    context = b"FROST-ED448-SHAKE256-v1"
    scalar_octets = 57

    def hash(self, octets: bytes) -> bytes:
        """SHAKE256, 114 octets."""
        return hashlib.shake_256(octets).digest(114)

    def to_scalar(self, label: bytes, message: bytes) -> int:
        """Reduced from 114 octets; the challenge's prefix is dom4."""
        prefix = DOM4 if label == b"chal" else self.context + label
        return field_of(self.curve).reduce(self.hash(prefix + message))


class P256Sha256(Ciphersuite):
    """FROST(P-256, SHA-256). Its signatures are Schnorr's: no ECDSA verifier takes them."""

    name = "P-256"
    curve = P256
    context = b"FROST-P256-SHA256-v1"
    scalar_octets = 32

    def hash(self, octets: bytes) -> bytes:
        """SHA-256."""
        return hashlib.sha256(octets).digest()

    def to_scalar(self, label: bytes, message: bytes) -> int:
        """hash_to_field with L = 48 (RFC 9380, section 5.2)."""
        uniform = _expand_message(message, self.context + label, 48)
        return int.from_bytes(uniform, "big") % self.curve.order

    def encode_scalar(self, scalar: int) -> bytes:
        """Big-endian."""
        return scalar.to_bytes(self.scalar_octets, "big")

    def decode_scalar(self, octets: bytes) -> int:
        """Big-endian. Raises FormatError."""
        return self._in_range(int.from_bytes(octets, "big"), octets)

    def encode_point(self, point: Point) -> bytes:
        """SEC 1 compressed."""
        return P256.encode_compressed(point)


def _expand_message(message: bytes, tag: bytes, length: int) -> bytes:
    """expand_message_xmd with SHA-256 (RFC 9380, section 5.3.1), for at most 255 blocks."""
    tag_prime = tag + bytes([len(tag)])
    first = hashlib.sha256(bytes(64) + message + length.to_bytes(2, "big") + b"\0" + tag_prime).digest()
    block = hashlib.sha256(first + b"\x01" + tag_prime).digest()
    output = block
    for counter in range(2, -(-length // 32) + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha256(mixed + bytes([counter]) + tag_prime).digest()
        output += block
    return output[:length]


SUITES: dict[str, Ciphersuite] = {
    suite.name: suite for suite in (Ed25519Sha512(), Ed448Shake256(), P256Sha256())
}


def suite_of(algorithm: str) -> Ciphersuite:
    """The ciphersuite of a signature algorithm's group. Raises NotSupported."""
    if algorithm not in SUITES:
        raise NotSupported(f"no threshold signatures are made with {algorithm}", hint="Ed448 or Ed25519")
    return SUITES[algorithm]
