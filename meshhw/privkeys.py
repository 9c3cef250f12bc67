"""What follows from private key octets: the scalar they stand for and the public key."""

from __future__ import annotations

from meshhw.algorithms import Algorithm, Family, PrivateKey, PublicKey, SecretForm
from meshhw.curves.eddsa import edwards_curve, expand
from meshhw.curves.multiply import base_multiple
from meshhw.curves.named import curve_named
from meshhw.curves.point import Point
from meshhw.curves.scalar import clamp
from meshhw.errors import FormatError, NotSupported


def scalar_of(private: PrivateKey) -> int:
    """The secret scalar modulo the group's order: clamped, hashed and pruned, or as it is, by algorithm and
    form.

    Raises FormatError for octets of the wrong length or range, NotSupported for RSA.
    """
    if private.algorithm.family is Family.RSA:
        raise NotSupported("an RSA key is not a scalar")
    curve = curve_named(private.algorithm)
    if private.form is SecretForm.SCALAR:
        return _in_range(int.from_bytes(private.octets, "little"), curve.order)
    if private.algorithm.family is Family.EDWARDS:
        return expand(edwards_curve(private.algorithm), private.octets).scalar
    if len(private.octets) != curve.size:
        raise FormatError(f"a private key of {private.algorithm} has {curve.size} octets")
    if private.algorithm.family is Family.WEIERSTRASS:
        return _in_range(int.from_bytes(private.octets, "big"), curve.order)
    return clamp(curve, private.octets) % curve.order


def public_point_of(private: PrivateKey) -> Point:
    """scalar * base. Raises as `scalar_of`."""
    scalar = scalar_of(private)
    return base_multiple(curve_named(private.algorithm), scalar)


def public_key_of(private: PrivateKey) -> PublicKey:
    """The public key; an X448 key carries its true sign, an X25519 key none. Raises as `scalar_of`."""
    point = public_point_of(private)
    octets = point.x_octets() if private.algorithm is Algorithm.X25519 else point.encode()
    return PublicKey(private.algorithm, octets)


def _in_range(scalar: int, order: int) -> int:
    if not 0 < scalar < order:
        raise FormatError("the private scalar is not in its group's range")
    return scalar
