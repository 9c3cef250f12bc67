"""A virtual card and its place in a virtual reader: put in, pulled, put back, another in its place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from meshhw.errors import OperationTimeout
from meshhw.lab.card_link import CardLink, EmulatedCard
from meshhw.lab.vpcd import PcscDaemon, VirtualReader

Card = TypeVar("Card", bound=EmulatedCard)


@dataclass(slots=True)
class Inserted(Generic[Card]):
    """One card and its place in a reader of `daemon`."""

    card: Card
    daemon: PcscDaemon
    reader: VirtualReader
    link: CardLink

    @classmethod
    def insert(cls, card: Card, daemon: PcscDaemon, reader: VirtualReader) -> Self:
        """Put a card into a reader and wait until PC/SC shows it. Raises OperationTimeout."""
        token = cls(card, daemon, reader, CardLink(card, reader))
        token.put_back()
        return token

    @property
    def env(self) -> dict[str, str]:
        """What another process needs to see the card."""
        return self.daemon.environment()

    def pull(self) -> None:
        """Take the card out."""
        self.link.pull()

    def put_back(self) -> None:
        """Put it in (again) and wait for PC/SC to show it. Raises OperationTimeout."""
        self.link.insert()
        if not self.link.wait_powered():
            raise OperationTimeout("the virtual reader does not take the card", hint="is its pcscd alive?")
        time.sleep(0.02)  # pcscd publishes the reader's state just after it has asked for the ATR

    def swap(self, other: Card) -> None:
        """Put another card in this one's place; from now on this object stands for it."""
        self.pull()
        self.card, self.link = other, CardLink(other, self.reader)
        self.put_back()

    def restore(self, card: Card) -> None:
        """Put that card in, whichever was there."""
        if self.card is card:
            self.put_back()
        else:
            self.swap(card)
