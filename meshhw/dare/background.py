"""Work beside the cipher, on a thread of its own: digesting and writing, which release the interpreter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from meshhw.dare.segments import Octets

_Piece = TypeVar("_Piece", bound=Octets)
AHEAD = 4
KEEP = AHEAD + 1
"""So many pieces may be handed over after one before the work with it is certainly done."""
_WORTH_A_THREAD = 1 << 16


class Beside:
    """Does `work` with octets that are handed over in pieces, in their order.

    At most four pieces wait. The thread starts with the first large piece, and ends with the context. What
    the work raises is raised by the next call.
    """

    def __init__(self, work: Callable[[Octets], object], *, threaded: bool = True) -> None:
        """Not `threaded`, it is done at once: who works on several files has a thread for each."""
        self._work, self._threaded = work, threaded
        self._queue: SimpleQueue[Octets | None]
        self._room: SimpleQueue[None]  # what has a limit of its own, queue.Queue, takes 20 times as long
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def hand_over(self, piece: Octets) -> None:
        """One piece more."""
        if self._thread is None:
            if len(piece) < _WORTH_A_THREAD or not self._threaded:
                self._work(piece)
                return
            self._queue, self._room = SimpleQueue(), SimpleQueue()
            for _ in range(AHEAD):
                self._room.put(None)
            self._thread = Thread(target=self._run, name="meshhw-beside", daemon=True)
            self._thread.start()
        self._raise()
        self._room.get()
        self._queue.put(piece)

    def join(self) -> None:
        """Wait until all pieces are done."""
        self._end()
        self._raise()

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            self._room.put(None)
            if self._error is None:
                try:
                    self._work(piece)
                except Exception as error:
                    self._error = error

    def _end(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class BackgroundDigest(Beside):
    """SHA-512 (or another digest) of octets that are handed over in pieces: it is slower than the cipher."""

    def __init__(self, algorithm: str = "sha512", *, threaded: bool = True) -> None:
        self._digest = hashlib.new(algorithm)
        super().__init__(self._digest.update, threaded=threaded)

    def update(self, piece: Octets) -> None:
        """Add octets."""
        self.hand_over(piece)

    def through(self, pieces: Iterable[_Piece]) -> Iterator[_Piece]:
        """The same pieces, digested on their way."""
        for piece in pieces:
            self.hand_over(piece)
            yield piece

    def digest(self) -> bytes:
        """The digest of everything so far."""
        self.join()
        return self._digest.digest()


class BackgroundWriter(Beside):
    """Writes to a stream what it is given. `join` before the stream is used otherwise."""

    def __init__(self, target: BinaryIO) -> None:
        super().__init__(target.write)

    def write(self, piece: Octets) -> None:
        """Write octets, some time."""
        self.hand_over(piece)
