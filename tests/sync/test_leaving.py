"""A device that was disconnected reads nothing new and adds nothing; the others get their new keys."""

from __future__ import annotations

import shutil
from pathlib import Path

from meshhw.dare.links import linked_head
from meshhw.dare.sequence import SequenceFile
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.removing import remove_administrator
from meshhw.managers.account.stores import opened_store, store_path
from meshhw.schema.activation import StoreEpochs
from meshhw.schema.codec import decode
from meshhw.schema.entry import CatalogedNetwork
from tests.sync.people import (
    ALICE,
    CREDENTIALS,
    OPTIONS,
    Machine,
    connect,
    connected,
    disconnect,
    recovered,
    sheets,
)

NETWORKS = "MMM_Network"


def test_updates_travel_and_the_lost_device_is_left_behind(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    lost = connected(laptop, tmp_path / "lost", "web")
    lost.put("imap", "known")
    for machine in (lost, laptop, phone):
        machine.sync(shared)
    disconnect(laptop, lost.host.profile(None, "ProfileDevice").udf)
    laptop.put("ftp", "after")
    assert laptop.sync(shared).updates_written == 1
    assert phone.sync(shared).updated
    phone.put("www", "after, too")
    phone.sync(shared)
    lost.put("imap", "forged")
    told = lost.sync(shared).problems
    assert [line for line in told if "waits for an administrator's update" in line], told
    [said] = [line for line in told if line.startswith("this device was disconnected on 20")]
    assert "no key of what came after" in said
    assert lost.passwords() == {"imap": "forged"}
    for machine in (laptop, phone):
        report = machine.sync(shared)
        [ignored] = [item for item in report.authors if item.author == lost.author]
        assert ignored.state is None
        assert "was disconnected" in ignored.problem
        assert report.problems == []
    assert laptop.passwords() == phone.passwords() == {"imap": "known", "ftp": "after", "www": "after, too"}


def test_an_administrator_put_back_from_an_older_copy_still_says_who_left_and_what_the_keys_are(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    """Its stores begin anew then; what it has said of their keys stands nowhere but in them."""
    codes = sheets(laptop)
    lost = connected(laptop, tmp_path / "lost", "web")
    lost.put("imap", "known")
    for machine in (lost, laptop):
        machine.sync(shared)
    disconnect(laptop, lost.host.profile(None, "ProfileDevice").udf)
    laptop.put("ftp", "after")
    shutil.copytree(laptop.home, tmp_path / "saved")
    laptop.put("ftp", "later")
    laptop.sync(shared)
    shutil.rmtree(laptop.home)
    shutil.copytree(tmp_path / "saved", laptop.home)
    assert laptop.sync(shared).problems == []
    with SequenceFile(store_path(laptop.standing.directory.path, CREDENTIALS)) as begun:
        assert linked_head(begun)
    lost.put("imap", "forged")
    lost.sync(shared)
    [ignored] = [item for item in phone.sync(shared).authors if item.author == lost.author]
    assert ignored.state is None
    assert "was disconnected" in ignored.problem
    everything = {"imap": "known", "ftp": "later"}
    assert phone.passwords() == everything
    assert recovered(codes, tmp_path / "bare", shared).passwords() == everything


def test_a_catalog_that_begins_anew_still_proves_what_an_administrator_said_who_was_removed_since(
    laptop: Machine, shared: Path, tmp_path: Path
) -> None:
    """By its copy in the directory: the one that was put back ends before the head that the profile names."""
    codes = sheets(laptop)
    desk = connected(laptop, tmp_path / "desk", "admin", "web")
    other = connected(laptop, tmp_path / "other", "device")
    for machine in (laptop, desk):
        machine.sync(shared)
    disconnect(desk, other.host.profile(None, "ProfileDevice").udf)
    for machine in (desk, laptop):
        machine.sync(shared)
    network = CatalogedNetwork(service="by the desk's new key")
    with opened_store(laptop.host, NETWORKS, OPTIONS, writable=True) as store:
        store.put("home", network)
    shutil.copytree(laptop.home, tmp_path / "saved")
    with opened_devices(laptop.host, OPTIONS, writable=True) as devices:
        devices.put(devices.devices()[0])
    remove_administrator(authority(laptop.host, ALICE, OPTIONS), desk.author)
    laptop.sync(shared)
    shutil.rmtree(laptop.home)
    shutil.copytree(tmp_path / "saved", laptop.home)
    assert laptop.sync(shared).problems == []
    with SequenceFile(store_path(laptop.standing.directory.path, "MMM_Device")) as begun:
        assert linked_head(begun)
    again = recovered(codes, tmp_path / "bare", shared)
    with opened_store(again.host, NETWORKS, OPTIONS) as store:
        assert store.get("home", CatalogedNetwork) == network


def test_a_device_that_comes_late_catches_up_over_all_keys(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    phone.put("old", "1")
    phone.sync(shared)
    for name in ("first", "second"):
        lost = connected(laptop, tmp_path / name, "web")
        disconnect(laptop, lost.host.profile(None, "ProfileDevice").udf)
        laptop.put(name, name)
    laptop.sync(shared)
    phone.put("late", "2")
    for machine in (phone, laptop, phone):
        assert machine.sync(shared).problems == []
    everything = {"old": "1", "late": "2", "first": "first", "second": "second"}
    assert phone.passwords() == laptop.passwords() == everything
    *_, newest = phone.standing.directory.statements()
    assert len(decode(newest.body, StoreEpochs).removed) == 2  # who comes later gets this one alone


def test_a_second_administrator_carries_on(laptop: Machine, shared: Path, tmp_path: Path) -> None:
    desk = connected(laptop, tmp_path / "desk", "super", "web")
    tablet = connected(laptop, tmp_path / "tablet", "web")
    laptop.sync(shared)
    desk.sync(shared)
    desk.put("ftp", "one")
    late = connected(desk, tmp_path / "late", "web")
    for machine in (desk, laptop, tablet, late):
        assert machine.sync(shared).problems == []
    assert late.passwords() == tablet.passwords() == {"ftp": "one"}
    disconnect(desk, tablet.host.profile(None, "ProfileDevice").udf)
    desk.put("ftp", "two")
    for machine in (desk, laptop, late):
        assert machine.sync(shared).problems == []
    assert laptop.passwords() == late.passwords() == {"ftp": "two"}
    assert tablet.sync(shared).problems
    assert tablet.passwords() == {"ftp": "one"}


def test_a_removed_administrator_changes_the_list_of_devices_no_more(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    """Its device stays, with the role that it was given once: what the profile lists counts."""
    desk = connected(laptop, tmp_path / "desk", "admin", "web")
    for machine in (laptop, desk, phone):
        machine.sync(shared)
    remove_administrator(authority(laptop.host, ALICE, OPTIONS), desk.author)
    with opened_devices(desk.host, OPTIONS, account=ALICE, writable=True) as devices:
        devices.remove(phone.host.profile(None, "ProfileDevice").udf)
    desk.put("ftp", "still its role")
    for machine in (laptop, desk, laptop):
        assert machine.sync(shared).problems == []
    assert laptop.passwords() == {"ftp": "still its role"}
    with opened_devices(laptop.host, OPTIONS, account=ALICE) as devices:
        assert devices.device(phone.host.profile(None, "ProfileDevice").udf)


def test_a_device_that_is_connected_once_more_counts_by_its_later_connection(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    """With an EdDSA key it signs as before (`direct`), so that only the times tell."""
    desk = connected(laptop, tmp_path / "desk", "web")
    name = desk.author

    def met(*machines: Machine) -> None:
        for machine in (*machines, *machines):
            report = machine.sync(shared)
            assert report.problems == []

    met(laptop, phone, desk)
    disconnect(laptop, desk.host.profile(None, "ProfileDevice").udf)
    met(laptop, phone)
    connect(laptop, desk, "web")
    assert desk.author == name
    met(laptop, desk, phone, laptop)
    desk.put("ftp", "at the desk")
    met(desk, laptop, phone)
    assert phone.passwords() == laptop.passwords() == {"ftp": "at the desk"}
    other = connected(laptop, tmp_path / "other", "device")
    disconnect(laptop, other.host.profile(None, "ProfileDevice").udf)  # names all that have left once more
    met(laptop, desk, phone, laptop)
    desk.put("www", "still here")
    met(desk, laptop, phone)
    assert phone.passwords() == {"ftp": "at the desk", "www": "still here"}
    disconnect(laptop, desk.host.profile(None, "ProfileDevice").udf)
    met(laptop, phone)
    desk.put("ftp", "forged")
    assert any(line.startswith("this device was disconnected") for line in desk.sync(shared).problems)
    for machine in (laptop, phone):
        [ignored] = [item for item in machine.sync(shared).authors if item.author == name]
        assert "was disconnected" in (ignored.problem or "")
        assert machine.passwords() == {"ftp": "at the desk", "www": "still here"}
