"""A device is disconnected: what it keeps opens nothing that is written after, and all others go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Suite
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import (
    IntegrityError,
    KeyNotFound,
    MeshError,
    NotSupported,
    Replayed,
    SignatureInvalid,
    UsageError,
)
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.authority import Authority, authority
from meshhw.managers.account.complete import receive
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.disconnecting import disconnect, lost_device
from meshhw.managers.account.exposure import copies, readable
from meshhw.managers.account.journal import apply, commit, left_over, resume
from meshhw.managers.account.membership import Membership, membership
from meshhw.managers.account.named import keys as account_keys
from meshhw.managers.account.named import recipient
from meshhw.managers.account.names import Names
from meshhw.managers.account.removing import remove_administrator
from meshhw.managers.account.request import read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.standing import standing
from meshhw.managers.account.stores import opened_store
from meshhw.managers.account.updates import update_path
from meshhw.managers.host import Host
from meshhw.schema.capability import AccessCapability, CapabilityDecryptPartial
from meshhw.schema.entry import CatalogedAccess, CatalogedCredential
from meshhw.udf import fingerprint
from tests.account.people import ALICE, OPTIONS, Admin, Phone

BEFORE = CatalogedCredential(service="before", password="correct horse")
AFTER = CatalogedCredential(service="after", password="battery staple")
STORE = "MMM_Credential"


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


def join(here: Authority, phone: Phone, name: str, *roles: str) -> Membership:
    request = read_request(phone.ask().octets())
    answer = Connector(here.host, here, OPTIONS).connect(request, rights_of(roles), name=name)
    return phone.complete(answer.octets())


def leave(here: Authority, name: str) -> None:
    held = here.held()
    journal = disconnect(here, lost_device(here, held, name), held)
    commit(here, journal)
    apply(here, journal)


def bring(here: Authority, phone: Phone) -> None:
    update = update_path(here.directory.path, phone.device.udf)
    receive(phone.host, update.read_bytes(), OPTIONS)


def copy_stores(source: Host, target: Host) -> None:
    [account] = (source.home / "accounts").glob("M*")
    shutil.copytree(
        account / "stores", target.home / "accounts" / account.name / "stores", dirs_exist_ok=True
    )


def write(host: Host, entry: CatalogedCredential) -> None:
    with opened_store(host, STORE, OPTIONS, writable=True) as store:
        store.put(entry.service or "", entry)


def read(host: Host) -> set[str]:
    with opened_store(host, STORE, OPTIONS) as store:
        return {key for key, _ in store.all(CatalogedCredential)}


def letter(host: Host) -> object:
    return seal(b"a letter", Outline(readers=[recipient(ALICE, host.home)]))


def opens(host: Host, envelope: object) -> bool:
    kid = envelope.header.recipients[0].kid  # type: ignore[attr-defined]
    for key in account_keys(kid, host.home, OPTIONS):
        return open_envelope(envelope, KeyRing([key])).payload == b"a letter"  # type: ignore[arg-type]
    return False


@pytest.fixture
def here(admin: Admin) -> Authority:
    return authority(admin.host, ALICE, OPTIONS)


@pytest.fixture
def laptop(here: Authority, tmp_path: Path) -> Phone:
    phone = Phone(tmp_path / "laptop", Suite.S25519)
    join(here, phone, "laptop", "web")
    return phone


@pytest.fixture
def tablet(here: Authority, tmp_path: Path) -> Phone:
    phone = Phone(tmp_path / "tablet", Suite.P256)
    join(here, phone, "tablet", "web")
    return phone


def test_the_lost_device_reads_nothing_that_is_written_after_and_the_others_all(
    here: Authority, laptop: Phone, tablet: Phone
) -> None:
    write(here.host, BEFORE)
    copy_stores(here.host, laptop.host)
    old_letter = letter(tablet.host)
    leave(here, "laptop")
    write(here.host, AFTER)
    assert read(here.host) == {"before", "after"}
    copy_stores(here.host, laptop.host)
    with pytest.raises(MeshError):
        read(laptop.host)
    copy_stores(here.host, tablet.host)
    with pytest.raises(NotSupported, match="newer key than this device was given"):
        write(tablet.host, AFTER)
    bring(here, tablet)
    assert read(tablet.host) == {"before", "after"}
    new_letter = letter(tablet.host)
    assert opens(tablet.host, new_letter)
    assert opens(tablet.host, old_letter)
    assert opens(laptop.host, old_letter)
    assert not opens(laptop.host, new_letter)


def test_the_profile_is_raised_and_the_device_is_gone(here: Authority, laptop: Phone, tablet: Phone) -> None:
    before = here.profile
    leave(here, laptop.device.udf)
    after = here.profile
    assert (after.version, before.version) == (2, 1)
    assert after.common_encryption != before.common_encryption
    assert after.common_signature != before.common_signature
    assert after.common_authentication != before.common_authentication
    assert after.previous_encryptions == (before.common_encryption,)
    with opened_devices(here.host, OPTIONS) as devices:
        assert [item.local_name for item in devices.devices()] == [None, "tablet"]
        with pytest.raises(KeyNotFound):
            devices.device("laptop")
    assert not update_path(here.directory.path, laptop.device.udf).exists()
    names = Names.of(standing(here.host, ALICE), OPTIONS)
    assert [item.name for item in names.all() if item.name] == ["tablet"]


def test_what_a_service_does_for_the_lost_device_ends_and_nothing_else(
    here: Authority, laptop: Phone, tablet: Phone
) -> None:
    def capabilities() -> dict[str, bool | None]:
        with opened_store(here.host, "MMM_Access", OPTIONS) as store:
            return {
                key: entry.capability.active for key, entry in store.all(CatalogedAccess) if entry.capability
            }

    connection = membership(laptop.host).entry
    with opened_store(here.host, "MMM_Access", OPTIONS, writable=True) as store:
        for key, capability in {
            "by device": AccessCapability(udf=laptop.device.udf, active=True),
            "by authentication": AccessCapability(udf=connection.udf, active=True),
            "by grantee": CapabilityDecryptPartial(udf="M", grantee_udf=laptop.device.udf, active=True),
            "of another": CapabilityDecryptPartial(udf="M", grantee_udf=tablet.device.udf, active=True),
        }.items():
            store.put(key, CatalogedAccess(capability=capability))
    leave(here, "laptop")
    assert capabilities() == {
        "by device": False,
        "by authentication": False,
        "by grantee": False,
        "of another": True,
    }


def test_a_device_without_common_keys_costs_no_root_signature(here: Authority, tmp_path: Path) -> None:
    phone = Phone(tmp_path / "phone", Suite.S25519)
    join(here, phone, "phone", "device")
    held = here.held()
    lost = lost_device(here, held, "phone")
    assert (lost.needs_root, lost.needs_successor, lost.signatures) == (False, False, 2)
    leave(here, "phone")
    assert here.profile.version == 1


def test_what_it_reads_from_before_is_told_store_by_store_and_key_by_key(
    here: Authority, laptop: Phone, tablet: Phone, tmp_path: Path
) -> None:
    third = Phone(tmp_path / "third", Suite.S25519)
    join(here, third, "third", "web")
    write(here.host, BEFORE)
    write(here.host, replace(BEFORE, password="changed"))
    leave(here, "third")
    write(here.host, AFTER)
    lost = lost_device(here, here.held(), "laptop")
    assert {item.store for item in lost.reads} == rights_of(["web"]).stores
    found = {(item.store, item.epoch): (item.entries, item.versions) for item in lost.reads}
    assert (found[STORE, 0], found[STORE, 1]) == ((1, 2), (1, 1))
    assert found["MMM_Bookmark", 0] == found["MMM_Bookmark", 1] == (0, 0)
    told = "; ".join(lost.still_reads)
    assert f"{STORE}: 1 entry in 2 versions under key 0, 1 entry under key 1" in told
    assert "nothing in MMM_Bookmark" in told
    assert "letters" in told
    # the copy itself opens just that, and with it everything that was written before
    bring(here, laptop)
    copy_stores(here.host, laptop.host)
    held = membership(laptop.host).common(OPTIONS)
    for store in rights_of(["web"]).stores:
        opened = [
            version for path in copies(here.directory.path, store) for version in readable(path, held, store)
        ]
        for epoch in (0, 1):
            assert len([1 for _, under in opened if under == epoch]) == found[store, epoch][1]


def test_new_devices_read_old_and_new_entries(here: Authority, laptop: Phone, tmp_path: Path) -> None:
    write(here.host, BEFORE)
    leave(here, "laptop")
    write(here.host, AFTER)
    phone = Phone(tmp_path / "new", Suite.S25519)
    found = join(here, phone, "new laptop", "web")
    copy_stores(here.host, phone.host)
    assert read(phone.host) == {"before", "after"}
    assert found.profile.version == 2
    assert opens(phone.host, letter(phone.host))


def test_an_update_is_installed_by_its_device_alone_and_no_older_one_after_it(
    here: Authority, laptop: Phone, tablet: Phone, tmp_path: Path
) -> None:
    third = Phone(tmp_path / "third", Suite.S25519)
    join(here, third, "third", "device")
    leave(here, "laptop")
    first = update_path(here.directory.path, tablet.device.udf).read_bytes()
    with pytest.raises(KeyNotFound):
        receive(laptop.host, first, OPTIONS)
    leave(here, "third")
    second = update_path(here.directory.path, tablet.device.udf).read_bytes()
    receive(tablet.host, second, OPTIONS)
    with pytest.raises((Replayed, IntegrityError)):
        receive(tablet.host, _later(tablet, first), OPTIONS)
    for position in range(0, len(second), max(1, len(second) // 20)):
        changed = second[:position] + bytes([second[position] ^ 4]) + second[position + 1 :]
        with pytest.raises(MeshError):
            receive(tablet.host, changed, OPTIONS)


def _later(tablet: Phone, octets: bytes) -> bytes:
    """The older update, with the clock of the installed one moved on so that it is older for certain."""
    found = membership(tablet.host)
    path = tablet.host.home / "accounts" / found.udf / "cataloged.json"
    from datetime import timedelta

    from meshhw.schema.codec import encode

    assert found.entry.updated is not None
    path.write_bytes(encode(replace(found.entry, updated=found.entry.updated + timedelta(seconds=5))))
    return octets


def test_a_second_administrator_disconnects_too_and_the_first_learns_of_it(
    admin: Admin, here: Authority, laptop: Phone, tmp_path: Path
) -> None:
    desk = Phone(tmp_path / "desk", Suite.P256)
    join(here, desk, "desk", "super")
    write(here.host, BEFORE)
    copy_stores(here.host, desk.host)
    there = authority(desk.host, ALICE, OPTIONS)
    leave(there, "laptop")
    write(desk.host, AFTER)
    copy_stores(desk.host, laptop.host)
    with pytest.raises(MeshError):
        read(laptop.host)
    copy_stores(desk.host, admin.host)
    with opened_devices(desk.host, OPTIONS) as devices:
        first = next(item for item in devices.devices() if item.enveloped_profile_device is None)
    update = update_path(there.directory.path, first.device_udf or "").read_bytes()
    receive(admin.host, update, OPTIONS)
    assert read(admin.host) == {"before", "after"}
    assert authority(admin.host, ALICE, OPTIONS).profile == there.profile
    phone = Phone(tmp_path / "next", Suite.S25519)
    join(authority(admin.host, ALICE, OPTIONS), phone, "next", "web")
    assert opens(phone.host, letter(phone.host))


def test_who_held_the_seed_takes_the_account_with_it(here: Authority, tmp_path: Path) -> None:
    desk = Phone(tmp_path / "desk", Suite.S25519)
    join(here, desk, "desk", "super")
    held = here.held()
    lost = lost_device(here, held, "desk")
    assert lost.needs_successor
    with pytest.raises(NotSupported, match="must be replaced"):
        disconnect(here, lost, held)
    assert here.founder_udf is not None
    with pytest.raises(UsageError, match="itself"):
        lost_device(here, held, here.founder_udf)


def test_a_lost_administrators_signature_counts_only_for_what_was_there_before(
    here: Authority, tablet: Phone, tmp_path: Path
) -> None:
    desk, phone, late = (Phone(tmp_path / name, Suite.S25519) for name in ("desk", "phone", "late"))
    join(here, desk, "desk", "admin", "web")
    copy_stores(here.host, desk.host)
    there = authority(desk.host, ALICE, OPTIONS)
    early = read_request(phone.ask().octets())
    answer = Connector(desk.host, there, OPTIONS).connect(early, rights_of(["web"]), name="phone")
    phone.complete(answer.octets())
    copy_stores(desk.host, here.host)
    leave(here, "desk")
    assert there.administrator_key not in administrators(here.profile)
    join_profile(here, phone)  # before the update that brings the proof
    assert membership(phone.host).profile == here.profile
    bring(here, phone)
    found = membership(phone.host)
    assert found.entry.proof is not None
    assert found.profile == here.profile
    assert read(phone.host) == set()
    with pytest.raises(SignatureInvalid):
        Membership(phone.host, replace(found.entry, proof=None))
    forged = Connector(desk.host, there, OPTIONS).connect(
        read_request(late.ask().octets()), rights_of(["device"])
    )
    join_profile(here, late)
    with pytest.raises((SignatureInvalid, IntegrityError)):
        late.complete(forged.octets())


def join_profile(here: Authority, phone: Phone) -> None:
    """The newest profile reaches a device, as synchronisation brings it."""
    from meshhw.managers.account.directory import AccountDirectory

    directory = AccountDirectory(phone.host.home, here.udf)
    with directory.making():
        directory.write_profile(here.envelope.octets())


def test_an_administrator_whose_device_stays_is_removed_with_proofs(here: Authority, tmp_path: Path) -> None:
    desk, phone = Phone(tmp_path / "desk", Suite.S25519), Phone(tmp_path / "phone", Suite.S25519)
    join(here, desk, "desk", "admin", "web")
    copy_stores(here.host, desk.host)
    there = authority(desk.host, ALICE, OPTIONS)
    join(there, phone, "phone", "web")
    copy_stores(desk.host, here.host)
    remove_administrator(here, fingerprint(there.administrator_key))
    [removed] = here.profile.removed_administrators
    assert removed.index is not None
    bring(here, phone)
    assert membership(phone.host).profile.version == here.profile.version == 3
    join_profile(here, desk)
    with pytest.raises(NotSupported, match="does not administer"):
        authority(desk.host, ALICE, OPTIONS)


def test_a_disconnection_is_carried_out_from_wherever_it_stopped(
    here: Authority, laptop: Phone, tablet: Phone
) -> None:
    write(here.host, BEFORE)
    held = here.held()
    commit(here, disconnect(here, lost_device(here, held, "laptop"), held))
    again = authority(here.host, ALICE, OPTIONS)
    assert left_over(again) is not None
    assert resume(again)
    assert not resume(again)
    write(here.host, AFTER)
    bring(again, tablet)
    copy_stores(here.host, tablet.host)
    assert read(tablet.host) == {"before", "after"}


def test_a_letter_to_one_device_still_opens(here: Authority, laptop: Phone, tablet: Phone) -> None:
    found = membership(tablet.host)
    with found.encryption(OPTIONS) as key:
        envelope = seal(b"x", Outline(readers=[RecipientKey(key.public)]))
    leave(here, "laptop")
    bring(here, tablet)
    with membership(tablet.host).encryption(OPTIONS) as key:
        assert open_envelope(envelope, KeyRing([key])).payload == b"x"
