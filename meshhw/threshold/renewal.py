"""New shares of the same key: refreshing all of them, and making the one of a lost holder again.

To refresh, at least `threshold` holders deal polynomials whose value at zero is zero; everybody adds what
they get. To replace the share at x, a quorum's members each split lambda_i(x) * s_i additively among the
quorum; each adds up the parts it got, and the sum of those sums is f(x). Neither lets anybody see another's
share or the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from meshhw.curves.point import Curve
from meshhw.curves.scalar import field_of
from meshhw.errors import ShareError
from meshhw.threshold.shares import (
    Commitments,
    Dealing,
    Share,
    check_share,
    deal,
    lagrange,
    split_additively,
)


def deal_zero(curve: Curve, threshold: int, indices: Sequence[int]) -> Dealing:
    """One holder's contribution to a refresh: shares of zero for every index."""
    return deal(curve, 0, threshold, indices)


def check_zero(curve: Curve, value: Share, commitments: Commitments, threshold: int) -> None:
    """Raise ShareError unless the value is one of a polynomial of this degree that is zero at zero."""
    if commitments.threshold != threshold or not commitments.public.is_identity:
        raise ShareError("a holder dealt a polynomial that would change the key")
    check_share(curve, value, commitments)


def refreshed(curve: Curve, share: Share, values: Iterable[Share]) -> Share:
    """The share plus the values dealt to its index."""
    numbers = field_of(curve)
    scalar = share.scalar
    for value in values:
        if value.index != share.index:
            raise ShareError(f"a value for holder {value.index} came to holder {share.index}")
        scalar = numbers.add(scalar, value.scalar)
    return Share(share.index, scalar)


def refreshed_commitments(old: Commitments, dealt: Iterable[Commitments]) -> Commitments:
    """The commitments to the refreshed shares. The public point stays as it was."""
    total = old
    for commitments in dealt:
        total += commitments
    return total


def contributions(curve: Curve, share: Share, quorum: Sequence[int], at: int) -> dict[int, int]:
    """What a member of the quorum gives to each member, itself included, towards the share at `at`."""
    weight = lagrange(curve.order, quorum, share.index, at)
    weighted = field_of(curve).multiply(weight, share.scalar)
    return dict(zip(quorum, split_additively(curve, weighted, len(quorum)), strict=True))


def sum_of_parts(curve: Curve, parts: Mapping[int, int]) -> int:
    """What a member adds up and passes on to the new holder: the parts by the member they came from."""
    return field_of(curve).sum(parts.values())


def replaced(curve: Curve, at: int, sums: Iterable[int], commitments: Commitments) -> Share:
    """The share at `at`, checked. Raises ShareError when a member's part was wrong."""
    share = Share(at, field_of(curve).sum(sums))
    check_share(curve, share, commitments)
    return share
