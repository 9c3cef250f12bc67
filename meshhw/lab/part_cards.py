"""The lab's virtual cards, PIV and FIDO2, in the readers of a pcscd of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meshhw import files
from meshhw.lab.ctap.card import CtapCard
from meshhw.lab.ctap.token import VirtualCtapToken
from meshhw.lab.faults import SLOW_SECONDS, Fault
from meshhw.lab.holding import CardHolder
from meshhw.lab.part import LabToken, Order, impossible
from meshhw.lab.piv.attestation import Authority
from meshhw.lab.piv.card import PivCard
from meshhw.lab.piv.faults import Kind
from meshhw.lab.piv.token import PIN, PUK, VirtualPivToken
from meshhw.lab.pkcs11_token import new_pin
from meshhw.lab.vpcd import LONGEST_SOCKET_PATH, PcscDaemon, VirtualReader, lab_directory

VirtualCard = VirtualPivToken | VirtualCtapToken
FOR_EVER = 1 << 30
ROOT_VARIABLE, ROOT_FILE = "MESHHW_LAB_PIV_ROOT", "piv-root.pem"
"""Where a program finds the root certificate of the PIV cards' attestations."""
FACTORY_MANAGEMENT_KEY = "010203040506070801020304050607080102030405060708"


class CardsPart:
    """PIV and FIDO2 cards, each in a slot of its own."""

    def __init__(self, order: Order, directory: Path) -> None:
        """Start pcscd and put the cards in. Raises DriverUnavailable."""
        self._held: dict[str, _Card] = {}
        self._told: list[LabToken] = []
        self._authority, self._root = Authority(), directory / ROOT_FILE
        self._directory = _short(directory / "pcsc")
        names = [f"Lab Reader {number}" for number in range((order.piv + order.fido2 + 1) // 2)]
        self._daemon = PcscDaemon(self._directory, names)
        try:
            self._daemon.start()
            self._insert(order)
            files.replace(self._root, self._authority.root_pem)
        except BaseException:
            self.close()
            raise

    @property
    def tokens(self) -> Sequence[LabToken]:
        """The cards."""
        return self._told

    @property
    def env(self) -> Mapping[str, str]:
        """The socket of the private pcscd, and the cards' maker's certificate."""
        return {**self._daemon.environment(), ROOT_VARIABLE: str(self._root)}

    def fault(self, name: str, fault: Fault) -> None:
        """Let a fault befall a card. Raises NotSupported."""
        action = _ACTIONS.get(fault)
        if action is None:
            raise impossible("card", fault)
        action(self._held[name])

    def close(self) -> None:
        """Take the cards out and end pcscd."""
        for held in self._held.values():
            held.release()
            held.card.heal()
            held.card.pull()
        self._held.clear()
        self._daemon.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._root.unlink(missing_ok=True)

    def _insert(self, order: Order) -> None:
        free = iter(self._daemon.readers)
        for number in range(1, order.piv + 1):
            piv = VirtualPivToken.insert(PivCard("5.7", authority=self._authority), self._daemon, next(free))
            secrets = f"{PIN}\npuk={PUK}\nmanagement={FACTORY_MANAGEMENT_KEY}\n"
            self._keep(f"piv-{number}", "piv", piv, secrets)
        for number in range(1, order.fido2 + 1):
            self._insert_fido2(f"fido2-{number}", next(free))

    def _insert_fido2(self, name: str, reader: VirtualReader) -> None:
        card, pin = VirtualCtapToken.insert(CtapCard(), self._daemon, reader), new_pin()
        card.set_pin(pin)
        self._keep(name, "fido2", card, f"{pin}\n")

    def _keep(self, name: str, family: str, card: VirtualCard, secrets: str) -> None:
        self._held[name] = _Card(card)
        self._told.append(LabToken(name, family, str(card.uri), str(card.uri), secrets))


class _Card:
    """A card, and the one that was in its place before a swap."""

    def __init__(self, card: VirtualCard) -> None:
        self.card = card
        self._former: Any = None
        self._holder: CardHolder | None = None

    def put_back(self) -> None:
        if self._former is not None:
            self._exchange(self._former)
            self._former = None
        elif not self.card.reader.occupied:
            self.card.put_back()

    def swap(self) -> None:
        if self._former is None:
            self._former = self.card.card
            self._exchange(PivCard("5.7") if isinstance(self.card, VirtualPivToken) else CtapCard())

    def plan(self, kind: Kind, value: float = 0) -> None:
        self.card.card.faults.plan(kind, value, times=FOR_EVER)

    def refuse_touch(self) -> None:
        self.card.card.finger.willing = False

    def hold(self) -> None:
        """By another program, which has it until the fault is over."""
        if self._holder is None:
            self._holder = CardHolder(self.card.reader.name, self.card.env)

    def release(self) -> None:
        if self._holder is not None:
            self._holder.release()
            self._holder = None

    def heal(self) -> None:
        self.release()
        self.put_back()
        self.card.heal()

    def _exchange(self, other: Any) -> None:
        self.card.swap(other)


_ACTIONS: dict[Fault, Callable[[_Card], None]] = {
    Fault.PULL: lambda held: held.card.pull(),
    Fault.RETURN: _Card.put_back,
    Fault.SWAP: _Card.swap,
    Fault.LOCK: lambda held: held.card.lock_pin(),
    Fault.HANG: lambda held: held.plan(Kind.HANG),
    Fault.SLOW: lambda held: held.plan(Kind.DELAY, SLOW_SECONDS),
    Fault.FULL: lambda held: held.card.fill(),
    Fault.CLEAR: lambda held: held.card.clear(),
    Fault.BUSY: _Card.hold,
    Fault.NOTOUCH: _Card.refuse_touch,
    Fault.NONE: _Card.heal,
}


def _short(directory: Path) -> Path:
    """A directory in which a socket's name is not too long."""
    fits = len(str(directory / "run" / "pcscd" / "pcscd.comm")) <= LONGEST_SOCKET_PATH
    if not fits:
        return lab_directory()
    directory.mkdir(mode=0o700, parents=True)
    return directory
