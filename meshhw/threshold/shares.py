"""Scalars in shares: additive, and Shamir's over a group's order with Feldman's commitments.

Whoever deals holds the whole scalar for a moment; who receives a share checks it against the public
commitments and needs to trust nobody that it fits the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.point import Curve, Point
from meshhw.curves.scalar import field_of
from meshhw.errors import ShareError, UsageError

MAX_HOLDERS = 15


@dataclass(frozen=True, slots=True)
class Share:
    """The value of a secret polynomial at `index`, which is public and not zero."""

    index: int
    scalar: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Commitments:
    """The points of a polynomial's coefficients, lowest first: what may be known of the shares by
    everybody.
    """

    points: tuple[Point, ...]

    @property
    def threshold(self) -> int:
        """How many shares give the secret."""
        return len(self.points)

    @property
    def public(self) -> Point:
        """The public point of the secret."""
        return self.points[0]

    def share_point(self, index: int) -> Point:
        """The public point of the share with this index."""
        result = self.points[-1].curve.identity
        for point in reversed(self.points):
            result = multiply(result, index) + point
        return result

    def __add__(self, other: Commitments) -> Commitments:
        """The commitments of the sum of two polynomials of the same degree."""
        if self.threshold != other.threshold:
            raise UsageError("polynomials of different degree are not added")
        return Commitments(tuple(a + b for a, b in zip(self.points, other.points, strict=True)))


@dataclass(frozen=True, slots=True)
class Dealing:
    """The shares of one secret and the commitments that show that they fit together."""

    shares: tuple[Share, ...]
    commitments: Commitments


def deal(curve: Curve, secret: int, threshold: int, indices: Sequence[int]) -> Dealing:
    """Share a secret scalar. Raises UsageError for impossible numbers."""
    check_numbers(threshold, indices)
    numbers = field_of(curve)
    coefficients = [secret % curve.order, *(numbers.random() for _ in range(threshold - 1))]
    shares = tuple(Share(index, numbers.evaluate(coefficients, index)) for index in indices)
    points = tuple(base_multiple(curve, coefficient) for coefficient in coefficients)
    return Dealing(shares, Commitments(points))


def check_share(curve: Curve, share: Share, commitments: Commitments) -> None:
    """Raise ShareError unless the share lies on the committed polynomial."""
    if base_multiple(curve, share.scalar) != commitments.share_point(share.index):
        raise ShareError(
            f"share {share.index} does not lie on the committed polynomial",
            holder=str(share.index),
            hint="whoever dealt it made an error or lies; start again without them",
        )


def split_additively(curve: Curve, secret: int, count: int) -> list[int]:
    """`count` random scalars whose sum is the secret. Raises UsageError for a count below one."""
    if count < 1:
        raise UsageError("a scalar is split into at least one part")
    numbers = field_of(curve)
    parts = [numbers.random() for _ in range(count - 1)]
    return [*parts, numbers.subtract(secret % curve.order, numbers.sum(parts))]


def lagrange(order: int, indices: Iterable[int], index: int, at: int = 0) -> int:
    """The public factor of share `index` when the polynomial is evaluated at `at` from these indices' shares.

    Raises UsageError if an index is repeated, or `index` is not among them.
    """
    chosen = list(indices)
    if len(set(chosen)) != len(chosen) or index not in chosen:
        raise UsageError("the indices of a quorum are different, and the holder's own is one of them")
    numerator = denominator = 1
    for other in chosen:
        if other != index:
            numerator = numerator * (at - other) % order
            denominator = denominator * (index - other) % order
    return numerator * pow(denominator, -1, order) % order


def check_numbers(threshold: int, indices: Sequence[int]) -> None:
    """Raise UsageError unless 1 <= threshold <= number of indices, and the indices are different, 1 to 15."""
    if not 1 <= threshold <= len(indices):
        raise UsageError(
            f"{threshold} of {len(indices)} holders is no quorum", hint="1 <= threshold <= number of tokens"
        )
    if len(set(indices)) != len(indices) or not all(1 <= index <= MAX_HOLDERS for index in indices):
        raise UsageError(f"holders have different indices from 1 to {MAX_HOLDERS}")
