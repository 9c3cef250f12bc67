"""The spool of an account's PINs is compacted like its catalogs: a PIN that was used or taken back is gone,
and is as little good as before, on all devices and whatever they did meanwhile."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from meshhw.dare.exchange import KeyRing
from meshhw.dare.heads import head_of, verify_head
from meshhw.dare.links import linked_head
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.spool import contents
from meshhw.errors import KeyNotFound, Replayed
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.answering import Answers
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.pins import STORE as SPOOL
from meshhw.managers.account.pins import KnownPin, pins_of
from meshhw.managers.account.request import make_request
from meshhw.managers.account.stores import spool_path
from meshhw.managers.sync.compacting import Compacted, compact
from meshhw.udf import UDF
from meshhw.udf.message import response_id
from tests.account.killing import killed_before, killed_everywhere, some_or_all
from tests.sync.people import ALICE, CREDENTIALS, OPTIONS, Machine, connected, disconnect, with_device
from tests.sync.test_spools import accept, asked, desk, issued, states

__all__ = ["desk"]


def compacted(machine: Machine, *stores: str) -> list[Compacted]:
    return compact(machine.standing, OPTIONS, stores or [SPOOL])


def path_of(machine: Machine) -> Path:
    return spool_path(machine.standing.directory.path, SPOOL)


def known(machine: Machine) -> list[KnownPin]:
    here = authority(machine.host, ALICE, OPTIONS)
    with pins_of(here, here.held(common=False)) as spool:
        return spool.all()


def take_back(machine: Machine, number: int) -> None:
    """The PIN that was issued as the last but `number`."""
    here = authority(machine.host, ALICE, OPTIONS)
    with pins_of(here, here.held(common=False)) as spool:
        spool.close(spool.all()[number].pin_id)


def refused(machine: Machine, request: bytes) -> None:
    with pytest.raises(Replayed):
        accept(machine, request)


def asking(home: Path, *pins: UDF) -> list[bytes]:
    """Requests of one device, by each of these PINs."""
    machine = with_device(home)
    device = machine.host.profile(None, "ProfileDevice")
    return [make_request(machine.host, device, ALICE, OPTIONS, pin).octets() for pin in pins]


def settled(*machines: Machine, shared: Path) -> None:
    for machine in (*machines, *machines):
        assert machine.sync(shared).problems == []


def test_used_pins_are_gone_and_no_good_on_any_device(
    laptop: Machine, desk: Machine, shared: Path, tmp_path: Path
) -> None:
    pins = [issued(laptop) for _ in range(3)]
    first, second, other, last = asking(tmp_path / "device", pins[0], pins[0], pins[1], pins[2])
    settled(laptop, desk, shared=shared)
    accept(laptop, first)
    take_back(laptop, 1)
    gone = known(laptop)[1].pin_id
    with SequenceFile(path_of(laptop)) as spool:
        head = head_of(spool)
    [done] = compacted(laptop)
    assert (done.store, done.frames_before, done.frames) == (SPOOL, 6, 4)
    assert done.octets == path_of(laptop).stat().st_size < done.octets_before
    with SequenceFile(path_of(laptop)) as spool:
        link = linked_head(spool)
        assert link
        assert verify_head(link, administrators(laptop.standing.profile)) == head
    assert states(laptop) == ["open"]
    assert compacted(laptop) == []
    here = authority(laptop.host, ALICE, OPTIONS)
    with pins_of(here, here.held(common=False)) as pin_spool:
        pin_spool.close(gone)
        with pytest.raises(KeyNotFound):
            pin_spool.close(response_id(gone))
    settled(laptop, desk, shared=shared)
    assert states(desk) == ["open", "closed", "used"]  # its own store it compacts itself
    late = connected(laptop, tmp_path / "late", "super", "web")
    settled(laptop, late, desk, shared=shared)
    for machine in (laptop, desk, late):
        for request in (second, other):
            refused(machine, request)
    for machine in (laptop, desk, late):
        report = machine.sync(shared)
        assert (report.stores, report.published) == ({}, [])
    assert compacted(desk)
    settled(desk, laptop, shared=shared)
    assert states(laptop) == states(desk) == ["open"]
    accept(desk, last)


def test_what_others_did_meanwhile_is_merged(
    laptop: Machine, desk: Machine, shared: Path, tmp_path: Path
) -> None:
    twice, used, back = issued(laptop), issued(laptop), issued(laptop)
    settled(laptop, desk, shared=shared)
    one = asking(tmp_path / "one", twice, twice, used, back)
    other = asking(tmp_path / "other", twice, used, back)
    accept(laptop, one[0])
    take_back(laptop, 0)
    assert compacted(laptop)
    here = issued(laptop)
    for request in other:  # that one was taken back elsewhere, it cannot know
        accept(desk, request)
    there = issued(desk)
    told = [machine.sync(shared) for machine in (laptop, desk, laptop, desk)]
    assert [report.problems for report in told] == [[]] * 4
    assert len(told[1].stores[SPOOL].conflicts) == 1
    assert sorted(states(laptop)) == ["open", "open", "used"]
    assert sorted(states(desk)) == ["open", "open", "used", "used", "used"]
    for machine in (laptop, desk):
        for request in (*one[1:], other[2]):
            refused(machine, request)
    assert compacted(desk)
    assert compacted(laptop)
    settled(laptop, desk, shared=shared)
    assert states(laptop) == states(desk) == ["open", "open"]
    for machine, pin in ((laptop, there), (desk, here)):
        accept(machine, asked(tmp_path / f"for {machine.home.name}", pin))


def test_a_home_from_before_the_compaction_does_not_open_a_pin_again(
    laptop: Machine, desk: Machine, shared: Path, tmp_path: Path
) -> None:
    pin = issued(laptop)
    first, second = (asked(tmp_path / name, pin) for name in ("first", "second"))
    laptop.sync(shared)
    shutil.copytree(laptop.home, tmp_path / "saved")
    accept(laptop, first)
    assert compacted(laptop)
    laptop.sync(shared)
    shutil.rmtree(laptop.home)
    shutil.copytree(tmp_path / "saved", laptop.home)
    settled(laptop, desk, shared=shared)
    for machine in (laptop, desk):
        refused(machine, second)


def test_a_connection_that_was_interrupted_is_finished_after_a_compaction(
    laptop: Machine, tmp_path: Path
) -> None:
    """By the PIN's message, which is closed by then."""
    request = asked(tmp_path / "a", issued(laptop))
    killed_before(f"{laptop.home}/accounts/*/stores/{DEVICES}.dcat", lambda: accept(laptop, request))
    assert states(laptop) == ["used"]
    assert compacted(laptop) == []
    issued(laptop)
    take_back(laptop, 0)
    assert compacted(laptop)
    assert states(laptop) == ["used"]
    accept(laptop, request)
    assert not Answers(laptop.standing.directory.path).pins()
    assert compacted(laptop)
    assert states(laptop) == []
    refused(laptop, request)


def prepared(laptop: Machine, home: Path) -> tuple[UDF, bytes]:
    """Stores with something to leave out; the PIN that is still good, and a request by one that is not."""
    laptop.put("ftp", "one")
    laptop.put("ftp", "two")
    used, good = issued(laptop), issued(laptop)
    first, replayed = (asked(home / name, used) for name in ("first", "replayed"))
    accept(laptop, first)
    with opened_devices(laptop.host, OPTIONS, writable=True) as devices:
        devices.put(devices.devices()[0])
    return good, replayed


@some_or_all(16)
def test_killed_at_any_change_it_is_done_or_not_and_repeated(
    laptop: Machine, desk: Machine, shared: Path, tmp_path: Path, every: int
) -> None:
    good, replayed = prepared(laptop, tmp_path)
    count = len(_devices(laptop))
    desk.sync(shared)
    interruptions, compacting = 0, lambda: compact(laptop.standing, OPTIONS, [])
    for killed in killed_everywhere([laptop.home], compacting, every=every):
        interruptions += killed
        assert laptop.passwords() == {"ftp": "two"}
        assert states(laptop) in (["open", "used"], ["open"])
        done = {one.store for one in compacting()}
        assert done <= {CREDENTIALS, DEVICES, SPOOL}
        assert killed or not done
        assert laptop.passwords() == {"ftp": "two"}
        assert len(_devices(laptop)) == count
        assert states(laptop) == ["open"]
        refused(laptop, replayed)
        assert not list(path_of(laptop).parent.glob(".*"))
    assert interruptions > 22 // every
    settled(laptop, desk, shared=shared)
    refused(desk, replayed)
    accept(desk, asked(tmp_path / "last", good))


def _devices(machine: Machine) -> list[str | None]:
    with opened_devices(machine.host, OPTIONS, account=ALICE) as found:
        return [item.device_udf for item in found.devices()]


def test_expired_ones_stay_until_they_are_closed(laptop: Machine) -> None:
    """Whose clock is right is not compaction's to say."""
    here = authority(laptop.host, ALICE, OPTIONS)
    with pins_of(here, here.held(common=False)) as spool:
        spool.issue(("web",), timedelta(microseconds=1))
    assert compacted(laptop) == []
    assert states(laptop) == ["expired"]


def test_who_was_disconnected_does_not_read_what_is_written_anew(
    laptop: Machine, shared: Path, tmp_path: Path
) -> None:
    """The spool's first key is also the lost device's."""
    issued(laptop)
    issued(laptop)
    lost = connected(laptop, tmp_path / "lost", "admin", "web")
    ring = KeyRing(lost.standing.store_rings(OPTIONS)[SPOOL])
    with SequenceFile(path_of(laptop)) as spool:
        assert len(contents(SequenceReader(spool, ring)).messages) == 2
    disconnect(laptop, lost.host.profile(None, "ProfileDevice").udf)
    take_back(laptop, 0)
    assert compacted(laptop)
    assert states(laptop) == ["open"]
    with SequenceFile(path_of(laptop)) as spool, pytest.raises(KeyNotFound):
        contents(SequenceReader(spool, ring))
