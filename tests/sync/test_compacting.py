"""A store that was compacted holds no older version, and the account's other devices lose nothing by it."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Thread

import pytest

from meshhw.dare.heads import head_of, verify_head
from meshhw.dare.links import linked_head
from meshhw.dare.sequence import SequenceFile
from meshhw.errors import NotSupported, UsageError
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.stores import opened_store, store_path
from meshhw.managers.sync.compacting import Compacted, compact
from meshhw.managers.sync.memory import remembering
from meshhw.managers.sync.merging import Tally
from meshhw.schema.entry import CatalogedCredential
from tests.sync.people import ALICE, CREDENTIALS, OPTIONS, Machine, connected, disconnect


def compacted(machine: Machine, *stores: str) -> list[Compacted]:
    return compact(machine.standing, OPTIONS, stores)


def path_of(machine: Machine) -> Path:
    return store_path(machine.standing.directory.path, CREDENTIALS)


def versions(path: Path) -> int:
    with SequenceFile(path, keeps_positions=False) as sequence:
        return sum(frame.header.enc is not None for frame in sequence.frames(1))


def test_older_versions_are_gone_and_the_others_lose_nothing(
    laptop: Machine, phone: Machine, shared: Path
) -> None:
    for number in range(4):
        laptop.put("ftp", f"{number}")
    laptop.put("old", "x")
    for machine in (laptop, phone):
        machine.sync(shared)
    laptop.delete("old")
    with SequenceFile(path_of(laptop)) as sequence:
        head = head_of(sequence)
    [done] = compacted(laptop)
    assert (done.store, done.frames_before, done.frames) == (CREDENTIALS, 7, 4)
    assert done.octets == path_of(laptop).stat().st_size < done.octets_before
    with SequenceFile(path_of(laptop)) as sequence:
        link = linked_head(sequence)
        assert link
        assert verify_head(link, administrators(laptop.standing.profile)) == head
    assert versions(path_of(laptop)) == 2  # the deletion stays, lest another device bring the entry back
    assert compacted(laptop) == []
    phone.put("imap", "new")
    for machine in (phone, laptop, phone):
        assert machine.sync(shared).problems == []
    assert laptop.passwords() == phone.passwords() == {"ftp": "3", "imap": "new"}
    copies = [path for path in laptop.home.rglob("MMM_Credential*.dcat") if laptop.author in path.parts]
    assert copies == []  # what the directory had of its own older store does not stay here
    [theirs] = phone.home.rglob(f"{laptop.author}/MMM_Credential.dcat")
    [there] = shared.rglob(f"MMM_Credential/{laptop.author}.dcat")
    assert theirs.read_bytes() == there.read_bytes() == path_of(laptop).read_bytes()
    for machine in (laptop, phone):
        report = machine.sync(shared)
        assert set(map(repr, report.stores.values())) <= {repr(Tally())}
        assert report.published == []


def test_two_devices_that_compact_and_write_meanwhile_meet(
    laptop: Machine, phone: Machine, shared: Path
) -> None:
    laptop.put("ftp", "one")
    for machine in (laptop, phone):
        machine.sync(shared)
    laptop.put("ftp", "two")
    phone.put("www", "one")
    phone.put("www", "two")
    phone.delete("ftp")
    assert compacted(laptop)
    assert compacted(phone)
    laptop.put("imap", "after")
    for machine in (laptop, phone, laptop, phone):
        assert machine.sync(shared).problems == []
    assert laptop.passwords() == phone.passwords()
    assert laptop.passwords().items() >= {"www": "two", "imap": "after"}.items()


def test_a_home_from_before_the_compaction_loses_nothing(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    laptop.put("ftp", "one")
    laptop.put("ftp", "two")
    laptop.sync(shared)
    shutil.copytree(laptop.home, tmp_path / "saved")
    assert compacted(laptop)
    laptop.put("www", "after")
    laptop.sync(shared)
    shutil.rmtree(laptop.home)
    shutil.copytree(tmp_path / "saved", laptop.home)
    for machine in (laptop, phone):
        assert machine.sync(shared).problems == []
    assert laptop.passwords() == phone.passwords() == {"ftp": "two", "www": "after"}


def test_after_a_disconnection_the_new_keys_stay_and_a_late_device_catches_up(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    lost = connected(laptop, tmp_path / "lost", "web")
    lost.put("imap", "known")
    for machine in (lost, laptop):
        machine.sync(shared)
    disconnect(laptop, lost.host.profile(None, "ProfileDevice").udf)
    laptop.put("imap", "changed")
    assert CREDENTIALS in [done.store for done in compacted(laptop)]
    laptop.sync(shared)
    lost.put("imap", "forged")
    told = lost.sync(shared).problems
    assert [line for line in told if "waits for an administrator's update" in line], told
    assert [line for line in told if "this device was disconnected on" in line], told
    report = phone.sync(shared)
    assert report.problems == []
    [ignored] = [item for item in report.authors if item.author == lost.author]
    assert "was disconnected" in ignored.problem
    assert phone.passwords() == {"imap": "changed"}
    late = connected(laptop, tmp_path / "late", "web")
    assert late.sync(shared).problems == []
    assert late.passwords() == {"imap": "changed"}


def test_what_is_refused_leaves_the_stores_as_they_are(laptop: Machine, tmp_path: Path) -> None:
    sensor = connected(laptop, tmp_path / "sensor", "device")
    laptop.put("ftp", "one")
    laptop.put("ftp", "two")
    before = path_of(laptop).read_bytes()
    with pytest.raises(UsageError, match="is no store"):
        compacted(laptop, "MMM_Nothing")
    with pytest.raises(NotSupported, match="does not grant"):
        compacted(sensor, CREDENTIALS)
    assert path_of(laptop).read_bytes() == before


def test_it_waits_for_a_synchronisation_and_for_a_writer(laptop: Machine) -> None:
    laptop.put("ftp", "one")
    laptop.put("ftp", "two")
    before = path_of(laptop).read_bytes()
    waiting = Thread(target=compacted, args=[laptop])
    with remembering(laptop.standing.directory.path):
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
        assert path_of(laptop).read_bytes() == before
    waiting.join()
    assert path_of(laptop).read_bytes() != before
    laptop.put("ftp", "three")
    with opened_store(laptop.host, CREDENTIALS, OPTIONS, account=ALICE, writable=True) as store:
        waiting = Thread(target=compacted, args=[laptop])
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
        store.put("ftp", CatalogedCredential(service="ftp", password="four"))
    waiting.join()
    assert laptop.passwords() == {"ftp": "four"}
    assert versions(path_of(laptop)) == 1


def test_an_interrupted_compaction_is_repeated(laptop: Machine) -> None:
    laptop.put("ftp", "one")
    laptop.put("ftp", "two")
    path_of(laptop).with_name(".MMM_Credential.dcat.new").write_bytes(b"half")
    assert compacted(laptop)
    assert laptop.passwords() == {"ftp": "two"}
    assert not list(path_of(laptop).parent.glob(".*"))


def test_what_a_killed_compaction_has_left_is_swept_away_though_nothing_is_due(laptop: Machine) -> None:
    compacted(laptop)
    stores = path_of(laptop).parent
    left = [".MMM_Credential.dcat.new", ".MMM_Local.dspl.new.idx", "..MMM_Task.dcat.new.0a1b.part"]
    others = [".MMM_Task.dcat.0a1b.part"]  # a store that is being made
    for name in left + others:
        (stores / name).write_bytes(b"x")
    assert compacted(laptop) == []
    assert [path.name for path in stores.glob(".*")] == others
