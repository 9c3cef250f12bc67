"""A device that was disconnected reads nothing new and adds nothing; the others get their new keys."""

from __future__ import annotations

from pathlib import Path

from tests.sync.people import Machine, connected, disconnect


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
