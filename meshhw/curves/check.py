"""Which points may meet a secret scalar: canonical, on the curve, and of prime order.

A point of the twist or off the curve lets its sender ask about the secret; one of small or mixed order
reveals it modulo the cofactor, or makes the result a constant (RFC 7748, 6; SP 800-56A, 5.6.2.3).
"""

from __future__ import annotations

from nacl import bindings

from meshhw.curves.edwards import ED448, ED25519
from meshhw.curves.maps import edwards_from_curve25519
from meshhw.curves.montgomery import CURVE448, CURVE25519
from meshhw.curves.named import curve_named
from meshhw.curves.point import Curve, Point
from meshhw.curves.pycryptodome import ecc
from meshhw.errors import InvalidPublicKey

_HINT = "the key is damaged, or was made to attack the one that it would meet; ask for a correct one"


def has_prime_order(point: Point) -> bool:
    """True if the point is not the neutral element and lies in the prime-order subgroup."""
    if point.is_identity:
        return False
    curve = point.curve
    if curve is CURVE25519:
        return bindings.crypto_core_ed25519_is_valid_point(edwards_from_curve25519(point).encode())
    if curve is ED25519:
        return bindings.crypto_core_ed25519_is_valid_point(point.encode())
    if curve is CURVE448:
        return point.x != 0 and bool(
            (ecc().EccXPoint(point.x, "curve448") * curve.order).is_point_at_infinity()
        )
    if curve is ED448:
        return bool((ecc().EccPoint(point.x, point.y, "Ed448") * curve.order).is_point_at_infinity())
    return curve.cofactor == 1


def has_small_order(point: Point) -> bool:
    """True if the cofactor times the point is the neutral element; a few additions, no multiplication."""
    for _ in range(point.curve.cofactor.bit_length() - 1):
        point += point
    return point.is_identity


def decode_checked(curve: Curve, octets: bytes) -> Point:
    """The point of an encoding, if it may meet a secret scalar. Raises InvalidPublicKey."""
    return require_prime_order(curve.decode(octets))


def require_prime_order(point: Point) -> Point:
    """The point itself. Raises InvalidPublicKey for the neutral element and for small or mixed order."""
    if not has_prime_order(point):
        raise InvalidPublicKey(f"the point is not of {point.curve.name}'s prime order", hint=_HINT)
    return point


def is_valid_peer(algorithm: str, octets: bytes) -> bool:
    """Whether a key of that algorithm may agree with, or trust, this public key (any encoding of the
    curve).
    """
    try:
        decode_checked(curve_named(algorithm), octets)
    except InvalidPublicKey:
        return False
    return True
