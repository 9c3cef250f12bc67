"""Killed at any moment (SIGKILL), connecting is taken up where it was or begins anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.errors import Replayed
from meshhw.managers.account.administrators import administrators, profile_of
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.membership import membership
from meshhw.managers.account.pins import standing_of
from meshhw.managers.account.request import make_request, pending_requests, read_request
from meshhw.schema.entry import CatalogedDevice
from tests.account.killing import killed_everywhere
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.test_pins import issued, pins


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin", Suite.S25519)


def asking(phone: Phone, admin: Admin, *roles: str) -> Envelope:
    return make_request(phone.host, phone.device, ALICE, OPTIONS, issued(admin, *roles))


def answer(admin: Admin, request: Envelope, out: Path) -> None:
    """What `account connect FILE --out OUT` does."""
    admin.connector.connect(
        read_request(request.octets()), deliver=lambda told, _: out.write_bytes(told.octets()) and None
    )


def cataloged(admin: Admin, device: str) -> list[CatalogedDevice]:
    with opened_devices(admin.host, OPTIONS, account=ALICE) as found:
        return [item for item in found.devices() if item.device_udf == device]


def test_an_administrator_that_is_killed_goes_on_where_it_was(tmp_path: Path, admin: Admin) -> None:
    phone = Phone(tmp_path / "phone", Suite.S25519)
    request = asking(phone, admin, "admin", "web")
    late = make_request(phone.host, phone.device, ALICE, OPTIONS, issued(admin))  # another PIN
    out = tmp_path / "out"
    out.mkdir()
    file = out / "answer.dare"
    interruptions = 0
    for killed in killed_everywhere(
        [admin.host.home, phone.host.home, out], lambda: answer(admin, request, file)
    ):
        interruptions += killed
        if killed:
            try:
                answer(admin, request, file)
            except Replayed:  # everything was done, the answer was written
                assert file.exists()
        found = phone.complete(file.read_bytes())
        assert found.connection.roles == ("admin", "web")
        [entry] = cataloged(admin, phone.device.udf)
        assert entry.enveloped_connection_device == found.entry.enveloped_connection_device
        assert len(administrators(profile_of(admin.host.profile(ALICE)))) == 2
        with pins(admin) as spool:
            assert sorted(standing_of(known) for known in spool.all()) == ["open", "used"]
        with pytest.raises(Replayed):
            answer(admin, request, file)
        assert not list((admin.host.home / "accounts" / admin.account.udf / "answers").glob("*.json"))
    assert interruptions > 8
    answer(admin, late, file)
    phone.complete(file.read_bytes())


def test_a_device_that_is_killed_completes_again(tmp_path: Path, admin: Admin) -> None:
    phone = Phone(tmp_path / "phone", Suite.S25519)
    octets = admin.answer(phone.ask(), "web")
    for killed in killed_everywhere([phone.host.home], lambda: phone.complete(octets)):
        if killed and pending_requests(phone.host.home):
            phone.complete(octets)
        assert membership(phone.host, ALICE).connection.roles == ("web",)
        assert pending_requests(phone.host.home) == []


def test_a_request_that_is_interrupted_leaves_nothing_that_hinders_the_next(
    tmp_path: Path, admin: Admin
) -> None:
    phone = Phone(tmp_path / "phone", Suite.S25519)
    for _ in killed_everywhere([phone.host.home], phone.ask):
        phone.complete(admin.answer(phone.ask(), "web"))


def test_a_pin_that_was_not_told_does_no_harm(admin: Admin) -> None:
    for killed in killed_everywhere([admin.host.home], lambda: issued(admin)):
        with pins(admin) as spool:
            before = len(spool.all())
            assert before <= 1
            spool.issue(("web",))
            assert len(spool.all()) == before + 1
        assert killed or before == 1
