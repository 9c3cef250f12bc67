"""Putting partial key agreements together when tokens return only an x-coordinate.

Holder i answers with the x-coordinate of s_i * P. Lifted to a point that is s_i * P or its opposite, Q_i. The
agreement is the sum of lambda_i * Q_i with the right signs, and only its x-coordinate counts, so that with m
unknown signs there are 2^(m-1) candidates, or 2^m if some other sign is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from meshhw.curves.check import require_prime_order
from meshhw.curves.montgomery import MontgomeryCurve
from meshhw.curves.multiply import multiply
from meshhw.curves.point import Curve, Point
from meshhw.curves.weierstrass import WeierstrassCurve
from meshhw.errors import InvalidPublicKey, ShareError, UsageError
from meshhw.threshold.shares import lagrange


@dataclass(frozen=True, slots=True)
class Partial:
    """One holder's result: s_i * P, or with `sign_known` False that or its opposite."""

    index: int
    point: Point = field(repr=False)
    sign_known: bool


def partial_from_x(curve: Curve, index: int, x_octets: bytes) -> Partial:
    """The partial result of an x-coordinate as a token returns it.

    Raises ShareError, naming the holder, for zeros, a value that is not canonical or not on the curve, and
    for a result of small or mixed order.
    """
    if not any(x_octets):
        raise faulty(index, "answered with zeros")
    try:
        return Partial(index, require_prime_order(lift_x(curve, x_octets)), sign_known=False)
    except InvalidPublicKey as error:
        raise faulty(index, "answered with no valid coordinate") from error


def partial_from_point(curve: Curve, index: int, octets: bytes) -> Partial:
    """The partial result of a whole point. Raises ShareError as `partial_from_x` does."""
    try:
        return Partial(index, require_prime_order(curve.decode(octets)), sign_known=True)
    except InvalidPublicKey as error:
        raise faulty(index, "answered with no valid point") from error


def lift_x(curve: Curve, x_octets: bytes) -> Point:
    """A point with this x-coordinate, the one of even ordinate. Raises InvalidPublicKey."""
    if isinstance(curve, MontgomeryCurve) and len(x_octets) == curve.size:
        return curve.lift(int.from_bytes(x_octets, "little"))
    if isinstance(curve, WeierstrassCurve) and len(x_octets) == curve.size:
        return curve.lift(int.from_bytes(x_octets, "big"))
    raise InvalidPublicKey(f"{len(x_octets)} octets are no coordinate of {curve.name}")


def weighted(curve: Curve, partials: Sequence[Partial], *, additive: bool = False) -> list[Partial]:
    """The partial results times their Lagrange factors for this quorum; additive shares have none."""
    if additive:
        return list(partials)
    indices = [partial.index for partial in partials]
    return [
        Partial(
            partial.index,
            multiply(partial.point, lagrange(curve.order, indices, partial.index)),
            partial.sign_known,
        )
        for partial in partials
    ]


def candidates(curve: Curve, partials: Sequence[Partial], *, additive: bool = False) -> Iterator[bytes]:
    """The x-coordinate octets of every sum that the unknown signs allow, one of which is the agreement.

    A sum that is the neutral element is left out.
    """
    terms = weighted(curve, partials, additive=additive)
    known = [term.point for term in terms if term.sign_known]
    unknown = [term.point for term in terms if not term.sign_known]
    if not known and unknown:  # the opposite of every sum has the same x-coordinate
        known.append(unknown.pop())
    start = curve.identity
    for point in known:
        start += point
    for total in _signed_sums(start, unknown):
        if not total.is_identity:
            yield total.x_octets()


def combined(curve: Curve, partials: Sequence[Partial], *, additive: bool = False) -> Point:
    """The agreed point of partial results whose signs are all known.

    Raises UsageError if one is not, ShareError if the sum is the neutral element.
    """
    if not all(partial.sign_known for partial in partials):
        raise UsageError("the sign of a partial result is not known")
    total = curve.identity
    for term in weighted(curve, partials, additive=additive):
        total += term.point
    if total.is_identity:
        raise ShareError("the partial results cancel each other", hint="the key that was agreed with is bad")
    return total


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
