"""Putting partial key agreements together when tokens return only an x-coordinate.

Holder i answers with the x-coordinate of s_i * P. Lifted to a point that is s_i * P or its opposite, Q_i. The
agreement is the sum of lambda_i * Q_i with the right signs, and only its x-coordinate counts, so that with m
unknown signs there are 2^(m-1) candidates, or 2^m if some other sign is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm, prod

from meshhw.curves.check import has_small_order
from meshhw.curves.montgomery import MontgomeryCurve
from meshhw.curves.multiply import multiply, small_multiple, x_multiple
from meshhw.curves.point import Curve, Point
from meshhw.curves.weierstrass import WeierstrassCurve
from meshhw.errors import InvalidPublicKey, ShareError, UsageError


@dataclass(frozen=True, slots=True)
class Partial:
    """One holder's result: s_i * P, or with `sign_known` False that or its opposite."""

    index: int
    point: Point = field(repr=False)
    sign_known: bool


def partial_from_x(curve: Curve, index: int, x_octets: bytes) -> Partial:
    """The partial result of an x-coordinate as a token returns it.

    Raises ShareError, naming the holder, for zeros, a value that is not canonical or not on the curve, and
    for a result of small order.
    """
    if not any(x_octets):
        raise faulty(index, "answered with zeros")
    return _checked(index, lambda: lift_x(curve, x_octets), sign_known=False)


def partial_from_point(curve: Curve, index: int, octets: bytes) -> Partial:
    """The partial result of a whole point. Raises ShareError as `partial_from_x` does."""
    return _checked(index, lambda: curve.decode(octets), sign_known=True)


def _checked(index: int, decode: Callable[[], Point], *, sign_known: bool) -> Partial:
    """Mixed order is left to the check value, or to `FollowUp.settle`, since looking for it takes long."""
    try:
        point = decode()
    except InvalidPublicKey as error:
        raise faulty(index, "answered with no point of the curve") from error
    if has_small_order(point):
        raise faulty(index, "answered with a point of small order")
    return Partial(index, point, sign_known)


def lift_x(curve: Curve, x_octets: bytes) -> Point:
    """A point with this x-coordinate, the one of even ordinate. Raises InvalidPublicKey."""
    if isinstance(curve, MontgomeryCurve) and len(x_octets) == curve.size:
        return curve.lift(int.from_bytes(x_octets, "little"))
    if isinstance(curve, WeierstrassCurve) and len(x_octets) == curve.size:
        return curve.lift(int.from_bytes(x_octets, "big"))
    raise InvalidPublicKey(f"{len(x_octets)} octets are no coordinate of {curve.name}")


def weights(indices: Sequence[int]) -> tuple[dict[int, int], int]:
    """Lagrange's factors at zero as small integers over a common denominator: for (1, 2) they are (2, -1) /
    1.
    """
    exact = {
        index: prod(
            (Fraction(-other, index - other) for other in indices if other != index), start=Fraction(1)
        )
        for index in indices
    }
    denominator = lcm(*(factor.denominator for factor in exact.values()))
    return {index: int(factor * denominator) for index, factor in exact.items()}, denominator


@dataclass(frozen=True, slots=True)
class _Terms:
    """The partial results times integers; `denominator` times the agreement is the sum of them."""

    known: list[Point]
    unknown: list[Point]
    denominator: int

    @classmethod
    def of(cls, partials: Sequence[Partial], *, additive: bool) -> _Terms:
        indices = [partial.index for partial in partials]
        factors, denominator = (dict.fromkeys(indices, 1), 1) if additive else weights(indices)
        points = [(p.sign_known, small_multiple(p.point, factors[p.index])) for p in partials]
        return cls(
            [point for known, point in points if known],
            [point for known, point in points if not known],
            denominator,
        )


def candidates(curve: Curve, partials: Sequence[Partial], *, additive: bool = False) -> Iterator[bytes]:
    """The x-coordinate octets of every sum that the unknown signs allow, one of which is the agreement.

    A sum that is the neutral element is left out.
    """
    terms = _Terms.of(partials, additive=additive)
    if not terms.known and terms.unknown:  # the opposite of every sum has the same x-coordinate
        terms.known.append(terms.unknown.pop())
    start = curve.identity
    for point in terms.known:
        start += point
    scale = pow(terms.denominator, -1, curve.order)
    for total in _signed_sums(start, terms.unknown):
        if not total.is_identity:
            yield total.x_octets() if scale == 1 else x_multiple(total, scale)


def combined(curve: Curve, partials: Sequence[Partial], *, additive: bool = False) -> Point:
    """The agreed point of partial results whose signs are all known.

    Raises UsageError if one is not, ShareError if the sum is the neutral element.
    """
    if not all(partial.sign_known for partial in partials):
        raise UsageError("the sign of a partial result is not known")
    total = curve.identity
    terms = _Terms.of(partials, additive=additive)
    for point in terms.known:
        total += point
    if total.is_identity:
        raise ShareError("the partial results cancel each other", hint="the key that was agreed with is bad")
    return multiply(total, pow(terms.denominator, -1, curve.order))


def faulty(index: int, what: str) -> ShareError:
    """The error that names holder `index`."""
    return ShareError(
        f"holder {index} {what}",
        holder=str(index),
        hint="its token is faulty, holds another key, or lies; replace this holder",
    )


def _signed_sums(start: Point, unknown: Sequence[Point]) -> Iterator[Point]:
    if not unknown:
        yield start
        return
    yield from _signed_sums(start + unknown[0], unknown[1:])
    yield from _signed_sums(start - unknown[0], unknown[1:])
