"""Between the Montgomery curves and the Edwards curves on which the libraries can multiply.

Curve25519 and Edwards25519 are birationally equivalent (RFC 7748, 4.1). Curve448 and Edwards448 are
connected by a 4-isogeny and its dual (RFC 7748, 4.2): there and back is multiplication by four.
"""

from __future__ import annotations

from meshhw.curves.edwards import ED448, ED25519, P25519
from meshhw.curves.montgomery import CURVE448, CURVE25519
from meshhw.curves.point import Point, square_root


def _scale_25519() -> int:
    """The root of -(A+2) that sends the base point of one curve to that of the other."""
    root = square_root(-(CURVE25519.a + 2) % P25519, P25519)
    assert root is not None  # a constant of the curve
    base = CURVE25519.base
    matches = root * base.x * pow(base.y, -1, P25519) % P25519 == ED25519.base.x
    return root if matches else -root % P25519


_SCALE = _scale_25519()


def edwards_from_curve25519(point: Point) -> Point:
    """The point of Edwards25519 that corresponds to a point of Curve25519."""
    if point.at_infinity:
        return ED25519.identity
    if point.y == 0:  # (0, 0), of order two
        return Point(ED25519, 0, P25519 - 1)
    x = _SCALE * point.x * pow(point.y, -1, P25519) % P25519
    y = (point.x - 1) * pow(point.x + 1, -1, P25519) % P25519
    return Point(ED25519, x, y)


def curve25519_from_edwards(point: Point) -> Point:
    """The point of Curve25519 that corresponds to a point of Edwards25519."""
    if point.x == 0:
        return CURVE25519.identity if point.y == 1 else Point(CURVE25519, 0, 0)
    u = (1 + point.y) * pow(1 - point.y, -1, P25519) % P25519
    v = _SCALE * u * pow(point.x, -1, P25519) % P25519
    return Point(CURVE25519, u, v)


def edwards_from_curve448(point: Point) -> Point:
    """The dual isogeny, Curve448 to Edwards448. Points of order dividing four go to the neutral element or
    near it.
    """
    p, u, v = CURVE448.p, point.x, point.y
    u2, v2 = u * u % p, v * v % p
    x_divisor = (u2 * u2 - 2 * u2 + 4 * v2 + 1) % p
    y_divisor = (u2 * u2 % p * u - 2 * u2 * v2 - 2 * u2 * u - 2 * v2 + u) % p
    if point.at_infinity or 0 in {x_divisor, y_divisor}:
        return ED448.identity
    x = 4 * v * (u2 - 1) * pow(x_divisor, -1, p) % p
    y = -(u2 * u2 % p * u - 2 * u2 * u - 4 * u * v2 + u) * pow(y_divisor, -1, p) % p
    return Point(ED448, x, y)


def curve448_from_edwards(point: Point) -> Point:
    """The isogeny, Edwards448 to Curve448; it sends the base point to the base point."""
    if point.x == 0:
        return CURVE448.identity if point.y == 1 else Point(CURVE448, 0, 0)
    p, x, y = CURVE448.p, point.x, point.y
    inverse = pow(x, -1, p)
    u = y * y * inverse % p * inverse % p
    v = (2 - x * x - y * y) * y % p * pow(inverse, 3, p) % p
    return Point(CURVE448, u, v)
