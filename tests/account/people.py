"""Alice's machines, for tests that connect and disconnect them."""

from __future__ import annotations

from pathlib import Path

from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.membership import Membership
from meshhw.managers.account.request import make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.udf import Seed
from tests.account.vaults import cheap_vault

ALICE = "alice@example.com"
OPTIONS = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}))


class Admin:
    """Alice's first machine, where her account was made."""

    def __init__(self, home: Path, suite: Suite = Suite.S448, *, native: bool = False) -> None:
        self.host = Host(home)
        with AccountManager(self.host, OPTIONS) as manager:
            wanted = ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=suite)
            self.account = manager.create(manager.plan(ALICE, wanted, native=native))

    @property
    def connector(self) -> Connector:
        return Connector(self.host, self.host.profile(ALICE), OPTIONS)

    def answer(self, request: Envelope, *roles: str) -> bytes:
        return self.connector.connect(read_request(request.octets()), rights_of(roles)).octets()


class Phone:
    """A second machine with a device profile."""

    def __init__(self, home: Path, suite: Suite = Suite.S448, seed: Seed | None = None) -> None:
        self.host = Host(home)
        with DeviceManager(self.host, OPTIONS) as manager:
            self.device = manager.create(
                ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=suite, seed=seed)
            )

    def ask(self, address: str = ALICE) -> Envelope:
        return make_request(self.host, self.device, address, OPTIONS)

    def complete(self, answer: bytes) -> Membership:
        return complete(self.host, answer, OPTIONS)
