"""Arithmetic on secret scalars, modulo the order of a curve's group.

For the order of the 25519 curves libsodium computes, in constant time. For the others Python's integers do,
whose running time depends on their operands; there every secret factor is split by a fresh random number
before it is multiplied, so that what a product's timing tells is about random numbers. docs/security.md
says what remains.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from nacl import bindings

from meshhw.curves.edwards import L25519
from meshhw.curves.point import Curve
from meshhw.errors import UsageError


class ScalarField:
    """The integers modulo a prime group order. Values are ints in [0, order)."""

    def __init__(self, order: int) -> None:
        self.order = order

    def random(self) -> int:
        """A uniform non-zero scalar."""
        return 1 + secrets.randbelow(self.order - 1)

    def add(self, a: int, b: int) -> int:
        """a + b."""
        return (a + b) % self.order

    def subtract(self, a: int, b: int) -> int:
        """a - b."""
        return (a - b) % self.order

    def multiply(self, a: int, b: int) -> int:
        """a * b, each split into two random summands first."""
        a1, b1 = secrets.randbelow(self.order), secrets.randbelow(self.order)
        a2, b2 = (a - a1) % self.order, (b - b1) % self.order
        return (a1 * b1 + a1 * b2 + a2 * b1 + a2 * b2) % self.order

    def invert(self, a: int) -> int:
        """1 / a, computed on a random multiple of a. Raises UsageError for zero."""
        if a % self.order == 0:
            raise UsageError("zero has no inverse")
        blind = self.random()
        return self.multiply(blind, pow(self.multiply(a, blind), -1, self.order))

    def reduce(self, octets: bytes) -> int:
        """A little-endian number of any length (at most 114 octets in use), modulo the order."""
        return int.from_bytes(octets, "little") % self.order

    def sum(self, values: Iterable[int]) -> int:
        """The sum of values."""
        total = 0
        for value in values:
            total = self.add(total, value)
        return total

    def evaluate(self, coefficients: Sequence[int], x: int) -> int:
        """The polynomial with these secret coefficients (lowest first) at the public x, by Horner's rule."""
        result = 0
        for coefficient in reversed(coefficients):
            result = self.add(self.multiply(result, x), coefficient)
        return result


class SodiumScalarField(ScalarField):
    """The scalars of the 25519 curves, computed by libsodium."""

    def add(self, a: int, b: int) -> int:
        """a + b."""
        return _int(bindings.crypto_core_ed25519_scalar_add(_octets(a), _octets(b)))

    def subtract(self, a: int, b: int) -> int:
        """a - b."""
        return _int(bindings.crypto_core_ed25519_scalar_sub(_octets(a), _octets(b)))

    def multiply(self, a: int, b: int) -> int:
        """a * b."""
        return _int(bindings.crypto_core_ed25519_scalar_mul(_octets(a), _octets(b)))

    def invert(self, a: int) -> int:
        """1 / a. Raises UsageError for zero."""
        if a % self.order == 0:
            raise UsageError("zero has no inverse")
        return _int(bindings.crypto_core_ed25519_scalar_invert(_octets(a)))

    def reduce(self, octets: bytes) -> int:
        """A little-endian number of at most 64 octets, modulo the order."""
        return _int(bindings.crypto_core_ed25519_scalar_reduce(octets.ljust(64, b"\0")))


def field_of(curve: Curve) -> ScalarField:
    """The scalar field of a curve's prime-order group."""
    return SODIUM if curve.order == L25519 else ScalarField(curve.order)


def token_scalar(curve: Curve, scalar: int) -> bytes:
    """The octets to load into a token so that it works with scalar, or on a clamping token with scalar or
    -scalar.

    On X25519 and X448 this is the number below h*L that is +-scalar modulo L, divisible by h, and left as
    it is by RFC 7748's clamping; the token's answer, a u-coordinate, is the same for both signs.
    Little-endian there, SEC 1 big-endian on the NIST curves. Raises UsageError for zero, and in about one
    of 2^127 cases.
    """
    if scalar % curve.order == 0:
        raise UsageError("zero is no private key")
    if curve.cofactor == 1:
        return (scalar % curve.order).to_bytes(curve.size, "big")
    return clamp_fitting(curve, scalar).to_bytes(curve.size, "little")


def clamp_fitting(curve: Curve, scalar: int) -> int:
    """The number k(scalar) or k(-scalar) that clamping does not change (X25519, X448)."""
    h = curve.cofactor
    k = h * field_of(curve).multiply(scalar % curve.order, pow(h, -1, curve.order))
    top = 1 << (curve.p.bit_length() - 1)
    fitting = k if k >= top else h * curve.order - k
    if not top <= fitting < 2 * top:
        raise UsageError("no clamped number stands for this scalar", hint="draw another one")
    return fitting


def clamp(curve: Curve, octets: bytes) -> int:
    """The integer that RFC 7748 makes of 32 or 56 private octets (section 5)."""
    number = bytearray(octets)
    number[0] &= 0xF8 if curve.cofactor == 8 else 0xFC
    number[-1] = (number[-1] & 0x7F) | 0x40 if curve.cofactor == 8 else number[-1] | 0x80
    return int.from_bytes(number, "little")


def _octets(value: int) -> bytes:
    return (value % L25519).to_bytes(32, "little")


def _int(octets: bytes) -> int:
    return int.from_bytes(octets, "little")


SODIUM = SodiumScalarField(L25519)
