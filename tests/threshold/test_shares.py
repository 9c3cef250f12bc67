"""Sharing scalars: every quorum of every t of n, Feldman's commitments, additive parts, Lagrange factors."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.curves.multiply import base_multiple
from meshhw.curves.named import CURVES, curve_named
from meshhw.curves.point import Curve
from meshhw.curves.scalar import field_of
from meshhw.errors import ShareError, UsageError
from meshhw.threshold.shares import Share, check_share, deal, lagrange, split_additively

curves = pytest.mark.parametrize("curve", CURVES.values(), ids=str)


@curves
@given(st.integers(1, 7).flatmap(lambda t: st.tuples(st.just(t), st.integers(t, 7))))
@settings(max_examples=10)
def test_every_quorum_gives_the_secret(curve: Curve, numbers: tuple[int, int]) -> None:
    threshold, count = numbers
    secret = field_of(curve).random()
    dealing = deal(curve, secret, threshold, range(1, count + 1))
    assert dealing.commitments.public == base_multiple(curve, secret)
    for quorum in combinations(dealing.shares, threshold):
        indices = [share.index for share in quorum]
        total = sum(share.scalar * lagrange(curve.order, indices, share.index) for share in quorum)
        assert total % curve.order == secret


@curves
def test_fewer_than_the_threshold_give_something_else(curve: Curve) -> None:
    secret = field_of(curve).random()
    first, second = deal(curve, secret, 3, [1, 2, 3]).shares[:2]
    pair = [first.index, second.index]
    total = sum(share.scalar * lagrange(curve.order, pair, share.index) for share in (first, second))
    assert total % curve.order != secret


@curves
def test_commitments_convict_a_wrong_share(curve: Curve) -> None:
    dealing = deal(curve, field_of(curve).random(), 2, [3, 7, 15])
    for share in dealing.shares:
        check_share(curve, share, dealing.commitments)
        assert dealing.commitments.share_point(share.index) == base_multiple(curve, share.scalar)
    with pytest.raises(ShareError, match="share 3") as caught:
        check_share(curve, Share(3, dealing.shares[0].scalar + 1), dealing.commitments)
    assert caught.value.holder == "3"


@curves
def test_sums_of_polynomials(curve: Curve) -> None:
    one, two = (deal(curve, field_of(curve).random(), 3, [1, 2, 3, 4]) for _ in range(2))
    total = one.commitments + two.commitments
    for a, b in zip(one.shares, two.shares, strict=True):
        check_share(curve, Share(a.index, field_of(curve).add(a.scalar, b.scalar)), total)
    with pytest.raises(UsageError):
        one.commitments + deal(curve, 1, 2, [1, 2]).commitments


@curves
@given(count=st.integers(1, 7))
@settings(max_examples=5)
def test_additive_parts(curve: Curve, count: int) -> None:
    secret = field_of(curve).random()
    parts = split_additively(curve, secret, count)
    assert len(parts) == count
    assert sum(parts) % curve.order == secret


@pytest.mark.parametrize(
    ("threshold", "indices"), [(0, [1]), (3, [1, 2]), (1, []), (2, [1, 1]), (1, [0]), (1, [16])]
)
def test_impossible_numbers(threshold: int, indices: list[int]) -> None:
    with pytest.raises(UsageError):
        deal(curve_named("P-256"), 5, threshold, indices)


def test_lagrange_needs_different_indices() -> None:
    order = curve_named("P-256").order
    for indices, index in (([1, 1], 1), ([1, 2], 3)):
        with pytest.raises(UsageError):
            lagrange(order, indices, index)
    with pytest.raises(UsageError):
        split_additively(curve_named("P-256"), 5, 0)


def test_shares_are_not_shown() -> None:
    assert repr(Share(1, 123456789)) == "Share(index=1)"
