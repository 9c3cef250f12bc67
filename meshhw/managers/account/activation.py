"""Activation: what an administrator adds to a device's base keys, and what the two add up to.

The administrator knows the device's public base keys and draws a seed; each connected key is
base + activation, computed by the administrator on points and by the device on scalars (schema digest,
section 5; rule R3). ECDSA keys multiply instead (`tweaked`, docs/formats.md).
"""

from __future__ import annotations

from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshhw.algorithms import Algorithm, Family, PublicKey
from meshhw.curves.check import decode_checked, require_prime_order
from meshhw.curves.eddsa import edwards_curve, expand
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.named import curve_named
from meshhw.curves.point import Point
from meshhw.curves.scalar import clamp, field_of
from meshhw.errors import InvalidPublicKey
from meshhw.udf.seed import Seed

_TWEAK_OCTETS = {Algorithm.P256: 48, Algorithm.P384: 72}
_TWEAK_INFO = b"meshhw/tweak/1"


class Use(StrEnum):
    """The keys of a device that are activated, by the operation in their key names."""

    ENCRYPTION = "Encrypt"
    SIGNATURE = "Sign"
    AUTHENTICATION = "Authenticate"


def scalar(seed: Seed, use: Use, algorithm: Algorithm) -> int:
    """The activation's part of one key, modulo the group's order."""
    private = seed.derive(algorithm, f"ActivationDevice{use}")
    curve = curve_named(algorithm)
    if algorithm.family is Family.EDWARDS:
        return expand(edwards_curve(algorithm), private.octets).scalar
    if algorithm.family is Family.MONTGOMERY:
        return field_of(curve).reduce(clamp(curve, private.octets).to_bytes(curve.size, "little"))
    return int.from_bytes(private.octets, "big") % curve.order


def tweak(seed: Seed, base: PublicKey) -> int:
    """The factor of a `tweaked` ECDSA key: never zero, and bound to the base key."""
    curve = curve_named(base.algorithm)
    info = _TWEAK_INFO + base.octets
    material = HKDF(SHA512(), _TWEAK_OCTETS[base.algorithm], salt=None, info=info).derive(seed.data)
    return 1 + int.from_bytes(material, "big") % (curve.order - 1)


def composed_public(base: PublicKey, activation: int) -> PublicKey:
    """base + activation * B. Raises InvalidPublicKey for a bad base key, or a sum that is the identity."""
    return _public(base.algorithm, base_point(base) + base_multiple(curve_named(base.algorithm), activation))


def tweaked_public(base: PublicKey, factor: int) -> PublicKey:
    """factor * base. Raises InvalidPublicKey for a bad base key."""
    return _public(base.algorithm, multiply(base_point(base), factor))


def base_point(base: PublicKey) -> Point:
    """The point of a base key: an X25519 key is lift(u, parity 0), an X448 key carries its parity."""
    return decode_checked(curve_named(base.algorithm), base.octets)


def _public(algorithm: Algorithm, point: Point) -> PublicKey:
    if point.is_identity:
        raise InvalidPublicKey("base and activation cancel each other", hint="connect with a new activation")
    require_prime_order(point)
    return PublicKey(algorithm, point.x_octets() if algorithm is Algorithm.X25519 else point.encode())
