"""A digest that is computed beside the cipher: hashing is the slower, and releases the interpreter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Self

_AHEAD = 4
_WORTH_A_THREAD = 1 << 16


class BackgroundDigest:
    """SHA-512 (or another digest) of octets that are handed over in pieces, on a thread of its own.

    At most four pieces wait. The thread starts with the first large piece, and ends with the context.
    """

    def __init__(self, algorithm: str = "sha512") -> None:
        self._digest = hashlib.new(algorithm)
        self._queue: Queue[bytes | None] = Queue(_AHEAD)
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._join()

    def update(self, piece: bytes) -> None:
        """Add octets."""
        if self._thread is None:
            if len(piece) < _WORTH_A_THREAD:
                self._digest.update(piece)
                return
            self._thread = Thread(target=self._work, name="meshhw-digest", daemon=True)
            self._thread.start()
        self._queue.put(piece)

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, digested on their way."""
        for piece in pieces:
            self.update(piece)
            yield piece

    def digest(self) -> bytes:
        """The digest of everything so far."""
        self._join()
        return self._digest.digest()

    def _work(self) -> None:
        while (piece := self._queue.get()) is not None:
            self._digest.update(piece)

    def _join(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
