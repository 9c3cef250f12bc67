"""The device catalog: who is in it, under which names, and that it tells nothing to others."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.dare.catalog import DIGESTS
from meshhw.dare.envelope import Envelope
from meshhw.dare.heads import prove_frame
from meshhw.dare.sequence import SequenceFile
from meshhw.errors import Ambiguous, KeyNotFound, UsageError
from meshhw.jsonbcd import encode_base64url
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.removed import object_digest
from meshhw.managers.account.request import read_request
from meshhw.managers.account.rights import rights_of
from meshhw.schema.assertion import open_assertion
from meshhw.schema.connection import ConnectionDevice
from meshhw.schema.entry import CatalogedDevice
from tests.account.people import ALICE, OPTIONS, Admin, Phone


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin")


def join(admin: Admin, phone: Phone, name: str, *roles: str) -> None:
    request = read_request(phone.ask().octets())
    phone.complete(admin.connector.connect(request, rights_of(roles), name=name).octets())


def roles(entry: CatalogedDevice, admin: Admin) -> tuple[str, ...]:
    assert entry.enveloped_connection_device is not None
    connection = Envelope.from_array(entry.enveloped_connection_device.array)
    signers = [authority(admin.host, ALICE, OPTIONS).administrator_key]
    return open_assertion(connection, ConnectionDevice, signers).value.roles


def test_the_machine_of_a_new_account_is_its_first_device(admin: Admin) -> None:
    with opened_devices(admin.host, OPTIONS) as devices:
        [first] = devices.devices()
    assert roles(first, admin) == ("super",)


def test_devices_are_found_by_udf_and_by_name(admin: Admin, tmp_path: Path) -> None:
    phone, other = Phone(tmp_path / "phone"), Phone(tmp_path / "other")
    join(admin, phone, "phone", "device")
    with pytest.raises(UsageError, match="'phone' is taken"):
        join(admin, other, "phone", "web")
    join(admin, other, "other", "web")
    with opened_devices(admin.host, OPTIONS, writable=True) as devices:
        devices.put(replace(devices.device("other"), local_name="phone"))  # as two devices' stores may merge
        assert [item.device_udf for item in devices.devices()[1:]] == [phone.device.udf, other.device.udf]
        for name in (phone.device.udf, phone.device.udf[:9], phone.device.udf.replace("-", "").lower()):
            assert devices.device(name).device_udf == phone.device.udf
        with pytest.raises(Ambiguous) as ambiguous:
            devices.device("phone")
        assert len(ambiguous.value.candidates) == 2
        devices.remove(other.device.udf)
        assert devices.device("phone").device_udf == phone.device.udf
        for name in ("M", "nobody", "MAAA-AAAA"):
            with pytest.raises(KeyNotFound):
                devices.device(name)


def test_an_administrators_device_reads_the_same_catalog(admin: Admin, tmp_path: Path) -> None:
    tablet = Phone(tmp_path / "tablet")
    join(admin, tablet, "tablet", "admin")
    source = next(admin.host.home.rglob("MMM_Device.dcat"))
    with opened_devices(tablet.host, OPTIONS) as devices:
        assert devices.devices() == []
    target = next(tablet.host.home.rglob("MMM_Device.dcat"))
    target.write_bytes(source.read_bytes())
    with opened_devices(tablet.host, OPTIONS) as devices:
        assert devices.device("tablet").device_udf == tablet.device.udf


def test_a_frame_proves_what_its_entry_has_signed_without_showing_it(admin: Admin, tmp_path: Path) -> None:
    phone = Phone(tmp_path / "phone")
    join(admin, phone, "the phone in my pocket", "device")
    path = next(admin.host.home.rglob("MMM_Device.dcat"))
    assert b"pocket" not in path.read_bytes()
    with opened_devices(admin.host, OPTIONS) as devices:
        entry = devices.device("the phone in my pocket")
    assert entry.enveloped_connection_device is not None
    digest = object_digest(Envelope.from_array(entry.enveloped_connection_device.array))
    with SequenceFile(path) as sequence:
        proof = prove_frame(sequence, len(sequence) - 1)
    proof.check()
    assert encode_base64url(digest) in proof.members[DIGESTS]  # type: ignore[operator]  # a list
