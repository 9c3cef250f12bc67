"""The account is made again from its shares, with all that its stores hold, new keys of stores included."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.dare.exchange import KeyRing
from meshhw.dare.local import LocalKey
from meshhw.errors import KeyNotFound, NotSupported, SignatureInvalid
from meshhw.managers.account.administrators import administrators, profile_of
from meshhw.managers.account.authority import Authority, authority
from meshhw.managers.account.devices import opened_devices, roles_in
from meshhw.managers.account.escrow import erase_seed, make_sheets, recovered_seed, state_roles
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.recovering import Saved, missing, saved_profile
from meshhw.managers.account.rekeying import escrowed, random_key, statements_in
from meshhw.managers.account.stores import opened_store
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ROOT, ProfileRequest
from meshhw.schema.entry import CatalogedNetwork
from meshhw.udf import fingerprint
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_disconnect import AFTER, BEFORE, bring, join, leave, letter, opens, read, write
from tests.account.vaults import cheap_vault


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


@pytest.fixture
def codes(admin: Admin) -> list[str]:
    made = make_sheets(admin.host, admin.account, OPTIONS, 2, 3)
    erase_seed(admin.host, admin.account)
    return [sheet.code for sheet in made[1:]]


@pytest.fixture
def here(admin: Admin) -> Authority:
    return authority(admin.host, ALICE, OPTIONS)


def recover(codes: list[str], home: Path, saved: Path | None) -> tuple[Host, ProfileRecord, Saved]:
    found = recovered_seed(codes)
    known = saved_profile(saved, found) if saved else Saved()
    host = Host(home)
    with AccountManager(host, OPTIONS) as accounts:
        request = ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=found.suite, seed=found.seed)
        return host, accounts.create(accounts.plan(known.address, request, saved=known)), known


def test_everything_comes_back_with_the_directory(tmp_path: Path, admin: Admin, here: Authority) -> None:
    laptop, tablet = Phone(tmp_path / "laptop", Suite.S25519), Phone(tmp_path / "tablet", Suite.P256)
    for phone, name in ((laptop, "laptop"), (tablet, "tablet")):
        join(here, phone, name, "web")
    codes = [sheet.code for sheet in make_sheets(admin.host, admin.account, OPTIONS, 2, 3)][:2]
    write(here.host, BEFORE)
    old_letter = letter(here.host)
    leave(here, "laptop")
    write(here.host, AFTER)
    new_letter = letter(here.host)
    saved = tmp_path / "backup"
    shutil.copytree(here.directory.path, saved)
    shutil.rmtree(here.host.home)

    host, record, known = recover(codes, tmp_path / "bare", saved)
    assert (record.udf, record.label, known.problems) == (admin.account.udf, ALICE, [])
    assert read(host) == {"before", "after"}
    assert opens(host, new_letter)
    again = authority(host, ALICE, OPTIONS)
    assert again.profile.version == here.profile.version + 1  # type: ignore[operator]
    assert again.administrator_key not in administrators(here.profile)
    assert set(administrators(here.profile)) < set(administrators(again.profile))
    with opened_devices(host, OPTIONS) as devices:
        assert [item.local_name for item in devices.devices()][-1:] == [None]
        assert roles_in(devices.device(fingerprint(again.administrator_key))) == ("super",)
    fresh = Phone(tmp_path / "fresh", Suite.S25519)
    join(again, fresh, "fresh", "web")
    assert opens(fresh.host, old_letter)
    assert opens(fresh.host, new_letter)
    leave(again, "fresh")
    bring(again, tablet)
    assert opens(tablet.host, letter(host))


def test_without_what_was_saved_the_missing_is_named(tmp_path: Path, codes: list[str]) -> None:
    host, record, known = recover(codes, tmp_path / "bare", None)
    assert record.label == ""
    address, stores = missing(known)
    assert "address" in address
    assert "MMM_Credential" in stores
    assert read(host) == set()


def test_a_profile_alone_leaves_the_stores_missing(tmp_path: Path, codes: list[str], here: Authority) -> None:
    write(here.host, BEFORE)
    _, record, known = recover(codes, tmp_path / "bare", here.directory.path / "profile.dare")
    assert record.label == ALICE
    [stores] = missing(known)
    assert "MMM_Credential" in stores
    assert profile_of(record).version == 2


def test_only_the_escrow_key_and_an_administrators_word_give_a_stores_new_key(
    tmp_path: Path, here: Authority
) -> None:
    laptop = Phone(tmp_path / "laptop", Suite.S25519)
    join(here, laptop, "laptop", "web")
    leave(here, "laptop")
    path = here.directory.path / "stores" / "MMM_Device.dcat"
    [said] = statements_in(path)
    with pytest.raises(KeyNotFound):
        escrowed(said, administrators(here.profile), KeyRing([LocalKey(random_key(Suite.S25519.agreement))]))
    stranger = Admin(tmp_path / "stranger", Suite.S25519)
    other = authority(stranger.host, ALICE, OPTIONS)
    with pytest.raises(SignatureInvalid):
        escrowed(said, administrators(other.profile), KeyRing())


def test_a_store_that_is_made_later_is_recovered_by_itself(
    tmp_path: Path, admin: Admin, here: Authority
) -> None:
    codes = [sheet.code for sheet in make_sheets(admin.host, admin.account, OPTIONS, 2, 3)][:2]
    laptop = Phone(tmp_path / "laptop", Suite.S25519)
    join(here, laptop, "laptop", "web")
    leave(here, "laptop")
    write(here.host, AFTER)
    saved = tmp_path / "backup"
    (saved / "stores").mkdir(parents=True)
    shutil.copy(here.directory.path / "profile.dare", saved)
    shutil.copy(here.directory.path / "stores" / "MMM_Credential.dcat", saved / "stores")
    host, _, _ = recover(codes, tmp_path / "bare", saved)
    assert read(host) == {"after"}


@pytest.mark.parametrize("attack", ["changed", "another account's", "no store"])
def test_a_saved_store_that_is_damaged_or_another_accounts_is_left_out_and_told(
    tmp_path: Path, here: Authority, codes: list[str], attack: str
) -> None:
    write(here.host, BEFORE)
    with opened_store(here.host, "MMM_Network", OPTIONS, writable=True) as store:
        store.put("home", CatalogedNetwork(service="home"))
    saved = tmp_path / "backup"
    shutil.copytree(here.directory.path, saved)
    path = saved / "stores" / "MMM_Credential.dcat"
    if attack == "changed":
        octets = bytearray(path.read_bytes())
        octets[-100] ^= 1
        path.write_bytes(octets)
    elif attack == "no store":
        path.write_bytes(b"\xf5" * 4000)
    else:
        other = authority(Admin(tmp_path / "mallory", Suite.S25519).host, ALICE, OPTIONS)
        write(other.host, AFTER)
        shutil.copyfile(other.directory.path / "stores" / path.name, path)
    host, _, known = recover(codes, tmp_path / "bare", saved)
    assert [line for line in known.problems if str(path) in line]
    assert read(host) == set()
    write(host, AFTER)
    with opened_store(host, "MMM_Network", OPTIONS) as store:
        assert [key for key, _ in store.all(CatalogedNetwork)] == ["home"]


def test_a_machine_without_its_seed_is_no_super_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    home = tmp_path / "admin"
    for directory in (home, tmp_path / "drawer"):
        directory.mkdir(mode=0o700)
    [daily], [offline] = cheap_vault(home, OPTIONS), cheap_vault(tmp_path / "drawer", OPTIONS)
    host = Host(home)
    with AccountManager(host, OPTIONS) as accounts:
        wanted = ProfileRequest(tokens=[daily], assigned={ROOT: offline}, suite=Suite.S25519)
        record = accounts.create(accounts.plan(ALICE, wanted))
    with opened_devices(host, OPTIONS) as devices:
        assert roles_in(devices.devices()[0]) == ("super",)
    erase_seed(host, record)
    state_roles(host, record, OPTIONS)
    with opened_devices(host, OPTIONS) as devices:
        assert roles_in(devices.devices()[0]) == ("admin", "web")
    with pytest.raises(NotSupported):
        make_sheets(host, record, OPTIONS, 2, 3)
