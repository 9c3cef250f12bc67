"""Cards plugged and pulled, as PC/SC tells it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from meshhw.keystore.api import TokenEvent
from meshhw.keystore.uri import TokenURI
from meshhw_piv.codes import PcscFault, from_pcsc
from meshhw_piv.discovery import survey
from meshhw_piv.pcsc import Context

LOOK_SECONDS = 2.0


def watch(timeout: float) -> Iterator[TokenEvent]:
    """Each card that comes or goes, until the time is over. Raises DriverUnavailable."""
    end = time.monotonic() + timeout
    try:
        context = Context()
        try:
            known = [(name, 0) for name in context.readers()]
            _, known = context.changes(known, 0)
            present = _present()  # after the states: what comes or goes during the look is a change of them
            while (left := end - time.monotonic()) > 0:
                changed, known = context.changes(known, left)
                if changed:
                    now = _present()
                    yield from (TokenEvent(uri, False) for uri in sorted(present - now, key=str))
                    yield from (TokenEvent(uri, True) for uri in sorted(now - present, key=str))
                    present = now
        finally:
            context.close()
    except PcscFault as fault:
        raise from_pcsc(fault, "PC/SC") from fault


def _present() -> set[TokenURI]:
    return {identity.uri for identity in survey(LOOK_SECONDS).cards}
