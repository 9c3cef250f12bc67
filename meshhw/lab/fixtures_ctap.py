"""Fixtures for virtual FIDO2 cards behind the session's own pcscd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from meshhw.lab.ctap.card import CtapCard
    from meshhw.lab.ctap.token import VirtualCtapToken
    from meshhw.lab.vpcd import PcscDaemon

InsertCtapCard = Callable[..., "VirtualCtapToken"]


@pytest.fixture
def insert_ctap_card(pcsc_lab: PcscDaemon) -> Iterator[InsertCtapCard]:
    """Puts FIDO2 cards into free slots; `insert_ctap_card()`, or with a CtapCard of one's own."""
    from meshhw.lab.ctap.card import CtapCard
    from meshhw.lab.ctap.token import VirtualCtapToken

    inserted: list[VirtualCtapToken] = []

    def insert(card: CtapCard | None = None) -> VirtualCtapToken:
        taken = [token.reader for token in inserted]
        free = [
            reader
            for reader in pcsc_lab.readers
            # A YubiKey's FIDO application is never in its USB reader, so nobody looks for one there.
            if "Yubico" not in reader.name and not reader.occupied and all(reader is not one for one in taken)
        ]
        longest_empty = min(free, key=lambda reader: reader.emptied)
        inserted.append(VirtualCtapToken.insert(card or CtapCard(), pcsc_lab, longest_empty))
        return inserted[-1]

    yield insert
    for token in inserted:
        token.heal()
        token.pull()


@pytest.fixture
def ctap_card(insert_ctap_card: InsertCtapCard) -> VirtualCtapToken:
    """A fresh card without a PIN."""
    return insert_ctap_card()
