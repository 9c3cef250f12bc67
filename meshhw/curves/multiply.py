"""Multiplying a point by a scalar, secret or not: always in a library, never in Python.

| curve | library |
|---|---|
| Edwards25519, Curve25519 (through the birational map) | libsodium, un-clamped |
| Edwards448, Curve448 (through the isogeny) | pycryptodome, blinded |
| P-256, P-384 | pycryptodome, blinded |

Points are taken to be of prime order (`meshhw.curves.check` makes sure); scalars count modulo that order.
"""

from __future__ import annotations

from collections.abc import Callable

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from meshhw.curves.edwards import ED448, ED25519
from meshhw.curves.maps import (
    curve448_from_edwards,
    curve25519_from_edwards,
    edwards_from_curve448,
    edwards_from_curve25519,
)
from meshhw.curves.montgomery import CURVE448, CURVE25519, MontgomeryCurve
from meshhw.curves.point import Curve, Point
from meshhw.curves.pycryptodome import ecc
from meshhw.curves.scalar import field_of
from meshhw.curves.weierstrass import P256, P384
from meshhw.errors import InvalidPublicKey

_SMALL_BITS = 16
_X_NAMES = {"X25519": "curve25519", "X448": "curve448"}
_QUARTER_448 = pow(4, -1, ED448.order)


def multiply(point: Point, scalar: int) -> Point:
    """scalar * point. Raises InvalidPublicKey for a point of small order, where the library notices it."""
    reduced = scalar % point.curve.order
    if point.is_identity or reduced == 0:
        return point.curve.identity
    return _BY_CURVE[point.curve](point, reduced)


def small_multiple(point: Point, factor: int) -> Point:
    """factor * point for a PUBLIC factor of either sign: by additions where it is small, which is quicker."""
    if factor < 0:
        return small_multiple(-point, -factor)
    if factor.bit_length() > _SMALL_BITS:
        return multiply(point, factor)
    result = point.curve.identity
    for bit in bin(factor)[2:]:
        result += result
        if bit == "1":
            result += point
    return result


def x_multiple(point: Point, scalar: int) -> bytes:
    """The x-octets of scalar * point. Raises InvalidPublicKey when that is the neutral element."""
    reduced = scalar % point.curve.order
    if not isinstance(point.curve, MontgomeryCurve) or point.is_identity or reduced == 0:
        return multiply(point, scalar).x_octets()
    product = ecc().EccXPoint(point.x, _X_NAMES[point.curve.name]) * reduced
    return int(product.x).to_bytes(point.curve.size, "little")


def base_multiple(curve: Curve, scalar: int) -> Point:
    """scalar * base, the public point of a secret scalar."""
    return multiply(curve.base, scalar)


def _edwards25519(point: Point, scalar: int) -> Point:
    octets = scalar.to_bytes(32, "little")
    try:
        if point is ED25519.base:
            product = bindings.crypto_scalarmult_ed25519_base_noclamp(octets)
        else:
            product = bindings.crypto_scalarmult_ed25519_noclamp(octets, point.encode())
    except SodiumError as error:
        raise InvalidPublicKey("the point is of small order") from error
    return ED25519.decode(product)


def _curve25519(point: Point, scalar: int) -> Point:
    if point is CURVE25519.base:
        return curve25519_from_edwards(_edwards25519(ED25519.base, scalar))
    return curve25519_from_edwards(_edwards25519(edwards_from_curve25519(point), scalar))


def _edwards448(point: Point, scalar: int) -> Point:
    product = ecc().EccPoint(point.x, point.y, "Ed448") * scalar
    return Point(ED448, int(product.x), int(product.y))


def _curve448(point: Point, scalar: int) -> Point:
    """Down by the dual isogeny and up again is times four, so the scalar goes in divided by four."""
    quarter = field_of(CURVE448).multiply(scalar, _QUARTER_448)
    return curve448_from_edwards(_edwards448(edwards_from_curve448(point), quarter))


def _nist(point: Point, scalar: int) -> Point:
    product = ecc().EccPoint(point.x, point.y, point.curve.name) * scalar
    return Point(point.curve, int(product.x), int(product.y))


_BY_CURVE: dict[Curve, Callable[[Point, int], Point]] = {
    ED25519: _edwards25519,
    CURVE25519: _curve25519,
    ED448: _edwards448,
    CURVE448: _curve448,
    P256: _nist,
    P384: _nist,
}
