"""Waiting for what another thread or process does, with a deadline that no machine is too slow for."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 30.0


def until(true: Callable[[], object], seconds: float = SECONDS) -> None:
    """Return as soon as `true()` is; fail when it never is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so within {seconds:g} s"
        time.sleep(0.01)
