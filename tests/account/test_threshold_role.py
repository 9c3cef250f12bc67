"""The role `threshold`: a device that may ask the holders of threshold keys, until it leaves."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from meshhw.algorithms import PublicKey, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import IntegrityError, KeyNotFound, Replayed, SignatureInvalid, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.authority import Authority, authority
from meshhw.managers.account.complete import receive
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.disconnecting import disconnect, lost_device
from meshhw.managers.account.groups import Groups
from meshhw.managers.account.journal import Journal, apply, commit, left_over, resume
from meshhw.managers.account.listing import listing, take_out
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.membership import Membership, memberships
from meshhw.managers.account.request import Request as Asking
from meshhw.managers.account.request import read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.standing import standing
from meshhw.managers.account.updates import update_path
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.answering import respond
from meshhw.managers.threshold.asking import answered_keys, request
from meshhw.managers.threshold.authority import Setting
from meshhw.managers.threshold.devices import change_devices
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.uselog import UseLog, entries
from tests.account.killing import killed_before, killed_everywhere, some_or_all
from tests.account.people import ALICE, OPTIONS, Phone
from tests.account.vaults import cheap_vault
from tests.threshold_manager.machines import hide, show

SECRET = b"only together"


@dataclass
class Office:
    """Alice's machine: her account, a device that signs descriptors, and the key `crew` in two vaults of two;
    beside it the machine of a holder."""

    host: Host
    away: Host
    vaults: list[TokenURI]
    desk: Path
    path: Path
    options: OpenOptions = OPTIONS

    @property
    def here(self) -> Authority:
        return authority(self.host, ALICE, self.options)

    @property
    def crew(self) -> KeyStore:
        return Store(self.host.home).at("crew")

    @property
    def setting(self) -> Setting:
        return Setting(self.crew, self.host, OPTIONS)

    def asked(self, phone: Phone) -> Asking:
        return read_request(phone.ask().octets())

    def join(self, phone: Phone, name: str, *keys: str) -> Membership:
        asked = self.asked(phone)
        rights = rights_of(["threshold"])
        connector = Connector(self.host, self.here, self.options)
        return phone.complete(connector.connect(asked, rights, name=name, holders_of=keys).octets())

    def leave(self, name: str) -> Journal:
        here = self.here
        held = here.held()
        journal = disconnect(here, lost_device(here, held, name), held)
        commit(here, journal)
        apply(here, journal)
        return journal

    def envelope(self) -> Envelope:
        key = descriptor.load(self.crew, self.host).key("decryption")
        return seal(SECRET, Outline(readers=[RecipientKey(descriptor.group_public(key))]))

    def opened(self, phone: Phone) -> bytes:
        """What the phone reads with the holders' answer alone."""
        sealed = self.envelope()
        asked = request(io.BytesIO(sealed.octets()), phone.host.home, OPTIONS)
        answer = self.path / "answer"
        answer.write_bytes(respond(asked, self.away.home, OPTIONS))
        for vault in self.vaults:
            hide(vault)
        try:
            with answered_keys([answer], phone.host.home, OPTIONS) as keys:
                return open_envelope(sealed, KeyRing(keys)).payload
        finally:
            for vault in self.vaults:
                show(vault)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return made_office(tmp_path)


def made_office(path: Path, *, signs: bool = False) -> Office:
    host, away = Host(path / "office"), Host(path / "away")
    for one, name in ((host, "desk"), (away, "holder")):
        with DeviceManager(one, OPTIONS) as devices:
            devices.create(ProfileRequest(tokens=[vault(path / name)], suite=Suite.S25519))
    with AccountManager(host, OPTIONS) as manager:
        wanted = ProfileRequest(tokens=[vault(path / "account")], suite=Suite.S25519)
        manager.create(manager.plan(ALICE, wanted))
    vaults = [vault(path / name) for name in ("one", "two")]
    provision(Store(host.home).at("crew"), host, OPTIONS, Request(2, vaults, Suite.S25519, signs=signs))
    return Office(host, away, vaults, path / "desk", path)


def vault(path: Path) -> TokenURI:
    return cheap_vault(Host(path).home, OPTIONS)[0]


def phone_of(office: Office, name: str = "phone") -> Phone:
    return Phone(office.path / name, Suite.S25519)


def key_of(phone: Phone) -> PublicKey:
    return phone.device.key("signature").public_key


def version(host: Host) -> int:
    return descriptor.load(Store(host.home).at("crew"), host).value.version


def test_it_asks_the_holders_and_has_none_of_the_accounts_keys(office: Office) -> None:
    phone = phone_of(office)
    found = office.join(phone, "phone", "crew")
    assert found.connection.roles == ("threshold",)
    held = found.common(OPTIONS)
    assert (held.encryption, held.signature, held.activation_key) == (None, None, None)
    assert "MMM_Credential" in {item.resource for item in held.entries}
    assert listing(office.host, key_of(phone)) == listing(phone.host, key_of(phone)) == ["crew"]
    assert office.opened(phone) == SECRET


def test_it_answers_what_the_account_asks_without_trusting_anew(office: Office) -> None:
    """The descriptor came with the administrator's signature; where there is none a person is asked."""
    phone = phone_of(office)
    office.join(phone, "phone", "crew")
    sealed = office.envelope()
    asked = request(io.BytesIO(sealed.octets()), office.host.home, OPTIONS)
    answer = office.path / "answer"
    answer.write_bytes(respond(asked, phone.host.home, OPTIONS))
    with answered_keys([answer], office.host.home, OPTIONS) as keys:
        assert open_envelope(sealed, KeyRing(keys)).payload == SECRET
    before = Store(phone.host.home).at("crew").descriptor()
    assert before == office.crew.descriptor()


def test_who_left_is_refused_by_every_holder_that_knows(office: Office) -> None:
    phone, tablet = phone_of(office), phone_of(office, "tablet")
    office.join(phone, "phone", "crew")
    office.join(tablet, "tablet", "crew")
    stale = request(io.BytesIO(office.envelope().octets()), phone.host.home, OPTIONS)
    journal = office.leave("phone")
    assert journal.still_listed == {}
    assert listing(office.host, key_of(phone)) == []
    update = update_path(office.here.directory.path, tablet.device.udf)
    receive(tablet.host, update.read_bytes(), OPTIONS)
    assert version(tablet.host) == version(office.host) > version(phone.host)
    assert office.opened(tablet) == SECRET
    with pytest.raises(IntegrityError, match="version"):
        respond(stale, office.away.home, OPTIONS)
    with pytest.raises(IntegrityError, match="version"):
        respond(stale, tablet.host.home, OPTIONS)


def test_without_a_name_the_accounts_own_keys_are_meant(office: Office) -> None:
    phone = phone_of(office)
    asked = office.asked(phone)
    with pytest.raises(UsageError, match="no threshold key"):
        Connector(office.host, office.here, OPTIONS).connect(asked, rights_of(["threshold"]))
    with pytest.raises(KeyNotFound):
        Connector(office.host, office.here, OPTIONS).connect(
            asked, rights_of(["threshold"]), holders_of=["nobody"]
        )
    assert not Connector(office.host, office.here, OPTIONS)._answers.has(asked.message_id)
    provision(
        Store(office.host.home).at("board"), office.host, OPTIONS, Request(1, office.vaults, Suite.S25519)
    )
    groups = Groups(standing(office.host, ALICE), OPTIONS)
    groups.create(groups.plan("board@example.com", "board"))
    office.join(phone, "phone")
    assert listing(phone.host, key_of(phone)) == ["board"]


def test_several_keys_take_one_signature_to_join_and_one_to_leave(office: Office) -> None:
    """Of the machine's device; the holders elsewhere take what it has signed as they take one alone."""
    others = ("board", "team")
    for name in others:
        new = Request(1, office.vaults[:1], Suite.S25519, signs=False)
        provision(Store(office.host.home).at(name), office.host, OPTIONS, new)
    desk = str(office.host.profiles("ProfileDevice")[0].key("signature").key_uri)
    log = office.path / "uses.jsonl"
    office.options = replace(OPTIONS, recorder=UseLog(log, "test"))

    def signatures() -> int:
        return sum((item.key, item.operation) == (desk, "sign") for item, _ in entries(log))

    phone = phone_of(office)
    office.join(phone, "phone", "crew", *others)
    assert signatures() == 1
    assert listing(phone.host, key_of(phone)) == ["board", "crew", "team"]
    assert office.opened(phone) == SECRET
    assert office.leave("phone").still_listed == {}
    assert signatures() == 2
    assert listing(office.host, key_of(phone)) == []


def test_another_key_of_that_name_is_not_displaced(office: Office) -> None:
    phone = phone_of(office)
    asked = office.asked(phone)
    provision(Store(phone.host.home).at("crew"), phone.host, OPTIONS, Request(1, office.vaults, Suite.S25519))
    before = Store(phone.host.home).at("crew").descriptor()
    answer = Connector(office.host, office.here, OPTIONS).connect(
        asked, rights_of(["threshold"]), holders_of=["crew"]
    )
    with pytest.raises(IntegrityError, match="another threshold key is called crew"):
        phone.complete(answer.octets())
    assert memberships(phone.host) == []
    assert Store(phone.host.home).at("crew").descriptor() == before


def test_a_later_descriptor_needs_more_than_an_administrators_word(office: Office) -> None:
    """An administrator who is not listed cannot put another descriptor in the place of the known one."""
    phone, tablet = phone_of(office), phone_of(office, "tablet")
    office.join(phone, "phone", "crew")
    office.join(tablet, "tablet", "crew")
    stranger = phone_of(office, "stranger")
    with DeviceManager(office.host, OPTIONS) as devices:
        second = devices.create(
            ProfileRequest(tokens=[vault(office.path / "second")], suite=Suite.S25519)
        ).key("signature")
    change_devices(office.setting, [second.public_key], [])
    shutil.rmtree(office.desk)  # the device that tablet and phone know as the descriptor's
    change_devices(office.setting, [key_of(stranger)], [])
    before = Store(tablet.host.home).at("crew").descriptor()
    office.leave("phone")
    update = update_path(office.here.directory.path, tablet.device.udf)
    receive(tablet.host, update.read_bytes(), OPTIONS)
    assert Store(tablet.host.home).at("crew").descriptor() == before
    with pytest.raises(SignatureInvalid, match="not known here"):
        descriptor.read(office.crew.descriptor(), Store(tablet.host.home).at("crew"), [])


def test_what_cannot_be_signed_here_is_named_and_the_device_leaves(office: Office) -> None:
    phone = phone_of(office)
    office.join(phone, "phone", "crew")
    shutil.rmtree(office.desk)
    journal = office.leave("phone")
    assert "not here" in journal.still_listed["crew"]
    assert listing(office.host, key_of(phone)) == ["crew"]
    with pytest.raises(KeyNotFound):
        lost_device(office.here, office.here.held(), "phone")


def test_a_key_that_this_machine_lacks_is_named(office: Office) -> None:
    phone = phone_of(office)
    office.join(phone, "phone", "crew")
    here = office.here
    entry = lost_device(here, here.held(), "phone").entry
    shutil.rmtree(office.crew.path)
    assert take_out(office.host, entry, OPTIONS) == {"crew": "it is not on this machine"}


@some_or_all(3)
def test_a_connection_that_was_killed_is_finished_with_the_descriptor(office: Office, every: int) -> None:
    phone = phone_of(office)
    asked, rights = office.asked(phone), rights_of(["threshold"])

    def connect() -> Envelope:
        connector = Connector(office.host, office.here, OPTIONS)
        return connector.connect(asked, rights, name="phone", holders_of=["crew"])

    before = version(office.host)
    for _ in killed_everywhere([office.host.home], connect, every=every):
        with suppress(Replayed):  # only the last step was left: it is answered already
            answer = connect()
        assert listing(office.host, key_of(phone)) == ["crew"]
        assert version(office.host) == before + 1
    phone.complete(answer.octets())
    assert office.opened(phone) == SECRET


def test_a_key_that_was_changed_after_a_crash_lists_both(office: Office) -> None:
    phone, other = phone_of(office), phone_of(office, "other")
    asked, rights = office.asked(phone), rights_of(["threshold"])

    def connect() -> Envelope:
        connector = Connector(office.host, office.here, OPTIONS)
        return connector.connect(asked, rights, name="phone", holders_of=["crew"])

    killed_before(f"{office.crew.path}/descriptor.dare", connect)
    change_devices(office.setting, [key_of(other)], [])
    phone.complete(connect().octets())
    assert listing(office.host, key_of(phone)) == listing(office.host, key_of(other)) == ["crew"]
    assert version(phone.host) == version(office.host)


def test_a_disconnection_that_was_killed_takes_it_out(office: Office) -> None:
    phone, other = phone_of(office), phone_of(office, "other")
    office.join(phone, "phone", "crew")
    killed_before(f"{office.crew.path}/descriptor.dare", lambda: office.leave("phone"))
    assert listing(office.host, key_of(phone)) == ["crew"]
    change_devices(office.setting, [key_of(other)], [])  # by somebody who did not see the file
    assert resume(office.here)
    assert left_over(office.here) is None
    assert listing(office.host, key_of(phone)) == []
    assert listing(office.host, key_of(other)) == ["crew"]


def test_at_the_command_line(office: Office) -> None:
    phone = phone_of(office)
    pins = office.path / "pins"
    pins.write_text("a passphrase\n")
    pins.chmod(0o600)
    ask, answer = office.path / "ask", office.path / "answer"
    ask.write_bytes(phone.ask().octets())

    def meshhw(*arguments: str) -> subprocess.CompletedProcess[str]:
        common = ["--home", str(office.host.home), "--pin-source", f"file:{pins}"]
        command = [sys.executable, "-m", "meshhw", *common, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    connect = ["account", "connect", str(ask), "--out", str(answer), "--name", "phone", "--yes"]
    assert meshhw(*connect, "--roles", "web", "--threshold", "crew").returncode == UsageError.exit_status
    assert not answer.exists()
    done = meshhw(*connect, "--roles", "threshold", "--threshold", "threshold:crew")
    assert done.returncode == 0, done.stderr
    told = "1 by this machine's device for the threshold keys crew"
    assert "2 PINs, 0 touches: 4 signatures by this administrator's key, 2 to open" in done.stderr
    assert f"{told}, 7 operations in all; on " in done.stderr
    phone.complete(answer.read_bytes())
    assert listing(phone.host, key_of(phone)) == ["crew"]
    done = meshhw("account", "disconnect", "phone", "--yes")
    assert done.returncode == 0, done.stderr
    assert "taken out of the threshold keys that list it: crew" in done.stderr
    assert f"{told}; on " in done.stderr
    assert listing(office.host, key_of(phone)) == []
