"""Killed at a change of a file (SIGKILL): a device that follows into the successor, a claim on a
preconfigured device and its making, and a disconnection by an administrator that is a connected device."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import KeyNotFound, MeshError, Replayed
from meshhw.managers.account.authority import authority
from meshhw.managers.account.claiming import claim, take_claim
from meshhw.managers.account.complete import receive
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.journal import left_over, resume
from meshhw.managers.account.membership import membership
from meshhw.managers.account.names import Names
from meshhw.managers.account.preconfigured import preconfigure, published
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.standing import standing
from meshhw.managers.account.updates import pending_updates
from tests.account.killing import killed_everywhere, some_or_all
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_claim import MAKER
from tests.account.test_disconnect import AFTER, BEFORE, bring, copy_stores, join, leave, read, write
from tests.account.test_succeed import succeed

SUITE = Suite.S25519


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", SUITE)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    path = tmp_path / "shared"
    path.mkdir()
    return path


def test_a_device_that_follows_is_in_the_old_account_or_in_the_new_one(tmp_path: Path, admin: Admin) -> None:
    laptop, tablet = Phone(tmp_path / "laptop", SUITE), Phone(tmp_path / "tablet", SUITE)
    here = authority(admin.host, ALICE, OPTIONS)
    join(here, laptop, "laptop", "super")
    join(here, tablet, "tablet", "web")
    record = succeed(admin.host, "laptop")
    update = pending_updates(admin.host.home, record.udf)[tablet.device.udf]
    command = partial(receive, tablet.host, update, OPTIONS, following=True)
    seen = set()
    for killed in killed_everywhere([tablet.host.home], command):
        where = membership(tablet.host, ALICE).udf
        seen.add(where)
        if killed and where == here.udf:
            command()
        assert membership(tablet.host, ALICE).udf == record.udf
        assert read(tablet.host) == set()
        with pytest.raises(Replayed):
            command()
    assert seen == {here.udf, record.udf}


@some_or_all(3)
def test_a_claim_is_finished_by_the_next_and_the_device_belongs_to_one_account(
    tmp_path: Path, admin: Admin, shared: Path, every: int
) -> None:
    sensor = Phone(tmp_path / "sensor", SUITE)
    uri = preconfigure(sensor.host, sensor.device, MAKER, shared, OPTIONS)

    def claims() -> None:
        found = authority(admin.host, ALICE, OPTIONS)
        claim(found, published(uri, shared), uri, rights_of(["device"]), shared, name="sensor")

    for killed in killed_everywhere([admin.host.home, shared, sensor.host.home], claims, every=every):
        if killed:
            try:
                claims()
            except Replayed:  # all was done, claim and answer lie there
                assert len(list(shared.glob("*.dare"))) == 3
        found = take_claim(sensor.host, shared, OPTIONS)
        assert (found.udf, found.connection.roles) == (admin.account.udf, ("device",))
        with opened_devices(admin.host, OPTIONS) as devices:
            assert devices.device("sensor").device_udf == sensor.device.udf
    with pytest.raises(Replayed):
        claims()


def test_a_device_whose_preconfiguration_was_killed_is_preconfigured_anew(
    tmp_path: Path, admin: Admin, shared: Path
) -> None:
    sensor = Phone(tmp_path / "sensor", SUITE)
    command = partial(preconfigure, sensor.host, sensor.device, MAKER, shared, OPTIONS)
    for killed in killed_everywhere([sensor.host.home, shared], command):
        if not killed:
            continue
        uri = command()
        found = authority(admin.host, ALICE, OPTIONS)
        claim(found, published(uri, shared), uri, rights_of(["device"]), shared)
        assert take_claim(sensor.host, shared, OPTIONS).udf == admin.account.udf


def test_a_publication_that_cannot_be_written_leaves_no_code(tmp_path: Path, admin: Admin) -> None:
    sensor = Phone(tmp_path / "sensor", SUITE)
    with pytest.raises((MeshError, OSError)):
        preconfigure(sensor.host, sensor.device, MAKER, tmp_path / "absent", OPTIONS)
    assert list((sensor.host.home / "preconfigured").iterdir()) == []
    with pytest.raises(KeyNotFound, match="no device of this machine waits"):
        take_claim(sensor.host, tmp_path, OPTIONS)


@some_or_all(5)
def test_a_connected_administrators_disconnection_is_undone_or_carried_out(
    tmp_path: Path, admin: Admin, every: int
) -> None:
    desk, lost, tablet = (Phone(tmp_path / name, SUITE) for name in ("desk", "lost", "tablet"))
    here = authority(admin.host, ALICE, OPTIONS)
    for phone, name, *roles in ((desk, "desk", "super"), (lost, "lost", "web"), (tablet, "tablet", "web")):
        join(here, phone, name, *roles)
    write(admin.host, BEFORE)
    copy_stores(admin.host, desk.host)
    seen = set()

    def disconnects() -> None:
        leave(authority(desk.host, ALICE, OPTIONS), "lost")

    for _ in killed_everywhere([desk.host.home], disconnects, every=every):
        again = authority(desk.host, ALICE, OPTIONS)
        decided = left_over(again) is not None or again.profile.version == here.profile.version + 1
        seen.add(decided)
        resume(again)
        if not decided:
            disconnects()
        assert left_over(authority(desk.host, ALICE, OPTIONS)) is None
        write(desk.host, AFTER)
        assert read(desk.host) == {"before", "after"}
        named = Names.of(standing(desk.host, ALICE), OPTIONS).all()
        assert {item.name for item in named if item.name} == {"desk", "tablet"}
    with opened_devices(desk.host, OPTIONS) as devices:
        assert {item.local_name for item in devices.devices()} == {None, "desk", "tablet"}
    assert seen == {True, False}
    bring(authority(desk.host, ALICE, OPTIONS), tablet)
    for phone in (tablet, lost):
        copy_stores(desk.host, phone.host)
    assert read(tablet.host) == {"before", "after"}
    with pytest.raises(MeshError):
        read(lost.host)
