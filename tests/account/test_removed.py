"""A removed administrator still has its key, the devices' entries, and the profile that lists it: what it
makes of them after its removal is refused everywhere, and changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import SignatureInvalid
from meshhw.managers.account.authority import Authority, authority
from meshhw.managers.account.complete import receive
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.disconnecting import connection_of
from meshhw.managers.account.escrow import make_sheets
from meshhw.managers.account.membership import membership
from meshhw.managers.account.rekeying import new_keys, statement, take_statements
from meshhw.managers.account.removing import remove_administrator
from meshhw.managers.account.request import read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.updates import Given, refreshed, update_for
from meshhw.schema.entry import CatalogedDevice
from meshhw.schema.keydata import public_key
from meshhw.udf import fingerprint
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_disconnect import AFTER, BEFORE, STORE, bring, copy_stores, join, leave, read, write
from tests.account.test_imports import state
from tests.account.test_recover import recover


@dataclass
class Office:
    """Where the account was made, a tablet, and a desk that administered."""

    here: Authority
    there: Authority
    tablet: Phone
    desk: Phone

    def entry(self, device: str) -> CatalogedDevice:
        """A device's entry, as the desk has it."""
        with opened_devices(self.desk.host, OPTIONS) as devices:
            return devices.device(device)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    admin = Admin(tmp_path / "admin", Suite.S25519)
    here = authority(admin.host, ALICE, OPTIONS)
    tablet, desk = (Phone(tmp_path / name, Suite.S25519) for name in ("tablet", "desk"))
    join(here, tablet, "tablet", "web")
    join(here, desk, "desk", "admin", "web")
    write(here.host, BEFORE)
    copy_stores(here.host, tablet.host)
    copy_stores(here.host, desk.host)
    return Office(here, authority(desk.host, ALICE, OPTIONS), tablet, desk)


def update(office: Office, device: str) -> bytes:
    """New keys of the desk's own choice for a device, in the form of an update, under the desk's profile."""
    there, entry = office.there, office.entry(device)
    held = there.held()
    keys = new_keys(held, [STORE, "MMM_Device"], there.suite, common=False)
    with there.administrator() as admin:
        escrow = public_key(there.profile.escrow_encryption, "EscrowEncryption")
        said = statement(keys, there.udf, escrow, admin)
        made = Given(there.envelope, keys, [said])
        return update_for(refreshed(entry, connection_of(there.profile, entry), made, admin), admin).octets()


@pytest.mark.parametrize(
    "how", [remove_administrator, lambda here, _: leave(here, "desk")], ids=["removed", "lost"]
)
def test_its_update_under_the_earlier_profile_is_refused_and_nothing_is_kept(
    office: Office, how: Callable[[Authority, str], object]
) -> None:
    devices = {
        office.tablet.host: office.tablet.device.udf,
        office.here.host: office.here.founder_udf or "",
    }
    forged = {host: update(office, device) for host, device in devices.items()}
    how(office.here, fingerprint(office.there.administrator_key))
    if (office.here.directory.path / "updates" / f"{office.tablet.device.udf}.dare").exists():
        bring(office.here, office.tablet)
    else:
        bring_profile(office)
    for host, octets in forged.items():
        before = state((host.home,))
        with pytest.raises(SignatureInvalid, match="not signed by an administrator"):
            receive(host, octets, OPTIONS)
        assert state((host.home,)) == before
        write(host, AFTER)
        assert read(host) == {"before", "after"}


def bring_profile(office: Office) -> None:
    """The newest profile, as synchronisation brings it."""
    membership(office.tablet.host)
    path = office.tablet.host.home / "accounts" / office.here.udf / "profile.dare"
    path.write_bytes(office.here.envelope.octets())


def test_an_update_that_a_newer_profile_has_overtaken_still_brings_its_keys(
    office: Office, tmp_path: Path
) -> None:
    """A folder synchroniser may bring the profile of a later change before the update of an earlier one."""
    lost, other = (Phone(tmp_path / name, Suite.S25519) for name in ("lost", "other"))
    join(office.here, lost, "lost", "web")
    leave(office.here, "lost")
    write(office.here.host, AFTER)
    join(office.here, other, "other", "admin", "web")
    assert office.here.profile.version == 4
    bring_profile(office)
    bring(office.here, office.tablet)
    copy_stores(office.here.host, office.tablet.host)
    assert read(office.tablet.host) == {"before", "after"}
    assert membership(office.tablet.host).profile == office.here.profile


def test_so_it_does_where_the_account_was_made(office: Office, tmp_path: Path) -> None:
    boss, other = (Phone(tmp_path / name, Suite.S25519) for name in ("boss", "other"))
    join(office.here, boss, "boss", "super", "web")
    copy_stores(office.here.host, boss.host)
    there = authority(boss.host, ALICE, OPTIONS)
    leave(there, "tablet")
    octets = (there.directory.path / "updates" / f"{office.here.founder_udf}.dare").read_bytes()
    join(there, other, "other", "admin", "web")
    office.here.take_profile(there.envelope)
    receive(office.here.host, octets, OPTIONS)
    assert authority(office.here.host, ALICE, OPTIONS).profile == there.profile
    write(boss.host, AFTER)
    copy_stores(boss.host, office.here.host)
    assert read(office.here.host) == {"before", "after"}


def test_what_it_connects_is_no_device_of_the_account(office: Office, tmp_path: Path) -> None:
    late = Phone(tmp_path / "late", Suite.S25519)
    remove_administrator(office.here, fingerprint(office.there.administrator_key))
    request = read_request(late.ask().octets())
    answer = Connector(office.desk.host, office.there, OPTIONS).connect(request, rights_of(["web"]))
    found = late.complete(answer.octets())  # it has not seen the newer profile, and takes itself for one
    with pytest.raises(SignatureInvalid):
        connection_of(office.here.profile, found.entry)


def sheets(office: Office) -> list[str]:
    account = office.here.host.profile(ALICE)
    return [sheet.code for sheet in make_sheets(office.here.host, account, OPTIONS, 2, 3)][:2]


def desk_disconnects(office: Office, tmp_path: Path) -> None:
    """A laptop, and the machine of the account learns of it: a statement by the desk alone."""
    laptop = Phone(tmp_path / "laptop", Suite.S25519)
    join(office.here, laptop, "laptop", "device")
    copy_stores(office.here.host, office.desk.host)
    leave(office.there, "laptop")
    octets = (office.there.directory.path / "updates" / f"{office.here.founder_udf}.dare").read_bytes()
    receive(office.here.host, octets, OPTIONS)
    write(office.here.host, AFTER)


@pytest.mark.parametrize("saves", ["everything", "one store"])
def test_what_it_had_said_before_it_was_removed_is_recovered(
    office: Office, tmp_path: Path, saves: str
) -> None:
    """By the proof that its statement stands under the head; lost together with its device, by others' newer
    keys."""
    codes = sheets(office)
    key = fingerprint(office.there.administrator_key)
    desk_disconnects(office, tmp_path)
    here = authority(office.here.host, ALICE, OPTIONS)
    if saves == "everything":
        remove_administrator(here, key)
    else:
        leave(here, "desk")
    saved = tmp_path / "saved"
    if saves == "everything":
        shutil.copytree(here.directory.path, saved)
    else:
        (saved / "stores").mkdir(parents=True)
        shutil.copy(here.directory.path / "profile.dare", saved)
        for store in ("MMM_Credential", "MMM_Network"):
            path = here.directory.path / "stores" / f"{store}.dcat"
            if path.exists():
                shutil.copy(path, saved / "stores")
    host, _, known = recover(codes, tmp_path / "bare", saved)
    assert known.problems == []
    assert read(host) == {"before", "after"}
    write(host, BEFORE)


def test_what_it_says_afterwards_gives_a_recovered_account_no_key(office: Office, tmp_path: Path) -> None:
    codes = sheets(office)
    remove_administrator(office.here, fingerprint(office.there.administrator_key))
    held = office.there.held()
    keys = new_keys(held, [STORE, "MMM_Device"], office.there.suite, common=True)
    with office.there.administrator() as admin:
        escrow = public_key(office.there.profile.escrow_encryption, "EscrowEncryption")
        said = statement(keys, office.there.udf, escrow, admin)
    take_statements(office.there.directory, [said])
    shared = tmp_path / "shared" / office.here.udf
    for store in (STORE, "MMM_Device"):
        (shared / store).mkdir(parents=True)
        shutil.copy(office.there.directory.path / "stores" / f"{store}.dcat", shared / store / "DESK.dcat")
    shutil.copy(office.here.directory.path / "profile.dare", shared)
    host, _, known = recover(codes, tmp_path / "bare", shared.parent)
    [told] = known.problems
    assert "an administrator who was removed has signed them" in told
    again = authority(host, ALICE, OPTIONS)
    theirs = {item.key.udf for item in (*keys.entries,) if item.key}
    assert theirs.isdisjoint(item.key.udf for item in again.held().entries if item.key)
    assert again.held().encryption != keys.encryption
    write(host, AFTER)
