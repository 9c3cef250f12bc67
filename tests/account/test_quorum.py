"""Accounts whose root or administrator is a quorum: no single device changes them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.errors import KeyNotFound, NotSupported, TokenNotFound, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.lab.piv.attestation import Authority as Maker
from meshhw.managers.account.addroot import NewRoot
from meshhw.managers.account.administrators import administrators, profile_of
from meshhw.managers.account.authority import Founder, authority
from meshhw.managers.account.complete import complete, receive
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.escrow import make_sheets
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.policy import set_policy
from meshhw.managers.account.request import make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.roles import ADMINISTRATOR
from meshhw.managers.account.standing import standing
from meshhw.managers.account.succeeding import Succession
from meshhw.managers.account.succession import steps
from meshhw.managers.account.updates import pending_updates
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.keys import locate
from meshhw.managers.profilemaking import ROOT, ProfileRequest
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.signer import public_of
from meshhw.managers.threshold.store import Store
from meshhw.managers.uselog import UseLog, entries
from meshhw.schema.assertion import open_profile
from meshhw.schema.profile import ConnectionPolicy, ProfileUser
from meshhw.udf import fingerprint
from tests.account.vaults import cheap_vault

ALICE = "alice@example.com"
OPTIONS = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}))


class Board:
    """A home with a 2-of-3 threshold key over three vaults, each in a directory of its own."""

    def __init__(self, path: Path, suite: Suite) -> None:
        self.host = Host(path / "office")
        self.tokens = [self.vault(path / name) for name in ("one", "two", "three")]
        desk = self.vault(path / "desk")
        with DeviceManager(self.host, OPTIONS) as manager:  # descriptors are signed by a device
            manager.create(ProfileRequest(tokens=[desk], suite=Suite.S25519))
        provision(
            Store(self.host.home).at("board"),
            self.host,
            OPTIONS,
            Request(2, self.tokens, suite, encrypts=False),
        )
        self.paths = [path / name for name in ("one", "two", "three")]
        self.desk = desk

    @staticmethod
    def vault(path: Path) -> TokenURI:
        return cheap_vault(Host(path).home, OPTIONS)[0]

    def account(self, suite: Suite, *roles: str, native: bool = False) -> ProfileRecord:
        with AccountManager(self.host, OPTIONS) as manager:
            wanted = ProfileRequest(tokens=[self.desk], suite=suite)
            shared = dict.fromkeys(roles, "board")
            return manager.create(manager.plan(ALICE, wanted, native=native, shared=shared))

    @property
    def founder(self) -> Founder:
        return Founder(self.host, self.host.profile(ALICE), OPTIONS)

    def lose(self, *numbers: int) -> None:
        for number in numbers:
            shutil.rmtree(self.paths[number])


class Phone:
    """A device that asks."""

    def __init__(self, path: Path) -> None:
        self.host = Host(path)
        with DeviceManager(self.host, OPTIONS) as manager:
            wanted = ProfileRequest(tokens=cheap_vault(path, OPTIONS), suite=Suite.S25519)
            self.device = manager.create(wanted)

    def connect(self, board: Board, *roles: str) -> tuple[str, ...]:
        request = read_request(make_request(self.host, self.device, ALICE, OPTIONS).octets())
        answer = Connector(board.host, board.founder, OPTIONS).connect(request, rights_of(roles))
        return complete(self.host, answer.octets(), OPTIONS).connection.roles


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("suite", [Suite.S25519, Suite.S448])
def test_a_quorum_is_root_and_administrator_and_connects_devices(tmp_path: Path, suite: Suite) -> None:
    board = Board(tmp_path, suite)
    record = board.account(suite, ROOT, ADMINISTRATOR)
    public = public_of("board", board.host.home)
    profile = open_profile(Envelope.parse(record.envelope), ProfileUser)
    assert (profile.signer, administrators(profile.value)) == (public, [public])
    assert record.udf == fingerprint(public)
    assert [handle.uri for handle in record.keys if handle.is_shared] == ["threshold:board"] * 2
    board.lose(0)
    phone = Phone(tmp_path / "phone")
    assert phone.connect(board, "web", "admin") == ("web", "admin")
    assert len(administrators(profile_of(board.host.profile(ALICE)))) == 2


def test_below_the_threshold_nothing_changes(tmp_path: Path) -> None:
    board = Board(tmp_path, Suite.S25519)
    record = board.account(Suite.S25519, ROOT)
    board.lose(0, 1)
    phone, root = Phone(tmp_path / "phone"), Maker().root
    with pytest.raises(TokenNotFound, match="needs 2 signers and 1 are here"):
        set_policy(board.founder, ConnectionPolicy(attested=True, roots=(root,)))
    with pytest.raises(TokenNotFound):
        phone.connect(board, "admin")
    assert board.host.profile(ALICE).envelope == record.envelope
    assert phone.connect(board, "web") == ("web",)  # the administrator's own key, on the desk


def test_no_one_device_is_given_the_root(tmp_path: Path) -> None:
    board = Board(tmp_path, Suite.S25519)
    board.account(Suite.S25519, ROOT)
    phone = Phone(tmp_path / "phone")
    with pytest.raises(NotSupported, match="super cannot be granted"):
        phone.connect(board, "super")
    phone.connect(board, "web", "admin")
    there = authority(phone.host, ALICE, OPTIONS)
    with pytest.raises(KeyNotFound, match="root key is not on this device"), there.root():
        pass
    with pytest.raises(NotSupported, match="the threshold key threshold:board"):
        make_sheets(board.host, board.host.profile(ALICE), OPTIONS, 2, 3)


def test_a_native_account_with_a_quorum_has_no_seed(tmp_path: Path) -> None:
    board = Board(tmp_path, Suite.S25519)
    record = board.account(Suite.P256, ROOT, native=True)
    assert record.suite is Suite.P256
    assert board.founder.directory.seed(OPTIONS) is None


def test_no_one_token_is_a_root_beside_a_quorum(tmp_path: Path) -> None:
    board = Board(tmp_path, Suite.S25519)
    board.account(Suite.S25519, ROOT)
    with pytest.raises(NotSupported, match="worthless"):
        NewRoot(board.founder, board.desk)


def test_what_a_quorum_means_is_said_and_others_are_refused(tmp_path: Path) -> None:
    board = Board(tmp_path, Suite.S25519)
    wanted = ProfileRequest(tokens=[board.desk], suite=Suite.S25519)
    with AccountManager(board.host, OPTIONS) as manager:
        told = manager.plan(ALICE, wanted, shared={ROOT: "board"}).told
        assert any("2 of the 3 holders of board must be there to change the account" in line for line in told)
        assert any("no sheets of it" in line for line in told)
        native = manager.plan(ALICE, wanted, native=True).told
        assert any("--root-threshold NAME" in line for line in native)
        with pytest.raises(KeyNotFound):
            manager.plan(ALICE, wanted, shared={ROOT: "nobody"})
        twice = ProfileRequest(tokens=[board.desk], assigned={ROOT: board.desk})
        with pytest.raises(UsageError, match="either a quorum's or on one token"):
            manager.plan(ALICE, twice, shared={ROOT: "board"})


def test_a_quorum_has_no_uri_of_its_own(tmp_path: Path) -> None:
    board = Board(tmp_path, Suite.S25519)
    record = board.account(Suite.S25519, ROOT)
    with pytest.raises(KeyNotFound):
        locate(record.udf, board.host.home)


def test_an_account_whose_seed_was_lost_is_succeeded_by_one_of_a_quorum(tmp_path: Path) -> None:
    board = Board(tmp_path, Suite.S25519)
    old = board.account(Suite.S25519)
    lost, stays = Phone(tmp_path / "lost"), Phone(tmp_path / "stays")
    for phone in (lost, stays):
        phone.connect(board, "super")
    passing = Succession(board.founder, [lost.device.udf])
    with AccountManager(board.host, OPTIONS) as manager:
        wanted = ProfileRequest(tokens=[board.desk], suite=Suite.S25519)
        with pytest.raises(NotSupported, match="comes from its seed, or is a threshold key"):
            manager.create(manager.plan(ALICE, wanted, native=True, predecessor=passing))
        new = manager.create(manager.plan(ALICE, wanted, shared={ROOT: "board"}, predecessor=passing))
    assert new.udf == fingerprint(public_of("board", board.host.home)) != old.udf
    assert [step.predecessor for step in steps(profile_of(new))] == [old.udf]
    update = pending_updates(board.host.home, new.udf)[stays.device.udf]
    receive(stays.host, update, OPTIONS, following=True)
    there = authority(stays.host, ALICE, OPTIONS)
    assert there.udf == new.udf
    assert there.held().activation_key is None
    assert standing(stays.host, ALICE).member.connection.roles == ("admin", "web")  # type: ignore[union-attr]
    fresh = Phone(tmp_path / "fresh")
    request = read_request(make_request(fresh.host, fresh.device, ALICE, OPTIONS).octets())
    answer = Connector(stays.host, there, OPTIONS).connect(request, rights_of(["web"]))
    assert complete(fresh.host, answer.octets(), OPTIONS).udf == new.udf


def test_connecting_a_device_asks_each_holder_once(tmp_path: Path) -> None:
    """Root and administrator are one quorum, which signs five times."""
    board = Board(tmp_path, Suite.S25519)
    board.account(Suite.S25519, ROOT, ADMINISTRATOR)
    log = tmp_path / "uses.jsonl"
    options = replace(OPTIONS, recorder=UseLog(log, "test"))
    phone = Phone(tmp_path / "phone")
    request = read_request(make_request(phone.host, phone.device, ALICE, OPTIONS).octets())
    founder = Founder(board.host, board.host.profile(ALICE), options)
    Connector(board.host, founder, options).connect(request, rights_of(["admin", "web"]))
    holders = {str(token) for token in board.tokens}
    heard = [item for item, _ in entries(log) if item.key in holders]
    assert [item.operation for item in heard].count("unwrap") == 2
    assert [item.operation for item in heard].count("sign") == 2 * 5
