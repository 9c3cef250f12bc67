"""What can befall an emulated token, by the words of `meshhw lab fault`."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """A fault that lasts until RETURN, or NONE, ends it."""

    PULL = "pull"
    """The token is taken away."""
    RETURN = "return"
    """What was pulled or swapped is itself again."""
    SWAP = "swap"
    """Another token is in its place."""
    LOCK = "lock"
    """Its PIN is locked, as by somebody else's wrong tries."""
    HANG = "hang"
    """It answers nothing any more."""
    SLOW = "slow"
    """Every answer comes late."""
    FULL = "full"
    """It has no room left."""
    CLEAR = "clear"
    """Its keys are erased, as by its owner; this one cannot be undone."""
    BUSY = "busy"
    """Another program holds it."""
    NOTOUCH = "notouch"
    """Nobody touches it."""
    NONE = "none"
    """Every fault is over."""


SLOW_SECONDS = 0.5
"""How late a slow token's answers are."""
