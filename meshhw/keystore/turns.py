"""Turns at a reader, for the drivers of one process that look into the same ones.

PC/SC keeps programs apart, but whoever finds a card in use asks again only after 100 ms. Drivers that list
their tokens at the same time would meet in every reader; they wait for each other here, which takes no time.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

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
