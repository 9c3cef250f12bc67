"""Where each frame begins: an array beside the sequence, derived from it and never believed over it.

File form: 8 octets `meshidx1`, the 16 octets of the SequenceId, then one position of 8 octets (big-endian) a
frame. What it says is checked against the frame that is reached, which carries its own Index.
"""

from __future__ import annotations

import os
import sys
from array import array
from contextlib import suppress
from pathlib import Path

_MAGIC = b"meshidx1"
_HEADER = len(_MAGIC) + 16
_WIDTH = 8


class Positions:
    """The positions of a sequence's frames, in order."""

    def __init__(self, path: Path | None, identity: bytes) -> None:
        """Those of the sequence at `path`; without one they are kept in memory alone."""
        self._path = path.with_name(path.name + ".idx") if path else None
        self._head = _MAGIC + identity.ljust(16, b"\0")
        self._array = array("Q")
        self._stored = -1
        """Entries that the file holds; -1 when it must be written anew."""

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: int) -> int:
        return self._array[index]

    def append(self, position: int) -> None:
        """The next frame begins here."""
        self._array.append(position)

    def truncate(self, count: int) -> None:
        """Forget all frames from this index on."""
        del self._array[count:]
        if self._stored > count:
            self._stored = -1

    def load(self) -> None:
        """Read the file; a missing, foreign or damaged one leaves nothing."""
        if self._path is None:
            return
        with suppress(OSError):
            octets = self._path.read_bytes()
            if octets.startswith(self._head):
                whole = (len(octets) - _HEADER) // _WIDTH
                self._array = array("Q", octets[_HEADER : _HEADER + whole * _WIDTH])
                if sys.byteorder == "little":
                    self._array.byteswap()
                self._stored = whole if _HEADER + whole * _WIDTH == len(octets) else -1

    def store(self) -> None:
        """Write what is new. A file that cannot be written is no fault: it is rebuilt when it is needed."""
        if self._path is None or self._stored == len(self._array):
            return
        fresh = self._array[max(self._stored, 0) :]
        if sys.byteorder == "little":
            fresh.byteswap()
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if self._stored < 0 else os.O_APPEND)
        with suppress(OSError):
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, (self._head if self._stored < 0 else b"") + fresh.tobytes())
            finally:
                os.close(descriptor)
            self._stored = len(self._array)
