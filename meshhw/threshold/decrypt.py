"""A threshold decryption key at work: unwrapping with the fewest questions, agreeing for certain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from meshhw.algorithms import PublicKey
from meshhw.curves.check import decode_checked
from meshhw.curves.point import Curve, Point
from meshhw.errors import DecryptionFailed
from meshhw.threshold.agreement import Partial, candidates, combined
from meshhw.threshold.followup import blinded_follow_up, plain_follow_up
from meshhw.threshold.holders import PATIENCE, Fault, GivenHolder, Holder, gather

MAX_TRIAL = 8
"""Beyond this threshold 2^(t-1) candidates cost more than a second question to each token."""
_MAX_WRAPPED = 1024


def ignore(_: Fault) -> None:
    """Forget a fault that others made good."""


@dataclass(frozen=True, slots=True)
class ThresholdAgreement:
    """Any `threshold` of `holders` together agree as the owner of the whole key would.

    `report` is told of every holder that failed or lied, whether or not the others made it good.
    """

    curve: Curve
    threshold: int
    holders: Sequence[Holder]
    report: Callable[[Fault], None] = ignore
    patience: float = PATIENCE
    """Seconds after which a spare is asked beside a holder that hangs, if neither needs a person."""
    additive: bool = False
    """Whether the shares add up to the key, all of them, without Lagrange factors (a dealerless key)."""

    def unwrap(self, peer: PublicKey, kdf_info: bytes, wrapped: bytes) -> bytes:
        """RFC 3394 unwrap under HKDF-SHA-512(agreement, no salt, kdf_info, 32): one question to each of t
        tokens.

        Only if no candidate fits are they asked again, to name who answered wrongly; another holder then
        takes that one's place. Raises InvalidPublicKey before any token is asked, TokenNotFound when too few
        are left, DecryptionFailed when the wrapped key is not for this one.
        """
        point = decode_checked(self.curve, peer.octets)
        if len(wrapped) > _MAX_WRAPPED or len(wrapped) % 8 or len(wrapped) < 24:
            raise DecryptionFailed("the wrapped key has an impossible length")
        if self.threshold > MAX_TRIAL:
            return _unwrap(self.agree_point(peer, blinded=True).x_octets(), kdf_info, wrapped)
        answers = list(self._gather(self.holders, lambda holder: holder.partial(point)))
        for shared in self._candidates([partial for _, partial in answers]):
            key = _try_unwrap(shared, kdf_info, wrapped)
            if key is not None:
                return key
        return _unwrap(self._verified(point, answers), kdf_info, wrapped)

    def agree_point(self, peer: PublicKey, *, blinded: bool = False) -> Point:
        """The agreed point without any check value: two questions to each of t tokens.

        Raises InvalidPublicKey before any token is asked, TokenNotFound when too few answer rightly.
        """
        point = decode_checked(self.curve, peer.octets)
        settled = self._gather(self.holders, lambda holder: _settle(holder, point, blinded=blinded))
        return self._combined([partial for _, partial in settled])

    def _gather(
        self, holders: Sequence[Holder], ask: Callable[[Holder], Partial]
    ) -> Iterator[tuple[Holder, Partial]]:
        return gather(holders, self.threshold, ask, self.report, self.patience)

    def _candidates(self, partials: Sequence[Partial]) -> Iterator[bytes]:
        return candidates(self.curve, partials, additive=self.additive)

    def _combined(self, partials: Sequence[Partial]) -> Point:
        return combined(self.curve, partials, additive=self.additive)

    def _verified(self, point: Point, answers: Sequence[tuple[Holder, Partial]]) -> bytes:
        """The agreement by holders that pass the blinded question; those that answered are asked first."""
        first = {holder.index: partial for holder, partial in answers}
        spare = [holder for holder in self.holders if holder.index not in first]
        settled = self._gather(
            [*(holder for holder, _ in answers), *spare],
            lambda holder: _settle(holder, point, blinded=True, earlier=first.get(holder.index)),
        )
        return self._combined([partial for _, partial in settled]).x_octets()


def _settle(holder: Holder, point: Point, *, blinded: bool, earlier: Partial | None = None) -> Partial:
    """One holder's partial result with its sign for certain. An answer from elsewhere was settled when it
    came.
    """
    if isinstance(holder, GivenHolder):
        return holder.partial(point)
    partial = holder.partial(point) if earlier is None else earlier
    follow_up = blinded_follow_up(point) if blinded else plain_follow_up(point)
    answer = holder.partial(follow_up.point).point.x_octets()
    return follow_up.settle(partial, holder.share, answer)


def _try_unwrap(shared: bytes, kdf_info: bytes, wrapped: bytes) -> bytes | None:
    key_encryption_key = HKDF(SHA512(), 32, salt=None, info=kdf_info).derive(shared)
    try:
        return aes_key_unwrap(key_encryption_key, wrapped)
    except InvalidUnwrap:
        return None


def _unwrap(shared: bytes, kdf_info: bytes, wrapped: bytes) -> bytes:
    key = _try_unwrap(shared, kdf_info, wrapped)
    if key is None:
        raise DecryptionFailed("the wrapped key is not for this threshold key, or was changed")
    return key
