"""Asking a holder to prove, with a fresh point, that it holds the share that its public point says."""

from __future__ import annotations

import hmac

from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.scalar import field_of
from meshhw.threshold.holders import Holder


def answers_challenge(holder: Holder) -> bool:
    """Whether s * (cB) and c * Y have the same x for a fresh secret c. Raises what the token raises."""
    curve = holder.share.curve
    challenge = field_of(curve).random()
    answer = holder.partial(base_multiple(curve, challenge)).point
    return hmac.compare_digest(answer.x_octets(), multiply(holder.share, challenge).x_octets())
