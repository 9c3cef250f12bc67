"""The task of one holder in a renewal: it opens its copy, helps a new holder, and goes on to a new share.

What holders tell each other goes through the manager, encrypted to a key that each makes for this renewal
alone. The steps are the same for all, in lockstep: greet, give parts, give sums, deal zeros, import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from meshhw.algorithms import Tier
from meshhw.curves.check import decode_checked
from meshhw.curves.named import curve_named
from meshhw.curves.point import Curve, Point
from meshhw.errors import ShareError
from meshhw.managers.threshold.deal import import_share, undone_on_error
from meshhw.managers.threshold.purpose import Place, Purpose, scalar_from, scalar_octets
from meshhw.managers.threshold.tokens import OpenTokens, require_share
from meshhw.threshold.holders import KeyHolder
from meshhw.threshold.renewal import (
    check_zero,
    contributions,
    deal_zero,
    refreshed,
    refreshed_commitments,
    replaced,
    sum_of_parts,
)
from meshhw.threshold.shares import Commitments, Share

Tell = Callable[[Any], Any]


class RenewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What one holder needs to know. `sealed` is its share as its token sealed it; None for a new holder."""

    identifier: bytes
    algorithm: str
    commitments: tuple[bytes, ...]
    generation: int
    """The generation that is renewed."""
    index: int
    token: str
    label: str
    sealed: bytes | None
    signing: bool
    """Whether this is the signing key, whose shares are sealed rather than imported."""
    quorum: tuple[int, ...]
    """Who makes the new holder's share again; empty when nobody is replaced."""
    replaced: int
    """The index of the new holder; 0 for none."""
    holders: tuple[int, ...]
    """Everybody's index."""


def renew(arguments: dict[str, Any], tokens: OpenTokens, tell: Tell) -> dict[str, Any]:
    """Take part in a renewal (`RenewOrder`); the result is the new share's key, tier, point and copy."""
    order = msgspec.convert(arguments, RenewOrder)
    curve = curve_named(order.algorithm)
    points = tuple(decode_checked(curve, octets) for octets in order.commitments)
    holder = _Holder(order, tokens, tell, curve, Commitments(points))
    return holder.run()


@dataclass
class _Holder:
    order: RenewOrder
    tokens: OpenTokens
    tell: Tell
    curve: Curve
    commitments: Commitments
    _box_key: PrivateKey = field(default_factory=PrivateKey.generate, repr=False)
    _boxes: dict[int, Box] = field(default_factory=dict, repr=False)

    def run(self) -> dict[str, Any]:
        share = None if self.order.sealed is None else self._opened(self.order.sealed)
        self._greet()
        if self.order.replaced:
            share = self._replace(share)
        assert share is not None  # a holder without a copy is the one that is made again
        share, commitments = self._refresh(share)
        return self._keep(share, commitments)

    def _opened(self, sealed: bytes) -> Share:
        index = self.order.index
        bound = self._bound(self.commitments, index, self.order.generation)
        secret = self.tokens.sealer(self.order.token).unseal(sealed, bound)
        return Share(index, scalar_from(self.curve, secret))

    def _sealed(self, share: Share, commitments: Commitments) -> bytes:
        bound = self._bound(commitments, share.index, self.order.generation + 1)
        return self.tokens.sealer(self.order.token).seal(scalar_octets(self.curve, share.scalar), bound)

    def _bound(self, commitments: Commitments, index: int, generation: int) -> bytes:
        purpose = Purpose.SIGNING if self.order.signing else Purpose.RENEWAL
        place = Place(index, generation, commitments.share_point(index))
        return purpose.octets(self.order.identifier, commitments.public, place)

    def _greet(self) -> None:
        publics = self.tell({"box": bytes(self._box_key.public_key)})
        self._boxes = {index: Box(self._box_key, PublicKey(key)) for index, key in publics.items()}

    def _replace(self, share: Share | None) -> Share:
        """The quorum makes the share of the new holder; the others only keep step."""
        order, new = self.order, self.order.replaced
        parts: dict[int, int] = {}
        if share is not None and order.index in order.quorum:
            parts = contributions(self.curve, share, order.quorum, new)
        got = self.tell({member: self._to(member, part) for member, part in parts.items()})
        told = {}
        if order.index in order.quorum:
            received = {giver: self._from(giver, octets) for giver, octets in got.items()}
            told[new] = self._to(new, sum_of_parts(self.curve, received))
        sums = self.tell(told)
        if share is not None:
            return share
        values = [self._from(member, octets) for member, octets in sums.items()]
        return replaced(self.curve, new, values, self.commitments)

    def _refresh(self, share: Share) -> tuple[Share, Commitments]:
        threshold = self.commitments.threshold
        zero = deal_zero(self.curve, threshold, self.order.holders)
        values = {value.index: self._to(value.index, value.scalar) for value in zero.shares}
        points = [_encode(point) for point in zero.commitments.points]
        dealt = self.tell({"commitments": points, "values": values})
        mine, theirs = [], []
        for dealer, told in dealt.items():
            committed = Commitments(tuple(_decode(self.curve, octets) for octets in told["commitments"]))
            value = Share(share.index, self._from(dealer, told["value"]))
            check_zero(self.curve, value, committed, threshold)
            mine.append(value)
            theirs.append(committed)
        return refreshed(self.curve, share, mine), refreshed_commitments(self.commitments, theirs)

    def _keep(self, share: Share, commitments: Commitments) -> dict[str, Any]:
        point = commitments.share_point(share.index)
        self.tell({"share": point.encode()})
        told = {
            "index": share.index,
            "share": point.encode(),
            "commitments": [committed.encode() for committed in commitments.points],
        }
        if self.order.signing:
            told |= {"sealed": self._sealed(share, commitments), "tier": Tier.SEALED.value, "key": None}
            self.tell(told)
            return told
        with undone_on_error(self.tokens) as made:
            key = import_share(self.tokens, self.order.token, self.curve, share, self.order.label)
            made.append(str(key.uri))
            self.tell({"key": str(key.uri)})
            require_share(KeyHolder(share.index, key, point))
            told |= {"sealed": self._sealed(share, commitments), "tier": key.tier.value, "key": str(key.uri)}
            self.tell(told)  # the manager answers when everybody has come this far
            return told

    def _to(self, index: int, scalar: int) -> bytes:
        return bytes(self._boxes[index].encrypt(scalar_octets(self.curve, scalar)))

    def _from(self, index: int, octets: bytes) -> int:
        try:
            scalar = int.from_bytes(self._boxes[index].decrypt(octets), "little")
        except CryptoError as error:
            raise ShareError(f"what holder {index} sent was changed", holder=str(index)) from error
        return scalar % self.curve.order


def _encode(point: Point) -> bytes:
    """A zero polynomial's first commitment is the neutral element, which has no encoding everywhere."""
    return b"" if point.is_identity else point.encode()


def _decode(curve: Curve, octets: bytes) -> Point:
    return decode_checked(curve, octets) if octets else curve.identity
