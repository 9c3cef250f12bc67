"""Scalar arithmetic against plain integers, and the representative that a clamping token leaves alone."""

from __future__ import annotations

import json
from hashlib import sha512
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.curves.montgomery import CURVE448, CURVE25519
from meshhw.curves.multiply import base_multiple
from meshhw.curves.named import CURVES, curve_named
from meshhw.curves.point import Curve
from meshhw.curves.scalar import clamp, clamp_fitting, field_of, token_scalar
from meshhw.errors import UsageError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/crypto_token_xonly.json").read_text())
curves = pytest.mark.parametrize("curve", CURVES.values(), ids=str)
montgomery = pytest.mark.parametrize("curve", [CURVE25519, CURVE448], ids=str)
numbers = st.integers(min_value=0, max_value=2**446)
few = settings(max_examples=30, deadline=None)
# Uniform scalars: the few that no clamped number stands for lie close to small fractions of the order.
uniform = st.binary(min_size=8, max_size=8).map(lambda seed: int.from_bytes(sha512(seed).digest()))


@curves
@given(a=numbers, b=numbers)
@few
def test_field_operations(curve: Curve, a: int, b: int) -> None:
    field, order = field_of(curve), curve.order
    a, b = a % order, b % order
    assert field.add(a, b) == (a + b) % order
    assert field.subtract(a, b) == (a - b) % order
    assert field.multiply(a, b) == a * b % order
    assert field.sum([a, b, a]) == (2 * a + b) % order
    if a:
        assert field.multiply(field.invert(a), a) == 1


class Watched(int):
    """A secret that notes with which values it is multiplied or raised; what is subtracted of it, too."""

    seen: list[int]

    @classmethod
    def of(cls, value: int, seen: list[int]) -> Watched:
        made = cls(value)
        made.seen = seen
        return made

    def __sub__(self, other: int) -> Watched:
        return Watched.of(int(self) - other, self.seen)

    def __mod__(self, other: int) -> Watched:
        return Watched.of(int(self) % other, self.seen)

    def __mul__(self, other: int) -> int:
        self.seen.append(int(self))
        return int(self) * int(other)

    __rmul__ = __mul__

    def __pow__(self, exponent: int, modulus: int | None = None) -> int:  # type: ignore[override]  # ints alone
        self.seen.append(int(self))
        return pow(int(self), exponent, modulus)


@pytest.mark.parametrize("name", ["X448", "Ed448", "P-256", "P-384"])
def test_no_secret_is_multiplied_before_a_fresh_number_was_taken_off_it(name: str) -> None:
    """Python's integers tell of their operands by the time that they take (docs/security.md)."""
    field, secret, other = field_of(curve_named(name)), 3**200, 5**90
    seen: list[int] = []
    for _ in range(2):
        product = field.multiply(Watched.of(secret, seen), Watched.of(other, seen))
        inverse = field.invert(Watched.of(secret, seen))
        assert product == secret * other % field.order
        assert inverse * secret % field.order == 1
    assert len(seen) >= 6
    assert len(set(seen)) > len(seen) // 2  # each time by another number
    assert {secret % field.order, other, secret}.isdisjoint(seen)


@curves
@given(coefficients=st.lists(numbers, min_size=1, max_size=4), x=st.integers(1, 15))
@few
def test_polynomials(curve: Curve, coefficients: list[int], x: int) -> None:
    expected = sum(c * x**i for i, c in enumerate(coefficients)) % curve.order
    assert field_of(curve).evaluate([c % curve.order for c in coefficients], x) == expected


@curves
def test_reduction_and_zero(curve: Curve) -> None:
    wide = bytes(range(64))
    assert field_of(curve).reduce(wide) == int.from_bytes(wide, "little") % curve.order
    with pytest.raises(UsageError):
        field_of(curve).invert(0)
    with pytest.raises(UsageError):
        token_scalar(curve, curve.order)
    assert 0 < field_of(curve).random() < curve.order


@montgomery
@given(scalar=uniform)
@few
def test_every_scalar_has_a_number_that_clamping_keeps(curve: Curve, scalar: int) -> None:
    scalar %= curve.order
    octets = token_scalar(curve, scalar)
    number = int.from_bytes(octets, "little")
    assert clamp(curve, octets) == number == clamp_fitting(curve, scalar)
    assert number % curve.order in {scalar, curve.order - scalar}
    assert number % curve.cofactor == 0


@montgomery
@given(scalar=uniform)
@settings(max_examples=10, deadline=None)
def test_a_clamping_ladder_gives_the_public_point(curve: Curve, scalar: int) -> None:
    octets = token_scalar(curve, scalar)
    private = (X25519PrivateKey if curve is CURVE25519 else X448PrivateKey).from_private_bytes(octets)
    assert private.public_key().public_bytes_raw() == base_multiple(curve, scalar).x_octets()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["id"]))
def test_published_token_scalars(vector: dict[str, list[str] | str]) -> None:
    curve = curve_named(str(vector["curve"]))
    for share, loaded in zip(vector["shares"], vector.get("token_scalars", vector["shares"]), strict=True):
        order = "big" if curve.cofactor == 1 else "little"
        number = int.from_bytes(token_scalar(curve, int(share)), order)  # type: ignore[arg-type]  # two literals
        assert number in {int(loaded), curve.cofactor * curve.order - int(loaded)}


def test_the_rare_scalar_without_a_clamped_number() -> None:
    with pytest.raises(UsageError, match="no clamped number"):
        token_scalar(CURVE448, 2)
