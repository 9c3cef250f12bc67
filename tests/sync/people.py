"""An account on several machines, each a home with a vault that costs little to unlock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meshhw.algorithms import Suite
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.account import disconnecting
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.escrow import make_sheets, recovered_seed
from meshhw.managers.account.journal import apply, commit
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.recovering import saved_profile
from meshhw.managers.account.request import make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.standing import Standing, standing
from meshhw.managers.account.stores import opened_store
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.sync.syncing import Report, Synchroniser
from meshhw.schema.entry import CatalogedCredential
from tests.account.vaults import cheap_vault

ALICE = "alice@example.com"
OPTIONS = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}))
CREDENTIALS = "MMM_Credential"


class Machine:
    """One home of the account."""

    def __init__(self, home: Path) -> None:
        self.host = Host(home)
        self.home = home

    @property
    def standing(self) -> Standing:
        return standing(self.host, ALICE)

    @property
    def author(self) -> str:
        return self.standing.author

    def sync(self, directory: Path, *, older: bool = False) -> Report:
        return Synchroniser(self.standing, directory, OPTIONS, older=older).run()

    def put(self, service: str, password: str) -> None:
        with opened_store(self.host, CREDENTIALS, OPTIONS, account=ALICE, writable=True) as store:
            store.put(service, CatalogedCredential(service=service, password=password))

    def delete(self, service: str) -> None:
        with opened_store(self.host, CREDENTIALS, OPTIONS, account=ALICE, writable=True) as store:
            store.delete(service)

    def passwords(self) -> dict[str, str | None]:
        with opened_store(self.host, CREDENTIALS, OPTIONS, account=ALICE) as store:
            return {key: entry.password for key, entry in store.all(CatalogedCredential)}


def founder(home: Path, suite: Suite = Suite.S25519) -> Machine:
    """The machine on which the account is made."""
    machine = Machine(home)
    with AccountManager(machine.host, OPTIONS) as manager:
        wanted = ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=suite)
        manager.create(manager.plan(ALICE, wanted))
    return machine


def connected(by: Machine, home: Path, *roles: str, suite: Suite = Suite.S25519) -> Machine:
    """One more machine, connected with these roles."""
    machine = with_device(home, suite)
    connect(by, machine, *roles)
    return machine


def with_device(home: Path, suite: Suite = Suite.S25519, *, dual: bool = False) -> Machine:
    """One more machine, with a device profile."""
    machine = Machine(home)
    with DeviceManager(machine.host, OPTIONS) as manager:
        manager.create(ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=suite), dual=dual)
    return machine


def connect(by: Machine, machine: Machine, *roles: str, name: str | None = None) -> None:
    """Connect a machine's device with these roles."""
    device = machine.host.profile(None, "ProfileDevice")
    request = read_request(make_request(machine.host, device, ALICE, OPTIONS).octets())
    connector = Connector(by.host, authority(by.host, ALICE, OPTIONS), OPTIONS)
    complete(machine.host, connector.connect(request, rights_of(roles), name=name).octets(), OPTIONS)


def sheets(of: Machine) -> list[str]:
    """What is written on two of the account's three escrow sheets."""
    made = make_sheets(of.host, of.host.profile(ALICE), OPTIONS, 2, 3)
    return [sheet.code for sheet in made[:2]]


def recovered(codes: Sequence[str], home: Path, directory: Path) -> Machine:
    """The account made again on a bare machine, from its sheets and a synchronised directory."""
    machine = Machine(home)
    found = recovered_seed(codes)
    saved = saved_profile(directory, found)
    request = ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=found.suite, seed=found.seed)
    with AccountManager(machine.host, OPTIONS) as manager:
        manager.create(manager.plan(saved.address, request, saved=saved))
    machine.sync(directory, older=True)
    return machine


def disconnect(by: Machine, name: str) -> None:
    """Disconnect the device of that UDF or name: new keys for the stores that it could read."""
    here = authority(by.host, ALICE, OPTIONS)
    held = here.held()
    journal = disconnecting.disconnect(here, disconnecting.lost_device(here, held, name), held)
    commit(here, journal)
    apply(here, journal)
