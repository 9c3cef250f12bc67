"""Refreshing and replacing shares: the key stays, old and new shares do not combine, cheats are found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.curves.named import CURVES
from meshhw.curves.point import Curve
from meshhw.curves.scalar import field_of
from meshhw.errors import ShareError
from meshhw.threshold.renewal import (
    check_zero,
    contributions,
    deal_zero,
    refreshed,
    refreshed_commitments,
    replaced,
    sum_of_parts,
)
from meshhw.threshold.shares import Share, check_share, deal, lagrange

curves = pytest.mark.parametrize("curve", CURVES.values(), ids=str)


def secret_of(curve: Curve, shares: list[Share]) -> int:
    indices = [share.index for share in shares]
    return sum(s.scalar * lagrange(curve.order, indices, s.index) for s in shares) % curve.order


@curves
@given(numbers=st.integers(1, 4).flatmap(lambda t: st.tuples(st.just(t), st.integers(t, 5))))
@settings(max_examples=4)
def test_refresh_keeps_the_key_and_parts_the_generations(curve: Curve, numbers: tuple[int, int]) -> None:
    threshold, count = numbers
    indices = range(1, count + 1)
    secret = field_of(curve).random()
    old = deal(curve, secret, threshold, indices)
    dealt = [deal_zero(curve, threshold, indices) for _ in range(threshold)]
    for dealing in dealt:
        for value in dealing.shares:
            check_zero(curve, value, dealing.commitments, threshold)
    new = [refreshed(curve, share, [d.shares[i] for d in dealt]) for i, share in enumerate(old.shares)]
    commitments = refreshed_commitments(old.commitments, [d.commitments for d in dealt])
    assert commitments.public == old.commitments.public
    for share in new:
        check_share(curve, share, commitments)
    assert secret_of(curve, new[:threshold]) == secret
    if threshold > 1:
        assert secret_of(curve, [old.shares[0], *new[1:threshold]]) != secret


@curves
def test_a_dealer_who_would_change_the_key_is_found(curve: Curve) -> None:
    dealing = deal(curve, 5, 2, [1, 2])
    with pytest.raises(ShareError, match="change the key"):
        check_zero(curve, dealing.shares[0], dealing.commitments, 2)
    longer = deal_zero(curve, 3, [1, 2, 3])
    with pytest.raises(ShareError, match="change the key"):
        check_zero(curve, longer.shares[0], longer.commitments, 2)
    good = deal_zero(curve, 2, [1, 2])
    with pytest.raises(ShareError, match="share 1"):
        check_zero(curve, Share(1, good.shares[0].scalar + 1), good.commitments, 2)
    with pytest.raises(ShareError, match="holder 2"):
        refreshed(curve, Share(1, 5), [good.shares[1]])


@curves
@given(lost=st.integers(1, 5), threshold=st.integers(1, 4))
@settings(max_examples=4)
def test_a_quorum_makes_a_lost_share_again(curve: Curve, lost: int, threshold: int) -> None:
    dealing = deal(curve, field_of(curve).random(), threshold, range(1, 6))
    quorum = [share for share in dealing.shares if share.index != lost][:threshold]
    members = [share.index for share in quorum]
    given_parts = {share.index: contributions(curve, share, members, lost) for share in quorum}
    sums = [
        sum_of_parts(curve, {giver: parts[member] for giver, parts in given_parts.items()})
        for member in members
    ]
    made = replaced(curve, lost, sums, dealing.commitments)
    assert made == dealing.shares[lost - 1]
    with pytest.raises(ShareError):
        replaced(curve, lost, [*sums, 1], dealing.commitments)
