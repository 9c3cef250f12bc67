"""Tokens plugged and pulled.

Few modules tell of it themselves (C_WaitForSlotEvent), so all are looked at again and again; a look at a list
of slots costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from meshhw.keystore.api import TokenEvent
from meshhw.keystore.uri import TokenURI
from meshhw_pkcs11 import discovery, modules

EVERY = 0.25
"""Seconds between two looks."""


def watch(timeout: float) -> Iterator[TokenEvent]:
    """Each token that comes or goes, until the time is over."""
    end = time.monotonic() + timeout
    present = _present()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(EVERY, left))
        now = _present()
        yield from (TokenEvent(uri, False) for uri in sorted(present - now, key=str))
        yield from (TokenEvent(uri, True) for uri in sorted(now - present, key=str))
        present = now


def _present() -> set[TokenURI]:
    return {found.uri for found in discovery.listed(modules.configured())}
