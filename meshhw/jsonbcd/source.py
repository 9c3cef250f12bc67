"""A stream of octets that can be looked at before it is taken, and knows its position."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import BinaryIO

from meshhw.errors import FormatError

_SPACE = re.compile(rb"[ \t\r\n]*")
_GREATEST_SPACE = 0x20
_REFILL = 1 << 16


def fill(stream: BinaryIO, room: memoryview) -> int:
    """Read into `room`; how many octets, fewer than it takes only at the end: pipes give what they have."""
    readinto: Callable[[memoryview], int | None] | None = getattr(stream, "readinto", None)
    done = 0
    while done < len(room):
        if readinto is not None:
            count = readinto(room[done:]) or 0
        else:
            octets = stream.read(len(room) - done)
            count = len(octets)
            room[done : done + count] = octets
        if not count:
            break
        done += count
    return done


class Source:
    """Buffered reading of one stream. `budget` is how many octets may be taken, beside those of `some`."""

    def __init__(self, octets: bytes | BinaryIO, budget: int) -> None:
        self._stream: BinaryIO = io.BytesIO() if isinstance(octets, bytes) else octets
        self._buffer = octets if isinstance(octets, bytes) else b""
        self._at = 0
        self._before = 0
        self._budget = budget
        self.seen: bytearray | None = None
        """When set, collects what is taken; `some` and `some_until` are not collected."""

    @property
    def position(self) -> int:
        """The octet that is read next, from 0."""
        return self._before + self._at

    def fail(self, message: str) -> FormatError:
        """The error of this position."""
        return FormatError(message, position=self.position)

    def peek(self) -> int:
        """The next octet, -1 at the end."""
        if self._at == len(self._buffer) and not self._refill():
            return -1
        return self._buffer[self._at]

    def space(self) -> int:
        """Pass over white space; the next octet, -1 at the end."""
        if self._at < len(self._buffer) and (octet := self._buffer[self._at]) > _GREATEST_SPACE:
            return octet  # nothing to pass over, as most of the time
        while True:
            passed = _SPACE.match(self._buffer, self._at)
            end = passed.end() if passed else self._at
            self.spend(end - self._at)
            self._collect(self._buffer[self._at : end])
            self._at = end
            if end < len(self._buffer):
                return self._buffer[end]
            if not self._refill():
                return -1

    def take(self, count: int) -> bytes:
        """Exactly `count` octets. Raises FormatError at an early end or over the budget."""
        self.spend(count)
        end = self._at + count
        if end <= len(self._buffer):
            taken = self._buffer[self._at : end]
            self._at = end
            if self.seen is not None:
                self.seen += taken
            return taken
        parts, missing = [], count
        while missing:
            part = self.some(missing)
            if not part:
                raise self.fail(f"the data ends {missing} octets too early")
            parts.append(part)
            missing -= len(part)
        taken = b"".join(parts)
        self._collect(taken)
        return taken

    def some(self, count: int) -> bytes:
        """1 to `count` octets, none at the end. Outside the budget: for streamed chunks."""
        if self._at == len(self._buffer):
            if count >= _REFILL:
                self._before += len(self._buffer)
                self._buffer, self._at = b"", 0
                part = self._stream.read(count)
                self._before += len(part)
                return part
            if not self._refill():
                return b""
        part = self._buffer[self._at : self._at + count]
        self._at += len(part)
        return part

    def some_into(self, room: memoryview) -> int:
        """The same into `room`, as many octets as it takes; tells how many, fewer only at the end."""
        taken = self._buffer[self._at : self._at + len(room)]
        room[: len(taken)] = taken
        self._at += len(taken)
        if len(taken) == len(room):
            return len(taken)
        self._before += len(self._buffer)
        self._buffer, self._at = b"", 0
        fresh = fill(self._stream, room[len(taken) :])
        self._before += fresh
        return len(taken) + fresh

    def until(self, stops: re.Pattern[bytes]) -> bytes:
        """The octets before the next match of `stops`, which is not taken. Raises FormatError at the end."""
        parts = []
        found = False
        while not found:
            part, found = self.some_until(stops)
            self.spend(len(part))
            self._collect(part)
            parts.append(part)
        return b"".join(parts)

    def some_until(self, stops: re.Pattern[bytes]) -> tuple[bytes, bool]:
        """The next octets up to a match of `stops`, and whether it was reached. Outside the budget."""
        if self._at == len(self._buffer) and not self._refill():
            raise self.fail("the data ends inside a string")
        found = stops.search(self._buffer, self._at)
        end = found.start() if found else len(self._buffer)
        part = self._buffer[self._at : end]
        self._at = end
        return part, found is not None

    def spend(self, count: int) -> None:
        """Count octets against the budget. Raises FormatError when it is used up."""
        if count > self._budget:
            raise self.fail("the document is larger than its limit")
        self._budget -= count

    def _collect(self, taken: bytes) -> None:
        if self.seen is not None:
            self.seen += taken

    def _refill(self) -> bool:
        fresh = self._stream.read(_REFILL)
        if not fresh:
            return False
        self._before += len(self._buffer)
        self._buffer, self._at = fresh, 0
        return True
