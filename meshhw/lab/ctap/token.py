"""A virtual FIDO2 card in a virtual reader, as tests and `meshhw lab` hold it, and what can befall it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from meshhw.keystore.api import OpenOptions, Token
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.ctap.card import CtapCard
from meshhw.lab.ctap.state import CAPACITY, PIN_RETRIES
from meshhw.lab.inserted import Inserted


@dataclass(slots=True)
class VirtualCtapToken(Inserted[CtapCard]):
    """One card and its place in a reader of `daemon`."""

    pin: str | None = field(default=None, repr=False)
    """What `set_pin` set; a fresh card has none."""

    @property
    def uri(self) -> TokenURI:
        """Its name: the model; authenticators have no serial number."""
        return TokenURI.make("fido2", aaguid=str(uuid.UUID(bytes=self.card.aaguid)))

    def open(self, options: OpenOptions | None = None) -> Token:
        """The token, opened by the installed driver, by default for a person who knows the PIN."""
        pins = {} if self.pin is None else {PinKind.USER: self.pin}
        return open_token(self.uri, options or OpenOptions(Scripted(pins)))

    def set_pin(self, pin: str) -> None:
        """As its owner would have done."""
        self.pin = pin
        self.card.authenticator.context.lasting.set_pin(pin)

    def lock_pin(self) -> None:
        """As if someone else had tried wrong PINs."""
        self.card.authenticator.context.lasting.pin_retries = 0

    def fill(self) -> None:
        """Leave no room for another discoverable credential."""
        lasting = self.card.authenticator.context.lasting
        lasting.capacity = len(lasting.credentials)

    def lose_credentials(self) -> None:
        """As if someone else had deleted what the card keeps."""
        self.card.authenticator.context.lasting.credentials.clear()

    def clear(self) -> None:
        """As if its owner had erased it."""
        self.card.authenticator.erase()

    def heal(self) -> None:
        """Undo what a fault did: plans, lock, fullness, and the unwilling finger."""
        self.card.faults.clear()
        self.card.finger.willing, self.card.finger.delay = True, 0.0
        lasting = self.card.authenticator.context.lasting
        lasting.pin_retries, lasting.capacity = PIN_RETRIES, CAPACITY
