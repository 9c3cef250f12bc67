"""The authenticator on a contactless card: CTAP over ISO 7816 (CTAP 2.1 section 11.3)."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from meshhw.lab.ctap import status
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.authenticator import Authenticator
from meshhw.lab.ctap.model import MODELS, Model
from meshhw.lab.ctap.state import Finger, TouchNeeded
from meshhw.lab.faulty_card import FaultyCard
from meshhw.lab.piv import apdu
from meshhw.lab.piv.apdu import CardError, Chaining, Command

AID = bytes.fromhex("a0000006472f0001")
ATR = bytes.fromhex("3b88800143544150636172641b")
SELECT, MESSAGE, GET_STATUS = 0xA4, 0x10, 0x11
POLLED = 0x80
CANCEL = 0x11
UP_NEEDED = 2
KEEPALIVE = 0x9100
_CLASS = 0x80


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A command that waits for a touch."""

    message: bytes
    since: float = field(default_factory=time.monotonic)


class CtapCard(FaultyCard):
    """A virtual FIDO2 card to be put into a reader (`CardLink`), or driven directly by `transmit`.

    Cards of one `maker` are of one model; `commands` holds the CTAP command of every message received.
    """

    def __init__(
        self,
        maker: Maker | None = None,
        aaguid: bytes | None = None,
        model: str | Model = "2.1",
    ) -> None:
        super().__init__()
        self.aaguid = aaguid or secrets.token_bytes(16)
        self.model = MODELS[model] if isinstance(model, str) else model
        self.authenticator = Authenticator(self.aaguid, maker or Maker(self.aaguid), self.model)
        self.finger = Finger()
        self.commands: list[int] = []
        self.refusals: list[int] = []
        """CTAP statuses that the next messages are answered with, whatever they ask."""
        self._chaining = Chaining()
        self._selected = False
        self._waiting: _Waiting | None = None

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        return ATR

    def reset(self) -> None:
        """Power lost or reset."""
        self._selected, self._waiting = False, None
        self._chaining.reset()
        self.authenticator.restart()

    def respond(self, octets: bytes) -> bytes:
        """The answer of a card that nothing befalls."""
        try:
            command = apdu.parse(octets)
            if command.ins == apdu.GET_RESPONSE:
                return self._chaining.more()
            whole = self._chaining.join(command)
            if whole is None:
                return apdu.OK.to_bytes(2, "big")
            return self._process(whole)
        except CardError as error:
            return error.status.to_bytes(2, "big")

    def _process(self, command: Command) -> bytes:
        if command.ins == SELECT and command.p1 == 0x04:
            return self._select(command)
        if not self._selected:
            raise CardError(apdu.UNKNOWN_INSTRUCTION)
        if command.cla != _CLASS:
            raise CardError(apdu.CLASS_UNKNOWN)
        if command.ins == MESSAGE:
            self.commands.append(command.data[0] if command.data else 0)
            return self._begin(command)
        if command.ins == GET_STATUS and self._waiting is not None:
            return self._go_on(self._waiting, command)
        raise CardError(apdu.UNKNOWN_INSTRUCTION)

    def _select(self, command: Command) -> bytes:
        if not AID.startswith(command.data) or not command.data:
            self._selected = False
            raise CardError(apdu.NOT_FOUND)
        self._selected, self._waiting = True, None
        return self._chaining.cut(b"FIDO_2_0", command.extended)

    def _begin(self, command: Command) -> bytes:
        self._waiting = None
        if self.refusals:
            return self._chaining.cut(bytes([self.refusals.pop(0)]), command.extended)
        try:
            answer = self.authenticator.process(command.data, touched=False)
        except TouchNeeded:
            self.finger.waits += 1
            waiting = _Waiting(command.data)
            if not command.p1 & POLLED:  # the platform will not ask again, so it has to wait here
                time.sleep(min(self.finger.delay, self.finger.patience))
            return self._go_on(waiting, command)
        return self._chaining.cut(answer, command.extended)

    def _go_on(self, waiting: _Waiting, command: Command) -> bytes:
        waited = time.monotonic() - waiting.since
        self._waiting = None
        if command.ins == GET_STATUS and command.p1 == CANCEL:
            answer = bytes([status.KEEPALIVE_CANCEL])
        elif self.finger.touched(waited):
            answer = self.authenticator.process(waiting.message, touched=True)
        elif waited >= self.finger.patience or not (command.ins == GET_STATUS or command.p1 & POLLED):
            answer = bytes([status.USER_ACTION_TIMEOUT])
        else:
            self._waiting = waiting
            return bytes([UP_NEEDED]) + KEEPALIVE.to_bytes(2, "big")
        return self._chaining.cut(answer, command.extended)
