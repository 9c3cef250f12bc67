"""The group laws of every curve, and the libraries' multiplication against repeated addition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.curves.check import has_prime_order
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.named import CURVES, curve_named
from meshhw.curves.point import Curve, Point
from meshhw.errors import InvalidPublicKey, UsageError

curves = pytest.mark.parametrize("curve", CURVES.values(), ids=str)
scalars = st.integers(min_value=0, max_value=2**450)
few = settings(max_examples=8, deadline=None)


def by_doubling(point: Point, scalar: int) -> Point:
    """Double and add with the Python formulas alone: the oracle for the libraries."""
    result = point.curve.identity
    for bit in bin(scalar)[2:]:
        result += result
        if bit == "1":
            result += point
    return result


@curves
def test_base_is_on_the_curve_and_of_prime_order(curve: Curve) -> None:
    assert curve.contains(curve.base.x, curve.base.y)
    assert has_prime_order(curve.base)
    assert not has_prime_order(curve.identity)


@curves
@given(a=scalars, b=scalars)
@few
def test_multiplication_is_a_homomorphism(curve: Curve, a: int, b: int) -> None:
    assert base_multiple(curve, a) + base_multiple(curve, b) == base_multiple(curve, a + b)
    assert multiply(base_multiple(curve, a), b) == base_multiple(curve, a * b)


@curves
@given(scalar=scalars)
@settings(max_examples=3, deadline=None)
def test_libraries_agree_with_repeated_addition(curve: Curve, scalar: int) -> None:
    point = base_multiple(curve, 12345)
    assert multiply(point, scalar) == by_doubling(point, scalar % curve.order)


@curves
def test_neutral_and_opposite_points(curve: Curve) -> None:
    point = base_multiple(curve, 7)
    assert point + curve.identity == curve.identity + point == point
    assert (point - point).is_identity
    assert (-curve.identity).is_identity
    assert (curve.identity + curve.identity).is_identity
    assert point + point == base_multiple(curve, 14)
    assert multiply(point, curve.order).is_identity
    assert multiply(curve.identity, 5).is_identity


@curves
@given(scalar=scalars.filter(bool))
@few
def test_encodings_round_trip(curve: Curve, scalar: int) -> None:
    point = base_multiple(curve, scalar % curve.order or 1)
    assert curve.decode(point.encode()) == point
    assert curve.point(point.x, point.y) == point


@curves
@given(octets=st.binary(max_size=100))
@settings(max_examples=60, deadline=None)
def test_any_octets_are_decoded_to_a_point_or_refused(curve: Curve, octets: bytes) -> None:
    try:
        point = curve.decode(octets)
    except InvalidPublicKey:
        return
    assert curve.contains(point.x, point.y)
    assert len(octets) in {len(point.encode()), curve.size, curve.size + 1}


def test_points_of_two_curves_do_not_add() -> None:
    with pytest.raises(InvalidPublicKey, match="cannot be added"):
        curve_named("X25519").base + curve_named("Ed25519").base


def test_unknown_curve() -> None:
    with pytest.raises(UsageError, match="no curve"):
        curve_named("X25518")


def test_a_point_shows_no_coordinates() -> None:
    assert repr(curve_named("P-256").base) == "Point(curve=P-256)"
