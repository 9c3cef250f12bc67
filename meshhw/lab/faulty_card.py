"""What can befall any emulated card on the way of one command: see `meshhw.lab.piv.faults`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from meshhw.lab.card_link import CardGone
from meshhw.lab.piv.faults import Fault, Faults, Kind


class FaultyCard(ABC):
    """A card with a plan of faults; a subclass answers when there is none.

    `log` holds the instruction octet of every APDU received.
    """

    def __init__(self) -> None:
        self.faults = Faults()
        self.log: list[int] = []

    @abstractmethod
    def respond(self, octets: bytes) -> bytes:
        """The answer of a card that nothing befalls."""

    def transmit(self, command: bytes) -> bytes:
        """Answer a command APDU. Raises CardGone when a fault takes the card away."""
        ins = command[1] if len(command) > 1 else 0
        self.log.append(ins)
        fault = self.faults.take(ins)
        if fault is None:
            return self.respond(command)
        return _FAULTY[fault.kind](self, fault, command)

    def _pull_before(self, _: Fault, command: bytes) -> bytes:
        raise CardGone

    def _pull_during(self, _: Fault, command: bytes) -> bytes:
        self.respond(command)
        raise CardGone

    def _pull_after(self, _: Fault, command: bytes) -> bytes:
        raise CardGone(self.respond(command))

    def _delay(self, fault: Fault, command: bytes) -> bytes:
        self.faults.wait(fault.value)
        return self.respond(command)

    def _hang(self, _: Fault, command: bytes) -> bytes:
        self.faults.wait()
        return self.respond(command)

    def _refuse(self, fault: Fault, _: bytes) -> bytes:
        return int(fault.value).to_bytes(2, "big")

    def _truncate(self, fault: Fault, command: bytes) -> bytes:
        answer = self.respond(command)
        return answer[:-2][: int(fault.value)] + answer[-2:]


_FAULTY: dict[Kind, Callable[[FaultyCard, Fault, bytes], bytes]] = {
    Kind.PULL_BEFORE: FaultyCard._pull_before,
    Kind.PULL_DURING: FaultyCard._pull_during,
    Kind.PULL_AFTER: FaultyCard._pull_after,
    Kind.DELAY: FaultyCard._delay,
    Kind.HANG: FaultyCard._hang,
    Kind.STATUS: FaultyCard._refuse,
    Kind.TRUNCATE: FaultyCard._truncate,
}
