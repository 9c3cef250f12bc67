"""The person at the authenticator: told when it waits for a touch, able to stop the waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fido2.ctap import STATUS

from meshhw.keystore.interaction import Interaction

_POLL = 0.05


class Stop(threading.Event):
    """An event that is also set while the person wants waiting calls to stop."""

    def __init__(self, interaction: Interaction) -> None:
        super().__init__()
        self._interaction = interaction

    def is_set(self) -> bool:
        return super().is_set() or self._interaction.cancelled()

    def wait(self, timeout: float | None = None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _POLL if end is None else end - time.monotonic()
            if left <= 0:
                return False
            super().wait(min(_POLL, left))
        return True


def announce(interaction: Interaction, label: str) -> Callable[[int], None]:
    """A keep-alive listener that says once that a touch is awaited."""
    told = False

    def listen(status: int) -> None:
        nonlocal told
        if status == STATUS.UPNEEDED and not told:
            told = True
            interaction.touch(label)

    return listen
