"""What can go wrong with the card, planned by a test or by `meshhw lab fault`."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happens to a command."""

    PULL_BEFORE = "pull-before"
    """The card leaves; the command has no effect."""
    PULL_DURING = "pull-during"
    """The command takes effect, its answer is lost with the card."""
    PULL_AFTER = "pull-after"
    """The command is answered, then the card leaves."""
    DELAY = "delay"
    """The answer comes `value` seconds later."""
    HANG = "hang"
    """No answer until `release`."""
    STATUS = "status"
    """The card answers the status word `value` and does nothing."""
    TRUNCATE = "truncate"
    """Only the first `value` octets of the answer's data come."""


@dataclass(slots=True)
class Fault:
    """One kind of trouble for the next `times` commands; `ins` confines it to one instruction."""

    kind: Kind
    value: float = 0
    ins: int | None = None
    times: int = 1


class Faults:
    """The list of planned faults; the first that fits a command is used."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self._lock = threading.Lock()
        self._released = threading.Event()

    def plan(self, kind: Kind, value: float = 0, *, ins: int | None = None, times: int = 1) -> None:
        """Add one."""
        with self._lock:
            self._released.clear()
            self._planned.append(Fault(kind, value, ins, times))

    def clear(self) -> None:
        """Nothing goes wrong any more; what hangs goes on."""
        with self._lock:
            self._planned.clear()
            self._released.set()

    def take(self, ins: int) -> Fault | None:
        """The fault for a command of that instruction."""
        with self._lock:
            for fault in self._planned:
                if fault.ins in (None, ins):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._planned.remove(fault)
                    return fault
        return None

    def wait(self, seconds: float | None = None) -> None:
        """Until that time has passed, or `clear`."""
        self._released.wait(seconds)
