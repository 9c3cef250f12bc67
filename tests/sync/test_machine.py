"""Devices come, write, synchronise, compact, are lost, and the account comes back from its sheets, in any
order.

Whatever happens: devices that are connected come to the same entries; nothing is lost that nobody replaced;
a device that left reads nothing that was written after, in nobody's copy, and adds nothing; who is a device,
only administrators say; and a directory of before is noticed and takes nothing back.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meshhw.dare.exchange import KeyRing
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import MeshError, NotSupported
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.granted import store_ring
from meshhw.managers.account.removing import remove_administrator
from meshhw.managers.sync.compacting import compact
from meshhw.schema.codec import decode
from meshhw.schema.entry import CatalogedCredential
from tests.sync.conftest import copied
from tests.sync.people import (
    ALICE,
    CREDENTIALS,
    OPTIONS,
    Machine,
    connect,
    disconnect,
    founder,
    recovered,
    sheets,
    with_device,
)

KEYS = st.sampled_from(["ftp", "www"])
DEVICES = 6
LONG = 500
ROLES = [("admin", "web"), ("web",), ("device",), ("web", "message"), ("super", "web")]


@dataclass
class Place:
    """One device of the model: what it may read, and what of that it has replaced knowingly."""

    machine: Machine
    roles: tuple[str, ...]
    lost: bool = False
    known: set[str] = field(default_factory=set)
    """The values that it could read when it left."""
    knows: int = 0
    """How many losses it has got new keys for."""
    number: int = 0
    """Which loss it was."""
    administers: bool = False

    @property
    def reads(self) -> bool:
        return self.roles != ("device",)

    @property
    def udf(self) -> str:
        return self.machine.host.profile(None, "ProfileDevice").udf


class Mesh(RuleBasedStateMachine):
    """The account, its devices, one shared directory."""

    homes: ClassVar[tuple[Machine, list[Machine]]]
    sheets: ClassVar[list[str]]

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="meshhw-machine-"))
        self.shared = self.root / "shared"
        self.shared.mkdir()
        self.kept = self.root / "kept"
        """A copy that somebody has made of the directory."""
        self.count = 0
        self.losses = 0
        self.told = 0
        """The losses whose new keys are in the directory."""
        self.written: dict[str, Place] = {}
        self.hidden: dict[str, int] = {}
        """By value: it was written with the keys that were made after so many losses."""
        self.replaced: set[str] = set()

    @initialize(roles=st.tuples(*[st.sampled_from(ROLES)] * 3))
    def account(self, roles: tuple[tuple[str, ...], ...]) -> None:
        """With some devices from the beginning, so that there is somebody to lose."""
        maker, others = self.homes
        self.laptop = Place(copied(maker, self.root / "laptop"), ("super",), administers=True)
        self.places = [self.laptop]
        self.fresh = [copied(other, self.root / f"device{i}") for i, other in enumerate(others)]
        for one in roles:
            self._connect(self.laptop, one)
        for place in self.places:
            self._synchronise(place)
        self.keep()

    @precondition(lambda self: self.fresh)
    @rule(data=st.data(), roles=st.sampled_from(ROLES))
    def connect(self, data: st.DataObject, roles: tuple[str, ...]) -> None:
        """By any administrator that can; one that shall be an administrator is listed by the root."""
        by = self._administrator(data)
        self._connect(by, roles)
        self._synchronise(by)

    def _connect(self, by: Place, roles: tuple[str, ...]) -> None:
        machine = self.fresh.pop()
        connect(by.machine, machine, *roles, name=f"device {len(self.fresh)}")
        administers = not {"admin", "super"}.isdisjoint(roles)
        self.places.append(Place(machine, roles, knows=by.knows, administers=administers))

    @rule(data=st.data(), key=KEYS)
    def write(self, data: st.DataObject, key: str) -> None:
        place = self._any(data)
        if not place.reads:
            with pytest.raises(NotSupported):
                place.machine.put(key, "x")
            return
        self._write(place, key)

    def _write(self, place: Place, key: str) -> None:
        self._replaces(place, key)
        self.count += 1
        value = f"value {self.count}"
        place.machine.put(key, value)
        self.written[value] = place
        if not place.lost:
            self.hidden[value] = place.knows

    @rule(data=st.data(), key=KEYS)
    def delete(self, data: st.DataObject, key: str) -> None:
        place = self._any(data)
        if place.reads and key in place.machine.passwords():
            self._replaces(place, key)
            place.machine.delete(key)

    @rule(data=st.data())
    def synchronise(self, data: st.DataObject) -> None:
        self._synchronise(self._any(data))

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        """A device leaves behind what no longer counts, whether it has met the others or not."""
        place = self._any(data)
        before = place.machine.passwords() if place.reads else {}
        compact(place.machine.standing, OPTIONS)
        assert compact(place.machine.standing, OPTIONS) == []
        if place.reads:
            assert place.machine.passwords() == before

    @precondition(lambda self: len(self._losable()) > 0)
    @rule(data=st.data(), stays=st.booleans())
    def lose(self, data: st.DataObject, stays: bool) -> None:
        """A device is disconnected; or it `stays`, if it was an administrator, and is none any more."""
        place = data.draw(st.sampled_from(self._losable()), label="lost")
        by = self._administrator(data, but=place)
        if stays and place.roles[0] == "admin":
            if place.administers:
                self._remove_administrator(place, by)
            return
        for _ in range(2):
            self._synchronise(place)
            self._synchronise(by)
        place.known = set(place.machine.passwords().values()) if place.reads else set()
        disconnect(by.machine, place.udf)
        self.losses += 1
        place.lost, place.administers, place.number = True, False, self.losses
        by.knows = self.losses
        self._synchronise(by)
        if "admin" in place.roles:
            self._vandalise(place)

    @rule()
    def keep(self) -> None:
        """Somebody copies the directory as it is now."""
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(self.shared, self.kept)

    @precondition(lambda self: self.kept.exists())
    @rule(data=st.data(), key=KEYS)
    def put_back(self, data: st.DataObject, key: str) -> None:
        """Another one writes; a device that has seen that is shown the copy of before, and then goes on with
        the true directory."""
        place = data.draw(st.sampled_from([place for place in self.places if not place.lost]), label="shown")
        others = [other for other in self._belonging() if other.reads and other is not place]
        if others and not self._stale_in_the_copy(place):
            writer = data.draw(st.sampled_from(others), label="writer")
            self._write(writer, key)
            self._synchronise(writer)
        for _ in range(2):
            self._synchronise(place)
        self._shown_the_copy(place)

    def _shown_the_copy(self, place: Place) -> None:
        """It notices whose word is older there, and takes nothing back."""
        older, home = self.root / "older", self.root / "shown"
        shutil.copytree(self.kept, older)
        shown = copied(place.machine, home)
        told = "\n".join(shown.sync(older).problems)
        for author in self._stale_in_the_copy(place):
            assert f"{author}: the directory " in told
        if place.reads:
            assert shown.passwords() == place.machine.passwords()
        for path in (older, home):
            shutil.rmtree(path)

    def _belonging(self) -> list[Place]:
        """Those whose word counts: connected, and administrators still if they were."""
        return [
            place
            for place in self.places
            if not place.lost and ("admin" not in place.roles or place.administers)
        ]

    def _stale_in_the_copy(self, place: Place) -> list[str]:
        """The devices that belong to the account as they did then, and have written since."""
        found = []
        for other in self._belonging():
            if other is place:
                continue
            name = f"heads/{other.machine.author}.dare"
            now, before = (next(iter(root.rglob(name)), None) for root in (self.shared, self.kept))
            if now and before and now.read_bytes() != before.read_bytes():
                found.append(other.machine.author)
        return found

    @precondition(lambda self: not (self.root / "recovered").exists())
    @rule()
    def recover(self) -> None:
        """The machine of the account burns; its sheets and the directory bring it back."""
        self._synchronise(self.laptop)
        before = self.laptop.machine.passwords()
        shutil.rmtree(self.root / "laptop")
        shutil.rmtree(self.kept, ignore_errors=True)
        self.laptop.machine = recovered(self.sheets, self.root / "recovered", self.shared)
        self._synchronise(self.laptop)
        assert self.laptop.machine.passwords() == before
        self.keep()

    def teardown(self) -> None:
        try:
            self._settled()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    def _settled(self) -> None:
        """Everybody synchronises until nothing is new, and then the promises are checked."""
        if not hasattr(self, "laptop"):
            return
        after = f"after {self.count}"
        self.laptop.machine.put("after", after)
        self.hidden[after] = self.laptop.knows
        for last in (False, True):
            for place in self.places:
                problems = place.machine.sync(self.shared).problems
                waits = not last and all("waits for" in line for line in problems)
                assert problems == [] or place.lost or waits
        connected = [place for place in self.places if not place.lost]
        final = self.laptop.machine.passwords()
        assert all(place.machine.passwords() == final for place in connected if place.reads)
        assert final["after"] == after
        kept = {value for value, by in self.written.items() if not by.lost or value in by.known}
        assert kept - self.replaced <= set(final.values())
        self._only_connected_devices_are_listed(connected)
        for place in [place for place in connected if place is not self.laptop][:1]:
            assert self.laptop.machine.author in self._stale_in_the_copy(place)
            self._shown_the_copy(place)
        for place in self.places:
            if place.lost:
                self._reads_nothing_new(place, set(final.values()))

    def _only_connected_devices_are_listed(self, connected: list[Place]) -> None:
        with opened_devices(self.laptop.machine.host, OPTIONS, account=ALICE) as devices:
            listed = {item.device_udf for item in devices.devices() if item.enveloped_profile_device}
        assert listed == {place.udf for place in connected if place is not self.laptop}

    def _reads_nothing_new(self, place: Place, final: set[str | None]) -> None:
        """Neither in its own stores nor in anybody's copy; and nothing of its own came in any more."""
        opened = self._opened_by(place)
        after_it = {value for value, losses in self.hidden.items() if losses >= place.number}
        assert opened.isdisjoint(after_it)
        own = {value for value, by in self.written.items() if by is place}
        assert final.isdisjoint(own - place.known)
        if place.reads:
            assert set(place.machine.passwords().values()) <= place.known | own

    def _opened_by(self, place: Place) -> set[str | None]:
        """Every value that one of its keys opens in one of the copies that it may come by."""
        ring = KeyRing(store_ring(place.machine.standing.keys(OPTIONS), CREDENTIALS))
        found: set[str | None] = set()
        for path in [*self.shared.rglob(f"{CREDENTIALS}/*.dcat"), *self.root.rglob(f"{CREDENTIALS}.dcat")]:
            with SequenceFile(path) as sequence:
                reader = SequenceReader(sequence, ring)
                for index in range(1, len(sequence)):
                    with suppress(MeshError):
                        found.add(decode(reader.open(index).payload, CatalogedCredential).password)
        return found

    def _remove_administrator(self, place: Place, by: Place) -> None:
        self._synchronise(place)
        here = authority(by.machine.host, ALICE, OPTIONS)
        remove_administrator(here, place.machine.author)
        place.administers = False
        self._synchronise(by)
        self._vandalise(place)

    def _vandalise(self, place: Place) -> None:
        """A former administrator empties the list of devices, as far as it can, before it learns that it is
        none any more."""
        with suppress(MeshError):
            with opened_devices(place.machine.host, OPTIONS, account=ALICE, writable=True) as devices:
                for entry in devices.devices():
                    devices.remove(entry.device_udf or "")
            place.machine.sync(self.shared)

    def _replaces(self, place: Place, key: str) -> None:
        """What this device sees under the key is replaced, if what it does counts."""
        before = place.machine.passwords().get(key)
        if before is not None and not place.lost:
            self.replaced.add(before)

    def _synchronise(self, place: Place) -> None:
        problems = place.machine.sync(self.shared).problems
        assert problems == [] or place.lost or all("waits for" in line for line in problems)
        if not place.lost:
            self.told = place.knows = max(self.told, place.knows)

    def _any(self, data: st.DataObject) -> Place:
        return data.draw(st.sampled_from(self.places), label="device")

    def _administrator(self, data: st.DataObject, but: Place | None = None) -> Place:
        """One that has the root key, after it has seen what the others changed."""
        those = [place for place in self.places if "super" in place.roles and place is not but]
        by = data.draw(st.sampled_from(those), label="by")
        for _ in range(2):
            self._synchronise(by)
        return by

    def _losable(self) -> list[Place]:
        return [place for place in self.places if not place.lost and "super" not in place.roles]


@pytest.fixture(scope="module", autouse=True)
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHHW_HOME", str(root / "home"))
        Mesh.homes = founder(root / "maker"), [with_device(root / f"d{i}") for i in range(DEVICES)]
        Mesh.sheets = sheets(Mesh.homes[0])
        yield


@pytest.mark.parametrize(
    ("examples", "steps"), [(3, 8), pytest.param(LONG, 40, marks=pytest.mark.fuzz)], ids=["short", "long"]
)
def test_devices_in_any_order(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Mesh,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=examples < LONG,  # the check is the same every time; `./dev fuzz` goes elsewhere
            phases=list(Phase) if examples == LONG else [Phase.explicit, Phase.generate],  # minutes to shrink
            suppress_health_check=list(HealthCheck),
        ),
    )
