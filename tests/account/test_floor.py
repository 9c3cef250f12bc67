"""The weakest suite that an account takes: weaker devices and administrators are refused, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.local import LocalKey
from meshhw.errors import SuiteRefused, UsageError
from meshhw.managers.account.administrators import add_administrator, administrators
from meshhw.managers.account.authority import authority
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.floor import is_weaker
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.policy import policy_of, set_policy
from meshhw.managers.account.succeeding import Succession
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.profile import ConnectionPolicy
from meshhw.udf import Seed, Specifier
from tests.account.people import ALICE, OPTIONS, Admin, Phone
from tests.account.vaults import cheap_vault


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))


def strict(tmp_path: Path, suite: Suite, floor: str) -> Admin:
    admin = Admin(tmp_path / "admin", suite)
    set_policy(authority(admin.host, ALICE, OPTIONS), ConnectionPolicy(suite=floor, roles=("super",)))
    return admin


@pytest.mark.parametrize(
    ("floor", "refused"),
    [(Suite.S448, {Suite.S25519, Suite.P256}), (Suite.S25519, {Suite.P256}), (Suite.P256, set())],
)
def test_a_device_below_the_floor_is_refused_whatever_it_shall_be(
    tmp_path: Path, floor: Suite, refused: set[Suite]
) -> None:
    """The roles that a policy names limit what must be attested, not this."""
    admin = strict(tmp_path, Suite.S448, floor.value)
    for suite in Suite:
        phone = Phone(tmp_path / suite, suite)
        if suite in refused:
            with pytest.raises(SuiteRefused, match=f"below suite {floor}.*Signature .{suite.signature}"):
                admin.answer(phone.ask(), "device")
        else:
            assert phone.complete(admin.answer(phone.ask(), "device")).profile.version == 2
    with opened_devices(admin.host, OPTIONS) as devices:
        assert len(devices.devices()) == 1 + len(Suite) - len(refused)


def test_an_administrator_below_the_floor_is_refused(tmp_path: Path) -> None:
    admin = strict(tmp_path, Suite.S448, "448")
    found = authority(admin.host, ALICE, OPTIONS)
    weak, strong = (
        LocalKey(Seed.generate(Specifier.ANY).derive(algorithm, "k")).public
        for algorithm in (Algorithm.ED25519, Algorithm.ED448)
    )
    with pytest.raises(SuiteRefused, match="AdministratorSignature"):
        add_administrator(found, weak)
    assert strong in administrators(add_administrator(found, strong))


def test_a_floor_above_the_account_itself_or_of_no_suite_is_refused(tmp_path: Path) -> None:
    found = authority(Admin(tmp_path / "admin", Suite.S25519).host, ALICE, OPTIONS)
    for suite in ("448", "512"):
        with pytest.raises(UsageError):
            set_policy(found, ConnectionPolicy(suite=suite))
    assert policy_of(found) == ConnectionPolicy()


def test_a_successor_keeps_the_floor(tmp_path: Path) -> None:
    admin = strict(tmp_path, Suite.S25519, "25519")
    for suite, error in ((Suite.P256, UsageError), (Suite.S25519, None)):
        passing = Succession(authority(admin.host, ALICE, OPTIONS), [])
        with AccountManager(admin.host, OPTIONS) as manager:
            wanted = ProfileRequest(tokens=cheap_vault(admin.host.home, OPTIONS), suite=suite)
            new = manager.plan(ALICE, wanted, predecessor=passing)
            if error is None:
                manager.create(new)
            else:
                with pytest.raises(error, match="below 25519"):
                    manager.create(new)
    assert policy_of(authority(admin.host, ALICE, OPTIONS)).suite == "25519"


def test_algorithms_of_no_suite_are_below_every_floor() -> None:
    assert all(is_weaker(Algorithm.RSA2048, suite) for suite in Suite)
    assert not is_weaker(Algorithm.X448, Suite.P256)
