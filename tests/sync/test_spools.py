"""The account's own spool, that of its PINs, is the same on the devices of all administrators."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from meshhw.errors import Replayed
from meshhw.managers.account.authority import authority
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.pins import pins_of, standing_of
from meshhw.managers.account.request import make_request, read_request
from meshhw.udf import UDF
from tests.sync.people import ALICE, OPTIONS, Machine, connected, with_device

SPOOL = "MMM_Local"


@pytest.fixture
def desk(laptop: Machine, shared: Path, tmp_path: Path) -> Machine:
    return connected(laptop, tmp_path / "desk", "super", "web")


def issued(by: Machine) -> UDF:
    here = authority(by.host, ALICE, OPTIONS)
    with pins_of(here, here.held(common=False)) as spool:
        return spool.issue(("web",), timedelta(hours=1))[0]


def states(of: Machine) -> list[str]:
    here = authority(of.host, ALICE, OPTIONS)
    with pins_of(here, here.held(common=False)) as spool:
        return [standing_of(known) for known in spool.all()]


def asked(home: Path, pin: UDF) -> bytes:
    machine = with_device(home)
    device = machine.host.profile(None, "ProfileDevice")
    return make_request(machine.host, device, ALICE, OPTIONS, pin).octets()


def accept(by: Machine, request: bytes) -> None:
    Connector(by.host, authority(by.host, ALICE, OPTIONS), OPTIONS).connect(read_request(request))


def test_a_pin_of_one_administrator_is_good_on_the_other_and_once(
    laptop: Machine, desk: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    pin = issued(desk)
    first, second = (asked(tmp_path / name, pin) for name in ("first", "second"))
    for machine in (desk, laptop, phone):
        assert machine.sync(shared).problems == []
    assert not list(phone.home.rglob(f"{SPOOL}*"))
    accept(laptop, first)
    for machine in (laptop, desk):
        assert machine.sync(shared).problems == []
    assert states(laptop) == states(desk) == ["used"]
    for machine in (laptop, desk):
        with pytest.raises(Replayed):
            accept(machine, second)
        machine.sync(shared)
    for machine in (laptop, desk):
        report = machine.sync(shared)
        assert (report.stores, report.published) == ({}, [])


def test_a_pin_that_was_used_on_both_at_once_is_told(
    laptop: Machine, desk: Machine, shared: Path, tmp_path: Path
) -> None:
    pin = issued(laptop)
    for machine in (laptop, desk):
        machine.sync(shared)
    for machine in (laptop, desk):
        accept(machine, asked(tmp_path / f"for {machine.home.name}", pin))
    laptop.sync(shared)
    told = desk.sync(shared).stores[SPOOL]
    assert len(told.conflicts) == 1
    laptop.sync(shared)
    assert states(laptop) == states(desk) == ["used"]


def test_a_home_put_back_from_a_copy_does_not_open_a_pin_again(
    laptop: Machine, desk: Machine, shared: Path, tmp_path: Path
) -> None:
    pin = issued(desk)
    request = asked(tmp_path / "first", pin)
    desk.sync(shared)
    shutil.copytree(desk.home, tmp_path / "saved")
    accept(desk, request)
    desk.sync(shared)
    laptop.sync(shared)
    shutil.rmtree(desk.home)
    shutil.copytree(tmp_path / "saved", desk.home)
    for machine in (desk, laptop, desk):
        assert machine.sync(shared).problems == []
    assert states(laptop) == states(desk) == ["used"]


def test_a_spool_that_was_tampered_with_is_refused(laptop: Machine, desk: Machine, shared: Path) -> None:
    issued(desk)
    desk.sync(shared)
    [path] = shared.rglob("*.dspl")
    octets = bytearray(path.read_bytes())
    octets[-60] ^= 1
    path.write_bytes(octets)
    assert [line for line in laptop.sync(shared).problems if line.startswith(desk.author)]
    assert states(laptop) == []
