"""What every instruction of the PIV applet works on, and the finger that touches the card."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from meshhw.lab.piv.apdu import SECURITY_NOT_SATISFIED, CardError
from meshhw.lab.piv.state import Lasting, Session

PATIENCE = 15.0
"""Seconds that a YubiKey waits for a touch."""


class Finger:
    """The person at the card. `waits` counts how often the card blinked."""

    def __init__(self, delay: float = 0.0, patience: float = PATIENCE) -> None:
        self.willing = True
        self.delay = delay
        self.patience = patience
        self.waits = 0
        self._given_up = threading.Event()

    def wait(self) -> bool:
        """Blink until touched. False when nobody touched in time."""
        self.waits += 1
        self._given_up.clear()
        if self.willing and self.delay < self.patience:
            return not self._given_up.wait(self.delay)
        self._given_up.wait(self.patience)
        return False

    def give_up(self) -> None:
        """End the waiting at once (the card loses its power)."""
        self._given_up.set()


@dataclass(slots=True)
class Context:
    """The card's memory, the session's, and the finger."""

    lasting: Lasting
    finger: Finger
    session: Session = field(default_factory=Session)

    def need_management(self) -> None:
        """Raises CardError (6982) unless the management key was proven."""
        if not self.session.managed:
            raise CardError(SECURITY_NOT_SATISFIED)

    def need_touch(self) -> None:
        """Raises CardError (6982) when the touch does not come."""
        if not self.finger.wait():
            raise CardError(SECURITY_NOT_SATISFIED)
