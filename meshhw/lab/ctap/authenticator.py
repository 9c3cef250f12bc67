"""The authenticator: which command does what (CTAP 2.1 section 6)."""

from __future__ import annotations

import time

from meshhw.keystore import cbor
from meshhw.lab.ctap import extensions, management, status
from meshhw.lab.ctap.assertion import get_assertion
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.client_pin import SHORTEST_PIN, client_pin
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.credential import ALGORITHMS
from meshhw.lab.ctap.lookup import LONGEST_LIST
from meshhw.lab.ctap.make import make_credential
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.state import Lasting, Session
from meshhw.lab.ctap.status import CtapRefusal

LONGEST_MESSAGE = 2048
RESET_SECONDS = 10.0
"""A reset is taken only so soon after the power came."""
MAKE, ASSERT, INFO, PIN, RESET, NEXT_ASSERTION, MANAGE, SELECT = 1, 2, 4, 6, 7, 8, 0x0A, 0x0B


class Authenticator:
    """One authenticator of the model `aaguid`. `restart` is the loss of power."""

    def __init__(
        self, aaguid: bytes, maker: Maker, protocols: tuple[int, ...], transport: str = "nfc"
    ) -> None:
        self._protocols = protocols
        self._transport = transport
        self.context = Context(aaguid, session=Session(protocols))
        self.maker = maker

    def restart(self) -> None:
        """Power was lost and is back."""
        self.context.session = Session(self._protocols)

    def erase(self) -> None:
        """Forget every credential and the PIN."""
        self.context.lasting = Lasting(capacity=self.context.lasting.capacity)
        self.restart()

    def process(self, message: bytes, *, touched: bool) -> bytes:
        """The response: a status octet and CBOR. Raises TouchNeeded when it must be touched first."""
        self.context.touched = touched
        try:
            answer = self._answer(message)
        except CtapRefusal as refusal:
            return bytes([refusal.status])
        return b"\0" + answer

    def _answer(self, message: bytes) -> bytes:
        if not message or len(message) > LONGEST_MESSAGE:
            raise CtapRefusal(status.REQUEST_TOO_LARGE if message else status.INVALID_LENGTH)
        request = Request.parse(message[1:])
        if message[0] == NEXT_ASSERTION or (message[0] == MANAGE and request.get(1, int) in management.NEXT):
            return self._next()
        answer = self._run(message[0], request)
        return cbor.encode(answer) if answer else b""

    def _run(self, command: int, request: Request) -> dict[int, object]:
        context = self.context
        if command == INFO:
            return self._info()
        if command == PIN:
            return client_pin(context, request)
        if command == ASSERT:
            return get_assertion(context, request)
        if command == MAKE:
            return make_credential(context, request, self.maker)
        if command == MANAGE:
            return management.manage(context, request)
        if command == SELECT:
            context.need_touch()
            return {}
        if command == RESET:
            return self._reset()
        raise CtapRefusal(status.INVALID_COMMAND)

    def _next(self) -> bytes:
        if not self.context.session.waiting_answers:
            raise CtapRefusal(status.NOT_ALLOWED)
        return self.context.session.waiting_answers.pop(0)

    def _reset(self) -> dict[int, object]:
        if time.monotonic() - self.context.session.since > RESET_SECONDS:
            raise CtapRefusal(status.NOT_ALLOWED)
        self.context.need_touch()
        self.erase()
        return {}

    def _info(self) -> dict[int, object]:
        lasting = self.context.lasting
        return {
            0x01: ["FIDO_2_0", "FIDO_2_1"],
            0x02: list(extensions.NAMES),
            0x03: self.context.aaguid,
            0x04: {
                "rk": True,
                "up": True,
                "plat": False,
                "credMgmt": True,
                "clientPin": lasting.pin_hash is not None,
                "pinUvAuthToken": True,
                "makeCredUvNotRqd": True,
            },
            0x05: LONGEST_MESSAGE,
            0x06: list(self.context.session.protocols),
            0x07: LONGEST_LIST,
            0x08: 128,
            0x09: [self._transport],
            0x0A: [{"alg": algorithm, "type": "public-key"} for algorithm in ALGORITHMS],
            0x0D: SHORTEST_PIN,
            0x0E: 0x00010000,
            0x14: lasting.capacity - len(lasting.credentials),
        }
