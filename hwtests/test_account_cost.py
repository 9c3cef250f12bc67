"""What connecting a device asks of tokens, counted where it reaches them: what was told before, at most eight
operations a side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinRequest, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.lab import shim
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.fixtures_pkcs11 import NewTroubled
from meshhw.lab.fixtures_tpm import NewTpm
from meshhw.lab.piv.token import PIN
from meshhw.lab.shim import Control
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import KEEPING, complete
from meshhw.managers.account.complete import OPENINGS as COMPLETING
from meshhw.managers.account.connect import OPENINGS, SIGNATURES, Connector
from meshhw.managers.account.costs import connecting, operations
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.request import ASKING, make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.roles import ADMINISTRATOR
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.store import Store

ALICE = "alice@example.com"
MOST = 8
AUTHENTICATE = 0x87
PKCS11 = ("C_SignInit", "C_DeriveKey", "C_DecryptInit", "C_UnwrapKey")
TPM = ("Sign", "ECDH_ZGen", "Unseal", "RSA_Decrypt")


@dataclass(frozen=True)
class Counted:
    """A token, and how many private-key operations have reached it."""

    uri: TokenURI
    pin: str
    count: Callable[[], int]
    counter: object
    """What counts, which several tokens may share."""


@dataclass(frozen=True)
class Pair:
    """An administrator's token and a device's."""

    suite: Suite
    admin: Counted
    device: Counted

    def count(self) -> int:
        """Both together: tokens of one module share its counter."""
        return sum({id(item.counter): item.count() for item in (self.admin, self.device)}.values())


@pytest.fixture(params=["softhsm 25519", "piv 25519", "piv P256", "tpm P256"])
def pair(request: pytest.FixtureRequest, tpm_home: Path) -> Pair:
    family, suite = request.param.split()
    make = {"softhsm": of_softhsm, "piv": of_piv, "tpm": of_tpm}[family]
    return Pair(Suite(suite), make(request), make(request))


def of_softhsm(request: pytest.FixtureRequest) -> Counted:
    new: NewTroubled = request.getfixturevalue("new_troubled_softhsm")
    token, _ = new()
    control = Control(shim.control_of(Path(token.module_path)))
    count = lambda: sum(control.calls().get(name, 0) for name in PKCS11)  # noqa: E731
    return Counted(token.uri, token.pin, count, request.getfixturevalue("softhsm_shim"))


def of_piv(request: pytest.FixtureRequest) -> Counted:
    insert: InsertCard = request.getfixturevalue("insert_card")
    virtual = insert("5.7")
    return Counted(virtual.uri, PIN, lambda: virtual.card.count(AUTHENTICATE), virtual)


def of_tpm(request: pytest.FixtureRequest) -> Counted:
    new: NewTpm = request.getfixturevalue("new_swtpm")
    tpm = new()
    return Counted(tpm.uri, tpm.pin, lambda: sum(tpm.proxy.counts[name] for name in TPM), tpm)


@pytest.mark.parametrize("roles", [("web",), ("super", "message", "web")], ids=",".join)
def test_at_most_eight_operations_on_each_side(pair: Pair, tmp_path: Path, roles: tuple[str, ...]) -> None:
    pins = {pair.admin.uri: pair.admin.pin, pair.device.uri: pair.device.pin}

    def answer(asked: PinRequest) -> str:
        fitting = [pin for uri, pin in pins.items() if asked.token.fits(uri)]
        return fitting[0] if fitting else "a passphrase"

    options = OpenOptions(Scripted(answer))
    office, phone = Host(tmp_path / "office"), Host(tmp_path / "phone")
    with AccountManager(office, options) as accounts:
        wanted = ProfileRequest(tokens=[pair.admin.uri], suite=pair.suite)
        accounts.create(accounts.plan(ALICE, wanted))
    with DeviceManager(phone, options) as devices:
        device = devices.create(ProfileRequest(tokens=[pair.device.uri], suite=pair.suite))

    counts = [pair.count()]
    request = make_request(phone, device, ALICE, options)
    counts.append(pair.count())
    connector = Connector(office, office.profile(ALICE), options)
    connection = connector.connect(read_request(request.octets()), rights_of(roles))
    counts.append(pair.count())
    complete(phone, connection.octets(), options)
    counts.append(pair.count())
    asking, here, completing = (after - before for before, after in pairwise(counts))
    told = SIGNATURES + ("super" in roles) + OPENINGS
    assert (here, asking) == (told, ASKING)
    assert KEEPING < completing <= KEEPING + COMPLETING
    assert max(told, asking + KEEPING + COMPLETING) <= MOST


def test_a_quorum_is_asked_once_for_all_that_it_signs(
    request: pytest.FixtureRequest, tpm_home: Path, tmp_path: Path
) -> None:
    """Two of three tokens administer, the root is on a fourth, and a device gets every role."""
    one, two, three, desk, phone = (of_softhsm(request) for _ in range(5))
    pins = {item.uri: item.pin for item in (one, two, three, desk, phone)}
    options = OpenOptions(Scripted(lambda asked: next(pins[uri] for uri in pins if asked.token.fits(uri))))
    office, away = Host(tmp_path / "office"), Host(tmp_path / "phone")
    wanted = ProfileRequest(tokens=[desk.uri], suite=Suite.S25519)
    with DeviceManager(office, options) as devices:
        devices.create(wanted)
    board = Request(2, [one.uri, two.uri, three.uri], Suite.S25519, encrypts=False)
    provision(Store(office.home).at("board"), office, options, board)
    with AccountManager(office, options) as accounts:
        accounts.create(accounts.plan(ALICE, wanted, shared={ADMINISTRATOR: "board"}))
    with DeviceManager(away, options) as devices:
        device = devices.create(ProfileRequest(tokens=[phone.uri], suite=Suite.S25519))
    asked = read_request(make_request(away, device, ALICE, options).octets())
    rights = rights_of(["super", "admin", "device", "message", "web", "developer", "threshold"])
    found = authority(office, ALICE, options)
    told = operations(connecting(found, asked, rights, holders_of=["board"]))
    counts = [one.count()]
    connection = Connector(office, found, options).connect(asked, rights, holders_of=["board"])
    counts.append(one.count())
    complete(away, connection.octets(), options)
    counts.append(one.count())
    here, completing = (after - before for before, after in pairwise(counts))
    assert here == told == 2 + 1 + OPENINGS + 1
    assert KEEPING < completing <= KEEPING + COMPLETING
