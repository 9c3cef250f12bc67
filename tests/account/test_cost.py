"""What connecting a device asks of tokens, by the use log: never more than was told, and at most eight
operations on each side, whatever the roles and whoever administers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from meshhw.algorithms import Operation, Suite
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import KEEPING, complete
from meshhw.managers.account.complete import OPENINGS as COMPLETING
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.costs import connecting, operations
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.request import ASKING, make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.roles import ADMINISTRATOR
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ROOT, ProfileRequest
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.store import Store
from tests.account.people import OPTIONS, Phone
from tests.account.vaults import cheap_vault

MOST = 8
ALL = ("super", "admin", "device", "message", "web", "developer", "threshold")
"""Every role that there is."""


@dataclass
class Log:
    """A use log in memory: what tokens have done. What a key in memory does is no operation of a token, and
    neither is the signature of a share that its token has opened before."""

    count: int = 0

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        if key.scheme != "memory" and (key.attributes or operation is not Operation.SIGN):
            self.count += 1

    def taken(self) -> int:
        """How many since it was asked last."""
        count, self.count = self.count, 0
        return count


class Office:
    """Alice's machine, a device on it that signs descriptors, and three threshold keys over three vaults."""

    names = ("board", "crew", "root")

    def __init__(self, path: Path) -> None:
        self.path, self.host = path, Host(path / "office")
        self.tokens = vault(path / "account")
        holders = [vault(path / name) for name in ("one", "two", "three")]
        with DeviceManager(self.host, OPTIONS) as devices:
            devices.create(ProfileRequest(tokens=[vault(path / "desk")], suite=Suite.S25519))
        for name in self.names:
            new = Request(2, holders, Suite.S25519, encrypts=False)
            provision(Store(self.host.home).at(name), self.host, OPTIONS, new)

    def account(self, address: str, **quorums: str) -> Host:
        """Makes an account of which these quorums are the root or administer."""
        roles = {"root": ROOT, "administrator": ADMINISTRATOR}
        shared = {roles[role]: name for role, name in quorums.items()}
        with AccountManager(self.host, OPTIONS) as manager:
            wanted = ProfileRequest(tokens=[self.tokens], suite=Suite.S25519)
            manager.create(manager.plan(address, wanted, shared=shared))
        return self.host

    def connected(self, address: str) -> Host:
        """A connected device that administers such an account and may ask the holders."""
        found = authority(self.account(address), address, OPTIONS)
        phone = Phone(self.path / "connected", Suite.P256)  # whose key works with its activation
        asked = read_request(phone.ask(address).octets())
        answer = Connector(self.host, found, OPTIONS).connect(asked, rights_of(ALL), holders_of=self.names)
        phone.complete(answer.octets())
        return phone.host


def vault(path: Path) -> TokenURI:
    return cheap_vault(Host(path).home, OPTIONS)[0]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    root = tmp_path_factory.mktemp("cost")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHHW_HOME", str(root / "home"))
        yield Office(root)


Make = Callable[[Office, str], Host]
NO_SEED = tuple(role for role in ALL if role != "super")
BOARD = "board (2 of its 3 holders, once each)"
OWN, ROOT_KEY = "4 signatures by this administrator's key", "1 by the root key"
CASES: dict[str, tuple[Make, tuple[str, ...], int, list[str]]] = {
    "founder": (Office.account, ALL, 8, [OWN, ROOT_KEY]),
    "connected": (Office.connected, ALL, 8, [OWN, ROOT_KEY]),
    "quorum": (
        partial(Office.account, administrator="board"),
        ALL,
        6,
        [f"4 signatures by the quorum that administers {BOARD}", ROOT_KEY],
    ),
    "one-quorum": (
        partial(Office.account, administrator="board", root="board"),
        NO_SEED,
        5,
        [f"5 signatures by the quorum of root and administrator {BOARD}"],
    ),
    "two-quorums": (
        partial(Office.account, administrator="board", root="root"),
        NO_SEED,
        7,
        [
            f"4 signatures by the quorum that administers {BOARD}",
            "1 by the root's quorum root (2 of its 3 holders, once each)",
        ],
    ),
}
"""Who administers, the roles that can be granted, and what is told of it."""


@pytest.mark.parametrize("case", CASES)
def test_at_most_eight_on_each_side_and_no_more_than_told(office: Office, case: str) -> None:
    make, roles, expected, lines = CASES[case]
    address = f"{case}@example.com"
    host, log = make(office, address), Log()
    options = replace(OPTIONS, recorder=log)
    for names in ([*office.names[:1]], office.names) if case == "founder" else [office.names]:
        phone = Phone(office.path / f"{case} {len(names)}", Suite.S25519)
        request = read_request(make_request(phone.host, phone.device, address, options).octets())
        asking, here = log.taken(), authority(host, address, options)
        parts = connecting(here, request, rights_of(roles), holders_of=names)
        told = operations(parts)
        assert log.taken() == 0
        assert [part.what for part in parts if part.what] == [
            *lines,
            "2 to open the account's keys",
            f"1 by this machine's device for the threshold keys {', '.join(names)}",
        ]
        answer = Connector(host, here, options).connect(request, rights_of(roles), holders_of=names)
        counted = log.taken()
        complete(phone.host, answer.octets(), options)
        completing = log.taken()
        assert counted <= told == expected <= MOST
        assert counted == told or case == "connected"  # the account's root comes out of its seed there
        assert asking == ASKING
        assert KEEPING < completing <= KEEPING + COMPLETING
        assert asking + completing <= ASKING + KEEPING + COMPLETING <= MOST
