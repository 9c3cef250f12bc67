"""A virtual PIV card in a virtual reader, as tests and `meshhw lab` hold it, and what can befall it."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.keystore.api import OpenOptions, Token
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.inserted import Inserted
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.state import CHUID_OBJECT, MEMORY
from meshhw.lab.piv.tlv import fields

PIN, PUK = "123456", "12345678"
FACTORY = {PinKind.USER: PIN, PinKind.CONTEXT: PIN, PinKind.PUK: PUK}
GUID = 0x34


@dataclass(slots=True)
class VirtualPivToken(Inserted[PivCard]):
    """One card and its place in a reader of `daemon`."""

    @property
    def uri(self) -> TokenURI:
        """Its name: a YubiKey's serial number, else its CHUID's GUID, any serial number, its reader."""
        personality = self.card.personality
        if personality.management_applet or (personality.serial and not personality.chuid):
            return TokenURI.make("yubikey", serial=str(self.card.serial))
        if not personality.chuid:
            return TokenURI.make("yubikey", reader=self.reader.name)
        guid = fields(self.card.lasting.objects[CHUID_OBJECT])[GUID]
        return TokenURI.make("yubikey", chuid=guid.hex())

    def open(self, options: OpenOptions | None = None) -> Token:
        """The token, opened by the installed driver; without options with the factory's PIN and PUK."""
        return open_token(self.uri, options or OpenOptions(Scripted(FACTORY)))

    def lock_pin(self) -> None:
        """As if someone else had tried wrong PINs."""
        self.card.lasting.pin.left = 0

    def lose_key(self, slot: int) -> None:
        """As if someone else had deleted a key."""
        self.card.lasting.keys.pop(slot, None)

    def fill(self) -> None:
        """Leave no room for another object."""
        self.card.lasting.capacity = self.card.lasting.used

    def clear(self) -> None:
        """As if its owner had reset the PIV application."""
        self.card.lasting.erase()
        self.card.reset()

    def heal(self) -> None:
        """Undo what a fault did: plans, lock, fullness, and the unwilling finger."""
        self.card.faults.clear()
        self.card.finger.willing = True
        lasting = self.card.lasting
        lasting.pin.left, lasting.puk.left = lasting.pin.tries, lasting.puk.tries
        lasting.capacity = MEMORY
