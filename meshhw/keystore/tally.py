"""How often a token was called: a running count, for drivers whose tokens are `CountsCalls`."""

from __future__ import annotations

from collections.abc import Callable


class Tally:
    """Calls of this process to one token."""

    def __init__(self) -> None:
        self.total = 0

    def note(self) -> None:
        """Count one call."""
        self.total += 1

    def during(self, work: Callable[[], object]) -> int:
        """How many were counted while `work` ran. Raises what it raises."""
        before = self.total
        work()
        return self.total - before
