"""Two and more devices come to the same stores through a directory, and nothing is lost on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import KeyNotFound
from meshhw.managers.account.stamp import is_copy
from meshhw.managers.sync.mirror import State
from tests.sync.people import Machine, connect, connected, with_device


def test_what_one_writes_the_other_reads(laptop: Machine, phone: Machine, shared: Path) -> None:
    laptop.put("ftp", "one")
    phone.put("www", "two")
    laptop.sync(shared)
    taken = phone.sync(shared)
    assert taken.stores["MMM_Credential"].taken == 1
    laptop.sync(shared)
    assert laptop.passwords() == phone.passwords() == {"ftp": "one", "www": "two"}


def test_a_second_run_changes_nothing(laptop: Machine, phone: Machine, shared: Path) -> None:
    laptop.put("ftp", "one")
    for machine in (laptop, phone, laptop, phone):
        machine.sync(shared)
    before = {path: path.stat().st_mtime_ns for path in shared.rglob("*") if path.is_file()}
    for machine in (laptop, phone):
        report = machine.sync(shared)
        assert (report.stores, report.published, report.problems) == ({}, [], [])
    assert {path: path.stat().st_mtime_ns for path in shared.rglob("*") if path.is_file()} == before


def test_updates_and_deletions_follow_each_other(laptop: Machine, phone: Machine, shared: Path) -> None:
    laptop.put("ftp", "one")
    laptop.put("www", "x")
    laptop.sync(shared)
    phone.sync(shared)
    phone.put("ftp", "two")
    phone.delete("www")
    phone.sync(shared)
    laptop.sync(shared)
    assert laptop.passwords() == phone.passwords() == {"ftp": "two"}


def test_two_updates_at_once_leave_the_later_and_a_copy(
    laptop: Machine, phone: Machine, shared: Path
) -> None:
    laptop.put("ftp", "one")
    laptop.sync(shared)
    phone.sync(shared)
    laptop.put("ftp", "laptop's")
    phone.put("ftp", "phone's")
    laptop.sync(shared)
    report = phone.sync(shared)
    laptop.sync(shared)
    [copy] = report.stores["MMM_Credential"].conflicts
    assert is_copy(copy)
    assert laptop.passwords() == phone.passwords() == {"ftp": "phone's", copy: "laptop's"}
    laptop.delete(copy)
    for machine in (laptop, phone, laptop):
        machine.sync(shared)
    assert laptop.passwords() == phone.passwords() == {"ftp": "phone's"}


def test_an_update_wins_over_a_deletion_at_the_same_time(
    laptop: Machine, phone: Machine, shared: Path
) -> None:
    laptop.put("ftp", "one")
    laptop.sync(shared)
    phone.sync(shared)
    phone.put("ftp", "two")
    laptop.delete("ftp")
    for machine in (laptop, phone, laptop):
        machine.sync(shared)
    assert laptop.passwords() == phone.passwords() == {"ftp": "two"}


def test_three_devices_over_two_directories(laptop: Machine, phone: Machine, tmp_path: Path) -> None:
    desk = connected(laptop, tmp_path / "desk", "web")
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    laptop.put("ftp", "one")
    phone.put("www", "two")
    desk.put("imap", "three")
    laptop.sync(first)
    phone.sync(first)
    phone.sync(second)
    desk.sync(second)
    phone.sync(second)
    phone.sync(first)
    laptop.sync(first)
    everything = {"ftp": "one", "www": "two", "imap": "three"}
    assert laptop.passwords() == phone.passwords() == desk.passwords() == everything


def test_devices_of_every_suite_and_with_two_keys(laptop: Machine, shared: Path, tmp_path: Path) -> None:
    others = [with_device(tmp_path / suite, suite) for suite in (Suite.S448, Suite.P256)]
    others.append(with_device(tmp_path / "dual", dual=True))
    for machine in others:
        connect(laptop, machine, "web")
        machine.put(machine.home.name, "here")
        machine.sync(shared)
    for machine in (laptop, *others):
        assert machine.sync(shared).problems == []
    everything = {machine.home.name: "here" for machine in others}
    assert all(machine.passwords() == everything for machine in (laptop, *others))


def test_a_device_without_the_role_takes_only_its_stores(
    laptop: Machine, shared: Path, tmp_path: Path
) -> None:
    sensor = connected(laptop, tmp_path / "sensor", "device")
    laptop.put("ftp", "one")
    laptop.sync(shared)
    report = sensor.sync(shared)
    assert (report.stores, report.problems) == ({}, [])
    assert not list(sensor.home.rglob("MMM_Credential*"))


def test_a_home_put_back_from_an_older_copy_catches_up(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    phone.put("www", "old")
    phone.sync(shared)
    shutil.copytree(phone.home, tmp_path / "saved")
    phone.put("www", "new")
    phone.put("imap", "three")
    phone.sync(shared)
    laptop.sync(shared)
    shutil.rmtree(phone.home)
    shutil.copytree(tmp_path / "saved", phone.home)
    phone.put("ftp", "after")
    for machine in (phone, laptop, phone):
        assert machine.sync(shared).problems == []
    assert laptop.passwords() == phone.passwords() == {"www": "new", "imap": "three", "ftp": "after"}


def test_stores_that_were_lost_come_back(laptop: Machine, phone: Machine, shared: Path) -> None:
    phone.put("www", "two")
    phone.sync(shared)
    for path in phone.home.rglob("stores"):
        shutil.rmtree(path)
    phone.sync(shared)
    laptop.sync(shared)
    assert phone.passwords() == laptop.passwords() == {"www": "two"}


def test_a_second_older_directory_is_used_when_that_is_said(
    laptop: Machine, phone: Machine, tmp_path: Path
) -> None:
    sticks = [tmp_path / "one", tmp_path / "two"]
    laptop.put("ftp", "one")
    for stick in sticks:
        stick.mkdir()
        laptop.sync(stick)
        phone.sync(stick)
    laptop.put("ftp", "two")
    laptop.sync(sticks[1])
    phone.sync(sticks[1])
    refused = phone.sync(sticks[0])
    assert [item for item in refused.problems if "the directory is older" in item]
    assert phone.sync(sticks[0], older=True).problems == []
    assert phone.passwords() == {"ftp": "two"}


def test_a_directory_that_is_not_there_is_not_made(laptop: Machine, tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound, match="is not there"):
        laptop.sync(tmp_path / "unplugged")
    assert not (tmp_path / "unplugged").exists()


def test_the_copies_of_a_synchroniser_change_nothing(laptop: Machine, phone: Machine, shared: Path) -> None:
    laptop.put("ftp", "one")
    laptop.sync(shared)
    for path in [found for found in shared.rglob("*") if found.is_file()]:
        shutil.copy(path, path.with_suffix(f".sync-conflict-20260101{path.suffix}"))
    report = phone.sync(shared)
    assert report.problems == []
    assert phone.passwords() == {"ftp": "one"}


def test_what_has_not_arrived_whole_is_waited_for(laptop: Machine, phone: Machine, shared: Path) -> None:
    laptop.put("ftp", "one")
    laptop.sync(shared)
    [store] = shared.rglob("MMM_Credential/*.dcat")
    whole = store.read_bytes()
    store.write_bytes(whole[: len(whole) // 2])
    [report] = phone.sync(shared).authors
    assert (report.state, report.problem) == (State.INCOMPLETE, "")
    store.write_bytes(whole)
    phone.sync(shared)
    assert phone.passwords() == {"ftp": "one"}
