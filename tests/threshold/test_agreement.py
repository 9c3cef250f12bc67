"""Decryption by tokens that return only x: signs, excluded points, faults, liars, refused points."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.edwards import ED25519
from meshhw.curves.maps import curve25519_from_edwards
from meshhw.curves.montgomery import CURVE448, CURVE25519
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.named import curve_named
from meshhw.curves.point import Curve, Point
from meshhw.curves.scalar import field_of
from meshhw.errors import DecryptionFailed, InvalidPublicKey, ShareError, TokenNotFound
from meshhw.threshold.agreement import Partial, candidates, combined, lift_x, partial_from_x, weights
from meshhw.threshold.challenge import answers_challenge
from meshhw.threshold.decrypt import ThresholdAgreement
from meshhw.threshold.followup import blinded_follow_up, plain_follow_up
from meshhw.threshold.holders import Fault, GivenHolder, Holder, KeyHolder, as_peer
from meshhw.threshold.shares import Dealing, Share, lagrange
from tests.threshold.tokens import Other, fresh, full, wrap_to, x_only

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/crypto_token_xonly.json").read_text())
PRINTED = json.loads((Path(__file__).parents[1] / "vectors/crypto_threshold_agreement.json").read_text())
SUITES = [curve_named(name) for name in ("X25519", "X448", "P-256", "P-384")]
curves = pytest.mark.parametrize("curve", SUITES, ids=str)
INFO, KEY = b"meshhw/kek/1", bytes(range(32))
quorums = st.integers(1, 7).flatmap(lambda t: st.tuples(st.just(t), st.integers(t, 7)))


def agreement(curve: Curve, threshold: int, holders: list[Holder]) -> tuple[ThresholdAgreement, list[Fault]]:
    faults: list[Fault] = []
    return ThresholdAgreement(curve, threshold, holders, faults.append), faults


def queries(holders: list[Any]) -> list[int]:
    return [holder.key.queries for holder in holders]


@curves
@given(numbers=quorums, mask=st.integers(0, 127))
@settings(max_examples=6)
def test_every_quorum_of_mixed_holders_unwraps(curve: Curve, numbers: tuple[int, int], mask: int) -> None:
    threshold, count = numbers
    dealing = fresh(curve, threshold, count)
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    for quorum in list(combinations(dealing.shares, threshold))[:6]:
        holders: list[Holder] = [
            (full if mask >> share.index & 1 else x_only)(curve, share) for share in quorum
        ]
        whole, faults = agreement(curve, threshold, holders)
        assert whole.unwrap(peer, INFO, wrapped) == KEY
        assert not faults
        assert queries(holders) == [1] * threshold


@curves
@pytest.mark.parametrize("threshold", range(1, 8))
def test_every_subset_of_seven_has_its_candidate(curve: Curve, threshold: int) -> None:
    """All t of n with n <= 7: the shares of fewer holders are the first of these."""
    dealing = fresh(curve, threshold, 7)
    asked = secrets.randbelow(curve.order - 1) + 1
    agreed = multiply(dealing.commitments.public, asked).x_octets()
    partials = [
        partial_from_x(curve, index, multiply(dealing.commitments.share_point(index), asked).x_octets())
        for index in range(1, 8)
    ]
    for quorum in combinations(partials, threshold):
        found = list(candidates(curve, quorum))
        assert found.count(agreed) == 1
        assert len(found) == 2 ** (threshold - 1)


@curves
def test_two_questions_agree_for_certain(curve: Curve) -> None:
    dealing = fresh(curve, 3, 4)
    holders: list[Holder] = [x_only(curve, share) for share in dealing.shares]
    whole, faults = agreement(curve, 3, holders)
    point = base_multiple(curve, secrets.randbelow(curve.order))
    asked = curve.decode(as_peer(point).octets)
    for blinded in (False, True):
        secret = whole.agree_point(as_peer(point), blinded=blinded)
        expected = multiply(asked, _secret(curve, dealing))
        assert secret == expected
    assert not faults
    assert sum(queries(holders)) == 12


def _secret(curve: Curve, dealing: Dealing) -> int:
    indices = [share.index for share in dealing.shares]
    return sum(s.scalar * lagrange(curve.order, indices, s.index) for s in dealing.shares) % curve.order


@curves
def test_a_threshold_above_eight_asks_twice(curve: Curve) -> None:
    dealing = fresh(curve, 9, 9)
    holders: list[Holder] = [x_only(curve, share) for share in dealing.shares]
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    assert agreement(curve, 9, holders)[0].unwrap(peer, INFO, wrapped) == KEY
    assert queries(holders) == [2] * 9


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v["id"]))
def test_computed_figures(vector: dict[str, Any]) -> None:
    curve = curve_named(vector["curve"])
    order = "big" if curve.cofactor == 1 else "little"
    partials = [
        partial_from_x(curve, x, int(u).to_bytes(curve.size, order))  # type: ignore[arg-type]  # two literals
        for x, u in zip(vector["xs"], vector.get("partial_u") or vector["partial_x"], strict=True)
    ]
    result = int(vector.get("result_u") or vector["result_x"]).to_bytes(curve.size, order)  # type: ignore[arg-type]  # two literals
    assert list(candidates(curve, partials)).count(result) == 1


@pytest.mark.parametrize(
    "vector", [v for v in PRINTED if "share2_scalar_correct" in v], ids=lambda v: str(v["id"])
)
def test_corrected_figures_of_the_draft(vector: dict[str, Any]) -> None:
    curve = curve_named(vector["base"]["alg"])
    epk = multiply(curve.base, int(vector["ephemeral"]["Scalar"]))
    assert epk.x_octets().hex() == vector["ephemeral"]["Encoded Public"]
    first, second = (
        multiply(epk, int(scalar)) for scalar in (vector["share1"]["Scalar"], vector["share2_scalar_correct"])
    )
    assert [first.x, first.y] == [int(n) for n in vector["part1"]]
    assert [second.x, second.y] == [int(n) for n in vector["part2"]]
    assert first.encode().hex() == vector["part1_extended"]
    assert second.encode().hex() == vector["part2_extended"]
    assert (first + second).x == int(vector["agreement_u"])
    assert (first + second).x_octets().hex() == vector["agreement_bytes"]


@curves
def test_every_pattern_of_signs_has_its_candidate(curve: Curve) -> None:
    dealing = fresh(curve, 4, 4)
    point = base_multiple(curve, 987654321)
    true = [Partial(s.index, multiply(point, s.scalar), sign_known=True) for s in dealing.shares]
    expected = combined(curve, true).x_octets()
    for signs in product((1, -1), repeat=4):
        flipped = [
            Partial(p.index, p.point if sign > 0 else -p.point, sign_known=False)
            for p, sign in zip(true, signs, strict=True)
        ]
        found = list(candidates(curve, flipped))
        assert len(found) == 8
        assert found.count(expected) == 1


@curves
def test_the_excluded_points(curve: Curve) -> None:
    """P = B and P = -B, where P + B is a doubling or the neutral element, and P = -2B."""
    dealing = fresh(curve, 2, 2)
    secret = _secret(curve, dealing)
    for scalar in (1, -1, 2, -2):
        point = base_multiple(curve, scalar)
        asked = curve.decode(as_peer(point).octets)
        holders: list[Holder] = [x_only(curve, share) for share in dealing.shares]
        assert agreement(curve, 2, holders)[0].agree_point(as_peer(point)) == multiply(asked, secret)
    assert plain_follow_up(-curve.base).shift == 2
    assert plain_follow_up(curve.base).shift == 1


def bad_points() -> list[tuple[Curve, bytes, str]]:
    order_eight = ED25519.decode(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
    )
    mixed25519 = curve25519_from_edwards(ED25519.base + order_eight)
    mixed448 = base_multiple(CURVE448, 9) + Point(CURVE448, 0, 0)
    p256 = curve_named("P-256")
    off = bytearray(p256.base.encode())
    off[-1] ^= 1
    return [
        (CURVE25519, bytes([2]) + bytes(31), "twist"),
        (CURVE25519, bytes(32), "small order"),
        (CURVE25519, mixed25519.x_octets(), "mixed order"),
        (CURVE25519, CURVE25519.p.to_bytes(32, "little"), "not canonical"),
        (CURVE448, bytes([1]) + bytes(56), "small order 448"),
        (CURVE448, mixed448.encode(), "mixed order 448"),
        (CURVE448, bytes([7]) + bytes(56), "twist 448"),
        (p256, bytes(off), "off the curve"),
    ]


@pytest.mark.parametrize(
    ("curve", "octets", "_"), bad_points(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_bad_points_are_refused_before_any_token_is_asked(curve: Curve, octets: bytes, _: str) -> None:
    holders: list[Holder] = [x_only(curve, share) for share in fresh(curve, 2, 2).shares]
    whole, _faults = agreement(curve, 2, holders)
    peer = PublicKey(Algorithm(curve.name), octets)
    for call in (lambda: whole.unwrap(peer, INFO, bytes(40)), lambda: whole.agree_point(peer)):
        with pytest.raises(InvalidPublicKey):
            call()
    assert queries(holders) == [0, 0]


@dataclass
class Liar(Other):
    """A token that works with another scalar, and adds the same error to every answer."""

    error: Point

    def partial(self, point: Point) -> Partial:
        true = self.honest.partial(point)
        return Partial(self.index, true.point + self.error, sign_known=False)


@curves
def test_a_liar_is_named_and_another_holder_takes_its_place(curve: Curve) -> None:
    dealing = fresh(curve, 2, 4)
    honest: list[KeyHolder] = [x_only(curve, share) for share in dealing.shares]
    holders: list[Holder] = [Liar(honest[0], base_multiple(curve, 77)), *honest[1:]]
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    whole, faults = agreement(curve, 2, holders)
    assert whole.unwrap(peer, INFO, wrapped) == KEY
    assert [fault.index for fault in faults] == [1]
    assert isinstance(faults[0].error, ShareError)
    assert queries(honest) == [2, 2, 2, 0]


@curves
def test_the_same_error_in_both_answers_passes_the_plain_question_only(curve: Curve) -> None:
    """Why the blinded question exists: s(P+B) + D and sP + D fit each other, a*Q + r*Y does not."""
    dealing = fresh(curve, 1, 1)
    honest = x_only(curve, dealing.shares[0])
    error, point = base_multiple(curve, 5), base_multiple(curve, 31337)
    asked = curve.decode(as_peer(point).octets)
    scalar = dealing.shares[0].scalar
    lie = Partial(1, multiply(asked, scalar) + error, sign_known=False)
    plain = plain_follow_up(asked)
    settled = plain.settle(lie, honest.share, (multiply(plain.point, scalar) + error).x_octets())
    assert settled.point == lie.point
    blinded = blinded_follow_up(asked)
    with pytest.raises(ShareError, match="holder 1"):
        blinded.settle(lie, honest.share, (multiply(blinded.point, scalar) + error).x_octets())


@curves
def test_a_wrong_key_in_a_token_is_named(curve: Curve) -> None:
    dealing, other = fresh(curve, 2, 3), fresh(curve, 2, 3)
    wrong = KeyHolder(1, x_only(curve, other.shares[0]).key, x_only(curve, dealing.shares[0]).share)
    holders: list[Holder] = [wrong, *(x_only(curve, share) for share in dealing.shares[1:])]
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    whole, faults = agreement(curve, 2, holders)
    assert whole.unwrap(peer, INFO, wrapped) == KEY
    assert [fault.index for fault in faults] == [1]
    whole, faults = agreement(curve, 2, holders)
    assert whole.agree_point(peer) == multiply(curve.decode(peer.octets), _secret(curve, dealing))
    assert [fault.index for fault in faults] == [1]


@curves
def test_a_challenge_is_answered_by_the_share_alone(curve: Curve) -> None:
    mine, other = fresh(curve, 1, 1).shares[0], fresh(curve, 1, 1).shares[0]
    for kind in (x_only, full):
        assert answers_challenge(kind(curve, mine))
    exchanged = KeyHolder(1, x_only(curve, other).key, base_multiple(curve, mine.scalar))
    assert not answers_challenge(exchanged)


@curves
def test_a_pulled_token_is_replaced_while_others_remain(curve: Curve) -> None:
    dealing = fresh(curve, 2, 3)
    holders: list[Any] = [x_only(curve, share) for share in dealing.shares]
    holders[1].key.present = False
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    whole, faults = agreement(curve, 2, holders)
    assert whole.unwrap(peer, INFO, wrapped) == KEY
    assert [fault.index for fault in faults] == [2]
    holders[2].key.present = False
    with pytest.raises(TokenNotFound, match="2 holders are needed and 1 can answer"):
        whole.unwrap(peer, INFO, wrapped)
    with pytest.raises(TokenNotFound, match="2 holders are needed and 1 can answer"):
        ThresholdAgreement(curve, 2, holders[:1]).unwrap(peer, INFO, wrapped)


@dataclass
class Waiting(Other):
    """A holder that answers when as many as are needed have been asked."""

    all_asked: Barrier

    def partial(self, point: Point) -> Partial:
        self.all_asked.wait(timeout=30)
        return self.honest.partial(point)


def test_holders_are_asked_at_once_and_no_more_of_them_than_are_needed() -> None:
    dealing = fresh(CURVE25519, 3, 5)
    honest: list[KeyHolder] = [x_only(CURVE25519, share) for share in dealing.shares]
    all_asked = Barrier(3)
    holders: list[Holder] = [Waiting(holder, all_asked) for holder in honest]
    peer, wrapped = wrap_to(CURVE25519, dealing.commitments.public, INFO, KEY)
    assert agreement(CURVE25519, 3, holders)[0].unwrap(peer, INFO, wrapped) == KEY
    assert queries(honest) == [1, 1, 1, 0, 0]


@curves
def test_additive_shares_of_tokens_that_made_them(curve: Curve) -> None:
    """A dealerless key: each token has its own key, named by its x alone; the sum is the group's."""
    shares = [Share(i, field_of(curve).random()) for i in (1, 2, 3)]
    holders: list[Holder] = []
    public = curve.identity
    for share in shares:
        made = x_only(curve, share)
        point = curve.decode(as_peer(made.share).octets)  # the lift with the parity that is known
        holders.append(KeyHolder(share.index, made.key, point))
        public += point
    peer, wrapped = wrap_to(curve, public, INFO, KEY)
    whole = ThresholdAgreement(curve, 3, holders, additive=True)
    assert whole.unwrap(peer, INFO, wrapped) == KEY
    assert whole.agree_point(peer).x_octets() == whole.agree_point(peer, blinded=True).x_octets()


@curves
def test_one_share_too_few_decrypts_nothing(curve: Curve) -> None:
    dealing = fresh(curve, 3, 3)
    holders: list[Holder] = [x_only(curve, share) for share in dealing.shares[:2]]
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    with pytest.raises(DecryptionFailed):
        agreement(curve, 2, holders)[0].unwrap(peer, INFO, wrapped)


@curves
def test_a_changed_wrapped_key_blames_nobody(curve: Curve) -> None:
    dealing = fresh(curve, 2, 2)
    holders: list[Holder] = [x_only(curve, share) for share in dealing.shares]
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    whole, faults = agreement(curve, 2, holders)
    for bad in (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), wrapped[:-1], b"", bytes(2048)):
        with pytest.raises(DecryptionFailed):
            whole.unwrap(peer, INFO, bad)
    assert not faults


@pytest.mark.parametrize("answer", [bytes(32), bytes([2]) + bytes(31), bytes(31), b"\xff" * 32])
def test_nonsense_from_a_token_is_its_fault(answer: bytes) -> None:
    with pytest.raises(ShareError, match="holder 4") as caught:
        partial_from_x(CURVE25519, 4, answer)
    assert caught.value.holder == "4"


@pytest.mark.parametrize("name", ["P-256", "P-384"])
def test_zeros_are_no_answer_where_they_are_a_point(name: str) -> None:
    """There is a point of order n with x = 0; a token that answers so has lost its key."""
    curve = curve_named(name)
    assert not lift_x(curve, bytes(curve.size)).is_identity
    with pytest.raises(ShareError, match="holder 4 answered with zeros"):
        partial_from_x(curve, 4, bytes(curve.size))


@curves
def test_a_whole_point_has_the_sign_of_the_point_that_was_asked_about(curve: Curve) -> None:
    """An X25519 token is asked by u alone, and gives the multiple of one of the two points."""
    dealing = fresh(curve, 1, 4)
    point = base_multiple(curve, 4242)
    for share, asked in product(dealing.shares, (point, -point)):
        answer = full(curve, share).partial(asked)
        assert answer == Partial(share.index, multiply(asked, share.scalar), sign_known=True)


@curves
def test_a_whole_point_of_another_key_is_not_taken(curve: Curve) -> None:
    mine, other = fresh(curve, 1, 1).shares[0], fresh(curve, 1, 1).shares[0]
    exchanged = KeyHolder(1, full(curve, other).key, base_multiple(curve, mine.scalar))
    with pytest.raises(ShareError, match="holder 1 holds another key"):
        exchanged.partial(curve.base)


def test_cancelling_results_abort() -> None:
    """2 * Q1 - Q2 for the quorum (1, 2): with Q2 = 2 * Q1 nothing is left."""
    point = base_multiple(CURVE25519, 3)
    balanced = [Partial(1, point, sign_known=True), Partial(2, point + point, sign_known=True)]
    with pytest.raises(ShareError, match="cancel"):
        combined(CURVE25519, balanced)
    assert list(candidates(CURVE25519, balanced)) == []


@given(st.sets(st.integers(1, 15), min_size=1, max_size=15))
def test_integer_weights_are_the_lagrange_factors(indices: set[int]) -> None:
    order, chosen = curve_named("P-256").order, sorted(indices)
    factors, denominator = weights(chosen)
    for index in chosen:
        assert factors[index] * pow(denominator, -1, order) % order == lagrange(order, chosen, index)


@pytest.mark.parametrize("curve", [CURVE25519, CURVE448], ids=str)
def test_an_answer_of_mixed_order_is_its_holders_fault(curve: Curve) -> None:
    dealing = fresh(curve, 1, 2)
    honest = [x_only(curve, share) for share in dealing.shares]
    holders: list[Holder] = [Liar(honest[0], Point(curve, 0, 0)), honest[1]]
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    whole, faults = agreement(curve, 1, holders)
    assert whole.unwrap(peer, INFO, wrapped) == KEY
    assert [(fault.index, type(fault.error)) for fault in faults] == [(1, ShareError)]
    assert "mixed order" in faults[0].error.message


def test_an_answer_of_small_order_is_its_holders_fault() -> None:
    with pytest.raises(ShareError, match="small order"):
        partial_from_x(CURVE448, 3, (CURVE448.p - 1).to_bytes(56, "little"))


@curves
def test_given_answers_combine_with_local_tokens(curve: Curve) -> None:
    dealing = fresh(curve, 2, 3)
    peer, wrapped = wrap_to(curve, dealing.commitments.public, INFO, KEY)
    asked = curve.decode(peer.octets)
    remote = x_only(curve, dealing.shares[2])
    second = blinded_follow_up(asked)
    answers = (remote.partial(asked).point.x_octets(), remote.partial(second.point).point.x_octets())
    holders: list[Holder] = [
        GivenHolder.of(3, remote.share, asked, answers, second),
        x_only(curve, dealing.shares[0]),
    ]
    with pytest.raises(ShareError, match="holder 3"):
        GivenHolder.of(3, remote.share, asked, (answers[1], answers[0]), second)
    assert agreement(curve, 2, holders)[0].unwrap(peer, INFO, wrapped) == KEY
    with pytest.raises(ShareError, match="not asked this"):
        holders[0].partial(asked + curve.base)


def test_results_are_not_shown() -> None:
    assert "point" not in repr(Partial(1, CURVE25519.base, sign_known=True))
    assert "scale" not in repr(blinded_follow_up(CURVE25519.base))
