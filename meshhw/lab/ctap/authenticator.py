"""The authenticator: which command does what (CTAP 2.1 section 6)."""

from __future__ import annotations

import time

from meshhw.keystore import cbor
from meshhw.lab.ctap import management, status
from meshhw.lab.ctap.assertion import get_assertion
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.client_pin import client_pin
from meshhw.lab.ctap.context import Context
from meshhw.lab.ctap.credential import ALGORITHMS
from meshhw.lab.ctap.lookup import LONGEST_LIST
from meshhw.lab.ctap.make import make_credential
from meshhw.lab.ctap.model import Model
from meshhw.lab.ctap.request import Request
from meshhw.lab.ctap.state import Lasting, Session
from meshhw.lab.ctap.status import CtapRefusal

LONGEST_MESSAGE = 2048
RESET_SECONDS = 10.0
"""A reset is taken only so soon after the power came."""
MAKE, ASSERT, INFO, PIN, RESET, NEXT_ASSERTION, SELECT = 1, 2, 4, 6, 7, 8, 0x0B
FIRST = ("FIDO_2_0",)
"""The versions of an authenticator that tells no more of itself than CTAP 2.0 has."""


class Authenticator:
    """One authenticator of the model `aaguid`. `restart` is the loss of power."""

    def __init__(self, aaguid: bytes, maker: Maker, model: Model, transport: str = "nfc") -> None:
        self._transport = transport
        self.context = Context(aaguid, model, session=Session(model.protocols))
        self.context.lasting.pin_must_change = model.pin_must_change
        self.maker = maker

    def restart(self) -> None:
        """Power was lost and is back."""
        self.context.session = Session(self.context.model.protocols)

    def erase(self) -> None:
        """Forget every credential and the PIN."""
        fresh = Lasting(capacity=self.context.lasting.capacity)
        fresh.pin_must_change = self.context.model.pin_must_change
        self.context.lasting = fresh
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
        manages = message[0] == self.context.model.management
        if message[0] == NEXT_ASSERTION or (manages and request.get(1, int) in management.NEXT):
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
        if command == context.model.management and context.model.manages:
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
        lasting, model = self.context.lasting, self.context.model
        told: dict[int, object] = {
            0x01: list(model.versions),
            0x02: list(model.extensions),
            0x03: self.context.aaguid,
            0x04: self._options(),
            0x05: LONGEST_MESSAGE,
            0x06: list(model.protocols),
        }
        if model.versions == FIRST:
            return told
        return told | {
            0x07: LONGEST_LIST,
            0x08: 128,
            0x09: [self._transport],
            0x0A: [{"alg": algorithm, "type": "public-key"} for algorithm in ALGORITHMS],
            0x0C: lasting.pin_must_change,
            0x0D: model.shortest_pin,
            0x0E: 0x00010000,
            0x14: lasting.capacity - len(lasting.credentials),
        }

    def _options(self) -> dict[str, bool]:
        model = self.context.model
        told = {
            "rk": True,
            "up": True,
            "plat": False,
            "clientPin": self.context.lasting.pin_hash is not None,
            "pinUvAuthToken": model.pin_tokens,
            "makeCredUvNotRqd": model.makes_unverified,
            "alwaysUv": model.always_verifies,
            "noMcGaPermissionsWithClientPin": not model.pin_makes_and_asserts,
        }
        absent = {name for name, there in told.items() if not there and name not in ("plat", "clientPin")}
        if not model.client_pin:
            absent.add("clientPin")
        if model.manages is not None:
            told[model.manages] = True
        return {name: there for name, there in told.items() if name not in absent}
