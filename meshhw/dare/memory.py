"""Memory that is used again: what is new to the process costs as much as the cipher."""

from __future__ import annotations

from collections import deque


class Memory:
    """Room for batches: new, or that of the batch `keep` + 1 before."""

    def __init__(self, keep: int | None) -> None:
        self._keep = keep
        self._used: deque[bytearray] = deque()

    def room(self, length: int) -> memoryview:
        """Room for that many octets."""
        if self._keep is None:
            return memoryview(bytearray(length))
        used = self._used.popleft() if len(self._used) > self._keep else b""
        octets = used if isinstance(used, bytearray) and len(used) >= length else bytearray(length)
        self._used.append(octets)
        return memoryview(octets)[:length]
