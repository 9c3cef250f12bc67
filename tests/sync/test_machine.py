"""Devices come, write, synchronise, are lost, and the account comes back from its sheets, in any order.

Whatever happens: devices that are connected come to the same entries; nothing is lost that nobody replaced;
a device that left reads nothing that was written after, and adds nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meshhw.errors import NotSupported
from tests.sync.conftest import copied
from tests.sync.people import Machine, connect, disconnect, founder, recovered, sheets, with_device

KEYS = st.sampled_from(["ftp", "www"])
DEVICES = 4
ROLES = [("web",), ("device",), ("web", "message")]


@dataclass
class Place:
    """One device of the model: what it may read, and what of that it has replaced knowingly."""

    machine: Machine
    reads: bool
    lost: bool = False
    known: set[str] = field(default_factory=set)
    """The values that it could read when it left."""


class Mesh(RuleBasedStateMachine):
    """The account, its devices, one shared directory."""

    homes: ClassVar[tuple[Machine, list[Machine]]]
    sheets: ClassVar[list[str]]

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="meshhw-machine-"))
        self.shared = self.root / "shared"
        self.shared.mkdir()
        self.count = 0
        self.written: dict[str, Place] = {}
        self.replaced: set[str] = set()

    @initialize()
    def account(self) -> None:
        maker, others = self.homes
        self.laptop = Place(copied(maker, self.root / "laptop"), reads=True)
        self.places = [self.laptop]
        self.fresh = [copied(other, self.root / f"device{i}") for i, other in enumerate(others)]

    @precondition(lambda self: self.fresh)
    @rule(roles=st.sampled_from(ROLES))
    def connect(self, roles: tuple[str, ...]) -> None:
        machine = self.fresh.pop()
        connect(self.laptop.machine, machine, *roles, name=f"device {len(self.fresh)}")
        self.places.append(Place(machine, reads="web" in roles))

    @rule(data=st.data(), key=KEYS)
    def write(self, data: st.DataObject, key: str) -> None:
        place = self._any(data)
        if not place.reads:
            with pytest.raises(NotSupported):
                place.machine.put(key, "x")
            return
        self._replaces(place, key)
        self.count += 1
        place.machine.put(key, f"value {self.count}")
        self.written[f"value {self.count}"] = place

    @rule(data=st.data(), key=KEYS)
    def delete(self, data: st.DataObject, key: str) -> None:
        place = self._any(data)
        if place.reads and key in place.machine.passwords():
            self._replaces(place, key)
            place.machine.delete(key)

    @rule(data=st.data())
    def synchronise(self, data: st.DataObject) -> None:
        place = self._any(data)
        problems = place.machine.sync(self.shared).problems
        assert problems == [] or place.lost or all("waits for" in line for line in problems)

    @precondition(lambda self: len(self._connected()) > 1)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self._connected()[1:]), label="lost")
        for _ in range(2):
            place.machine.sync(self.shared)
            self.laptop.machine.sync(self.shared)
        place.known = set(place.machine.passwords().values()) if place.reads else set()
        disconnect(self.laptop.machine, place.machine.host.profile(None, "ProfileDevice").udf)
        place.lost = True

    @precondition(lambda self: not (self.root / "recovered").exists())
    @rule()
    def recover(self) -> None:
        """The machine of the account burns; its sheets and the directory bring it back."""
        self.laptop.machine.sync(self.shared)
        before = self.laptop.machine.passwords()
        shutil.rmtree(self.root / "laptop")
        self.laptop.machine = recovered(self.sheets, self.root / "recovered", self.shared)
        assert self.laptop.machine.passwords() == before

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
        for _ in range(3):
            for place in self.places:
                problems = place.machine.sync(self.shared).problems
                assert problems == [] or place.lost
        readers = [place for place in self._connected() if place.reads]
        final = self.laptop.machine.passwords()
        assert all(place.machine.passwords() == final for place in readers)
        assert final["after"] == after
        kept = {value for value, by in self.written.items() if not by.lost or value in by.known}
        assert kept - self.replaced <= set(final.values())
        for place in self.places:
            if place.lost and place.reads:
                held = set(place.machine.passwords().values())
                assert after not in held
                assert held <= place.known | {value for value, by in self.written.items() if by is place}
                own = {value for value, by in self.written.items() if by is place}
                assert set(final.values()).isdisjoint(own - place.known)

    def _replaces(self, place: Place, key: str) -> None:
        """What this device sees under the key is replaced, if what it does counts."""
        before = place.machine.passwords().get(key)
        if before is not None and not place.lost:
            self.replaced.add(before)

    def _any(self, data: st.DataObject) -> Place:
        return data.draw(st.sampled_from(self.places), label="device")

    def _connected(self) -> list[Place]:
        return [place for place in self.places if not place.lost]


@pytest.fixture(scope="module", autouse=True)
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHHW_HOME", str(root / "home"))
        Mesh.homes = founder(root / "maker"), [with_device(root / f"d{i}") for i in range(DEVICES)]
        Mesh.sheets = sheets(Mesh.homes[0])
        yield


@pytest.mark.parametrize(
    ("examples", "steps"), [(5, 12), pytest.param(500, 40, marks=pytest.mark.fuzz)], ids=["short", "long"]
)
def test_devices_in_any_order(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Mesh,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
