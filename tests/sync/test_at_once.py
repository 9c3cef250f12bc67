"""Two administrators disconnect devices without having met: it is told, nothing is lost, it can be ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.dare.exchange import KeyRing
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import IntegrityError, MeshError
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.disconnecting import rekey
from meshhw.managers.account.granted import doubled, store_ring
from meshhw.managers.account.journal import apply, commit
from meshhw.managers.account.stores import opened_store
from meshhw.schema.entry import CatalogedNetwork
from tests.sync.people import ALICE, CREDENTIALS, OPTIONS, Machine, connected, disconnect

NETWORKS = "MMM_Network"


def udf(machine: Machine) -> str:
    return machine.host.profile(None, "ProfileDevice").udf


def put(machine: Machine, name: str) -> None:
    with opened_store(machine.host, NETWORKS, OPTIONS, account=ALICE, writable=True) as store:
        store.put(name, CatalogedNetwork(service=name, password=name))


def networks(machine: Machine) -> set[str]:
    with opened_store(machine.host, NETWORKS, OPTIONS, account=ALICE) as store:
        return {key for key, _ in store.all(CatalogedNetwork)}


def opened_by(lost: Machine, shared: Path, store: str) -> int:
    """How many entries in all copies of a store the lost device's keys open."""
    ring = KeyRing(store_ring(lost.standing.keys(OPTIONS), store))
    count = 0
    for path in shared.rglob(f"{store}/*.dcat"):
        with SequenceFile(path) as sequence:
            reader = SequenceReader(sequence, ring)
            for index in range(1, len(sequence)):
                try:
                    reader.open(index)
                except MeshError:
                    continue
                count += 1
    return count


def give_new_keys(machine: Machine, *, common: bool = False) -> None:
    here = authority(machine.host, ALICE, OPTIONS)
    journal = rekey(here, here.held(), common=common)
    commit(here, journal)
    apply(here, journal)


def test_two_keys_of_one_number_are_told_and_replaced(laptop: Machine, shared: Path, tmp_path: Path) -> None:
    desk = connected(laptop, tmp_path / "desk", "super", "web")
    first, second = (connected(laptop, tmp_path / name, "device") for name in ("first", "second"))
    phone = connected(laptop, tmp_path / "phone", "device")
    everybody = (laptop, desk, first, second, phone)
    for machine in (*everybody, *everybody):
        assert machine.sync(shared).problems == []
    disconnect(laptop, udf(first))
    disconnect(desk, udf(second))
    put(laptop, "laptop's")
    put(desk, "desk's")
    for machine in (laptop, desk, laptop, desk, phone, phone):
        problems = machine.sync(shared).problems
    assert any("without having met" in line and NETWORKS in line for line in problems)
    assert networks(laptop) == networks(desk) == networks(phone) == {"laptop's", "desk's"}
    assert NETWORKS in doubled(laptop.standing.keys(OPTIONS))
    for machine in (first, second):
        machine.sync(shared)  # what each gave to the other's lost device is in the directory
    give_new_keys(desk)
    for machine in (desk, laptop, phone, desk):
        machine.sync(shared)
    before = [opened_by(machine, shared, NETWORKS) for machine in (first, second)]
    for machine in (laptop, desk, phone):
        put(machine, f"after {machine.author}")
    for machine in (laptop, desk, phone, laptop, desk, phone):
        assert machine.sync(shared).problems == []
    for machine in (first, second):
        machine.sync(shared)
    assert [opened_by(machine, shared, NETWORKS) for machine in (first, second)] == before
    assert len(networks(laptop)) == 5
    assert networks(laptop) == networks(desk) == networks(phone)
    for machine in (laptop, desk):
        with opened_devices(machine.host, OPTIONS, account=ALICE) as devices:
            found = {item.device_udf for item in devices.devices() if item.enveloped_profile_device}
        assert found & {udf(machine) for machine in everybody[1:]} == {udf(desk), udf(phone)}


def test_two_profiles_of_one_version_are_told_and_one_of_both_goes_on(
    laptop: Machine, phone: Machine, shared: Path, tmp_path: Path
) -> None:
    desk = connected(laptop, tmp_path / "desk", "super", "web")
    first, second = (connected(laptop, tmp_path / name, "web") for name in ("first", "second"))
    for machine in (laptop, desk, first, second, phone, laptop, desk):
        assert machine.sync(shared).problems == []
    disconnect(laptop, udf(first))
    disconnect(desk, udf(second))
    laptop.put("ftp", "laptop's")
    desk.put("www", "desk's")
    laptop.sync(shared)
    with pytest.raises(IntegrityError, match="two different profiles") as caught:
        desk.sync(shared)
    assert "repeat on one machine" in caught.value.hint
    assert desk.passwords() == {"www": "desk's"}
    disconnect(desk, udf(first))
    for machine in (desk, laptop, phone, desk, laptop, phone):
        machine.sync(shared)
    for machine in (first, second):
        machine.sync(shared)
    before = [opened_by(machine, shared, CREDENTIALS) for machine in (first, second)]
    phone.put("late", "phone's")
    for machine in (phone, laptop, desk):
        assert machine.sync(shared).problems == []
    everything = {"ftp": "laptop's", "www": "desk's", "late": "phone's"}
    assert phone.passwords() == laptop.passwords() == desk.passwords() == everything
    for machine in (first, second):
        machine.sync(shared)
    assert [opened_by(machine, shared, CREDENTIALS) for machine in (first, second)] == before


def test_new_keys_of_everything_are_for_all_that_remain(
    laptop: Machine, phone: Machine, shared: Path
) -> None:
    for machine in (laptop, phone):
        machine.sync(shared)
    before = laptop.standing.profile.common_encryption
    give_new_keys(laptop, common=True)
    assert laptop.standing.profile.common_encryption != before
    laptop.put("ftp", "new")
    for machine in (laptop, phone):
        assert machine.sync(shared).problems == []
    assert phone.passwords() == {"ftp": "new"}
    held = phone.standing.keys(OPTIONS)
    assert held.encryption is not None
    assert [data.udf for data in held.previous_encryptions] == [before and before.udf]
