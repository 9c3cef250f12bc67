"""A spare holder is asked beside one that hangs, and no person is asked for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event, Timer

import pytest

from meshhw.algorithms import PublicKey
from meshhw.curves.montgomery import CURVE25519
from meshhw.curves.point import Point
from meshhw.threshold.agreement import Partial
from meshhw.threshold.decrypt import ThresholdAgreement
from tests.threshold.tokens import Other, fresh, wrap_to, x_only

INFO, KEY = b"meshhw/kek/1", bytes(range(32))


@dataclass
class Slow(Other):
    """A holder that needs no person, and does not answer before it is told to."""

    told: Event
    asked: Event
    unattended: bool = True

    def is_unattended(self) -> bool:
        return self.unattended

    def partial(self, point: Point) -> Partial:
        self.asked.set()
        assert self.told.wait(timeout=60)
        return self.honest.partial(point)


def slow(unattended: tuple[bool, bool, bool]) -> tuple[ThresholdAgreement, list[Slow], PublicKey, bytes]:
    """A two-of-three key of holders of which the second and third answer at once."""
    dealing = fresh(CURVE25519, 2, 3)
    holders = [
        Slow(x_only(CURVE25519, share), Event(), Event(), alone)
        for share, alone in zip(dealing.shares, unattended, strict=True)
    ]
    for holder in holders[1:]:
        holder.told.set()
    peer, wrapped = wrap_to(CURVE25519, dealing.commitments.public, INFO, KEY)
    return ThresholdAgreement(CURVE25519, 2, holders, patience=0.2), holders, peer, wrapped


def test_a_spare_is_asked_beside_a_holder_that_hangs() -> None:
    whole, holders, peer, wrapped = slow((True, True, True))
    assert whole.unwrap(peer, INFO, wrapped) == KEY
    assert holders[0].asked.is_set()
    assert not holders[0].told.is_set()
    holders[0].told.set()


@pytest.mark.parametrize("unattended", [(True, True, False), (False, True, True)], ids=["spare", "awaited"])
def test_no_spare_is_asked_where_a_person_has_a_part(unattended: tuple[bool, bool, bool]) -> None:
    """A second prompt would be shown for nothing, and the first would be left standing."""
    whole, holders, peer, wrapped = slow(unattended)
    Timer(1.0, holders[0].told.set).start()
    assert whole.unwrap(peer, INFO, wrapped) == KEY
    assert holders[0].told.is_set()
    assert not holders[2].asked.is_set()
