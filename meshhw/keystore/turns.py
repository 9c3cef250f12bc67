"""Turns at a reader, for the drivers of one process that look into the same ones, and for several processes.

PC/SC keeps programs apart, but whoever finds a card in use asks again only after 100 ms. Drivers that list
their tokens at the same time would meet in every reader; they wait for each other here, which takes no time.
And a program that uses a card again and again would keep all others out: they stand in a queue.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakSet

from meshhw import files
from meshhw.errors import MeshError
from meshhw.keystore.home import state_directory

PATIENCE = 3.0
"""Seconds after which a driver goes on: whoever has the turn may wait for a card that answers nothing."""

_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_lock = threading.Lock()


@contextmanager
def turn(reader: str) -> Iterator[None]:
    """Within, no other driver of this process looks into that reader, as far as patience goes."""
    with _lock:
        mine = _turns[reader]
    got = mine.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        if got:
            mine.release()


class Queue:
    """The queue of this home's programs at one reader. Programs of others, and of a home that was not made
    yet, are no part of it.
    """

    def __init__(self, reader: str) -> None:
        self._name = hashlib.sha256(reader.encode()).hexdigest()[:16]
        self._held: list[int] = []
        _queues.add(self)

    def join(self) -> None:
        """Wait for the turn, for ever if need be: who waits has the door, so that nobody has two turns while
        another waits.
        """
        if not state_directory().is_dir():
            return
        with suppress(MeshError, OSError):  # without a queue PC/SC still keeps programs apart
            place = files.private_directory(state_directory() / "turns")
            for lock in ("door", "turn"):
                self._held.append(os.open(place / f"{self._name}.{lock}", os.O_CREAT | os.O_RDWR, 0o600))
                fcntl.flock(self._held[-1], fcntl.LOCK_EX)
            os.close(self._held.pop(0))

    def leave(self) -> None:
        """Let the next one have the turn; who has none may leave, too."""
        while self._held:
            os.close(self._held.pop())


_queues: WeakSet[Queue] = WeakSet()


def _after_fork() -> None:
    """A turn is its process's own: a child that kept the descriptor would keep the turn."""
    for queue in list(_queues):
        queue.leave()


os.register_at_fork(after_in_child=_after_fork)
