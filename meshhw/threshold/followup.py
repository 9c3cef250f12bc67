"""The second question to a holder, which tells its answer's sign for certain, and a liar from an honest
token.

With Y = s * B the holder's public share, s * (a*P + r*B) = a * (s*P) + r*Y for any a and r. The plain form
takes a = r = 1 and finds the sign and any accidental fault. The blinded form takes both at random and
secret: then nobody who does not know s can answer so that both answers fit each other and Y.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from meshhw.curves.check import has_prime_order
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.point import Point
from meshhw.curves.scalar import field_of
from meshhw.threshold.agreement import Partial, faulty


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A second question: the point to ask about, and the secret a and r that it was made with."""

    point: Point
    scale: int = field(repr=False)
    shift: int = field(repr=False)

    def settle(self, partial: Partial, share: Point, answer: bytes) -> Partial:
        """The partial result with its sign, by the holder's answer (x octets) to the second question.

        Raises ShareError, naming the holder, when the answers do not fit each other and the public share.
        """
        if not has_prime_order(partial.point):
            raise faulty(partial.index, "answered with a point of mixed order")
        scaled, shifted = multiply(partial.point, self.scale), multiply(share, self.shift)
        fitting = [
            point
            for point, expected in ((partial.point, scaled + shifted), (-partial.point, shifted - scaled))
            if not expected.is_identity and hmac.compare_digest(expected.x_octets(), answer)
        ]
        if len(fitting) != 1:
            raise faulty(partial.index, "gave two answers that do not fit its public share")
        return Partial(partial.index, fitting[0], sign_known=True)


def plain_follow_up(point: Point) -> FollowUp:
    """Ask about P + B, or P + 2B where P + B is the neutral element or of small order (P = -B)."""
    base = point.curve.base
    if has_prime_order(point + base):
        return FollowUp(point + base, 1, 1)
    return FollowUp(point + base + base, 1, 2)


def blinded_follow_up(point: Point) -> FollowUp:
    """Ask about a*P + r*B with fresh secret a and r. It has no excluded points and convicts a liar."""
    numbers = field_of(point.curve)
    while True:
        scale, shift = numbers.random(), numbers.random()
        second = multiply(point, scale) + base_multiple(point.curve, shift)
        if not second.is_identity:
            return FollowUp(second, scale, shift)
