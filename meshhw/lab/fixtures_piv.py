"""Fixtures for virtual PIV cards behind the session's own pcscd."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshhw.lab.skipping import or_skip

if TYPE_CHECKING:
    from meshhw.lab.piv.card import PivCard
    from meshhw.lab.piv.token import VirtualPivToken
    from meshhw.lab.vpcd import PcscDaemon

READERS = ("Lab Reader", "Yubico YubiKey CCID")
"""Two slots each; tools of the YubiKey's maker look at readers of the second kind of name alone."""

InsertCard = Callable[..., "VirtualPivToken"]
PCSC_DIRECTORY = pytest.StashKey[Path]()
"""Where the session's pcscd will be, for those who name its socket before anybody calls the PC/SC library."""


@pytest.fixture(scope="session")
def pcsc_lab(pytestconfig: pytest.Config) -> Iterator[PcscDaemon]:
    """The session's pcscd. The PC/SC library settles for a socket when it is first called, hence one a
    session."""
    from meshhw.lab.vpcd import PcscDaemon, lab_directory

    directory = pytestconfig.stash.get(PCSC_DIRECTORY, None) or lab_directory()
    daemon = PcscDaemon(directory, READERS)
    or_skip(daemon.start)
    before = {name: os.environ.get(name) for name in daemon.environment()}
    os.environ.update(daemon.environment())
    yield daemon
    for name, value in before.items():
        os.environ.pop(name)
        os.environ.update({} if value is None else {name: value})
    daemon.stop()
    shutil.rmtree(directory)


@pytest.fixture
def insert_card(pcsc_lab: PcscDaemon) -> Iterator[InsertCard]:
    """Puts PIV cards into free slots; `insert_card("5.4", slot=2)`, or a PivCard of one's own."""
    from meshhw.lab.piv.card import PivCard
    from meshhw.lab.piv.token import VirtualPivToken

    inserted: list[VirtualPivToken] = []

    def insert(card: str | PivCard = "5.7", slot: int | None = None) -> VirtualPivToken:
        made = card if isinstance(card, PivCard) else PivCard(card)
        free = [
            reader
            for reader in pcsc_lab.readers
            if not reader.occupied and all(token.reader is not reader for token in inserted)
        ]
        longest_empty = min(free, key=lambda reader: reader.emptied)
        place = longest_empty if slot is None else pcsc_lab.readers[slot]
        inserted.append(VirtualPivToken.insert(made, pcsc_lab, place))
        return inserted[-1]

    yield insert
    for token in inserted:
        token.heal()
        token.pull()


@pytest.fixture
def piv_card(insert_card: InsertCard) -> VirtualPivToken:
    """A fresh card of firmware 5.7 with factory PINs."""
    return insert_card("5.7")
