"""How much of an archive is written or extracted, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from io import RawIOBase

from meshhw.dare.read import Sink
from meshhw.dare.segments import Octets

_TOLD_EVERY = 1 << 22
Progress = Callable[[int, int], object]
"""Hears how many octets are done, of how many."""


class Meter:
    """Counts octets that are done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done, self._told = progress, total, 0, 0

    def count(self, octets: int) -> None:
        self._done += octets
        if self._done - self._told >= _TOLD_EVERY or self._done == self._total:
            self._told = self._done
            self._progress(self._done, self._total)

    def over(self, sink: Sink) -> Sink:
        """A sink that counts what goes through it."""

        def counting(piece: Octets) -> None:
            sink(piece)
            self.count(len(piece))

        return counting


class Watched:
    """A file whose reading is counted."""

    def __init__(self, file: RawIOBase, meter: Meter) -> None:
        self._file, self._meter = file, meter

    def read(self, count: int) -> bytes:
        octets = self._file.read(count) or b""
        self._meter.count(len(octets))
        return octets
