"""The account's common keys are changed when a device is lost: the tokens that had the earlier ones get the
new ones, and what they do not take is told, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hwtests.drill_lab import ALICE, Machine
from meshhw.algorithms import Suite, Tier
from meshhw.errors import NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.managers.account.disconnecting import disconnect, lost_device
from meshhw.managers.account.journal import apply, commit
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.replacing import COMMON, require_hardware
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.uselog import UseLog, entries
from tests.account.vaults import cheap_vault


@dataclass
class Telling(Scripted):
    """Remembers what it was told."""

    told: list[str] = field(default_factory=list)

    def tell(self, line: str) -> None:
        self.told.append(line)


@pytest.fixture
def told() -> list[str]:
    return []


def machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: NewToken, told: list[str]
) -> tuple[Machine, Machine, Machine, Pkcs11Token]:
    """An office with that token, a phone and a tablet."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    token = new()

    def pin(request: PinRequest) -> str:
        return "a passphrase" if request.kind is PinKind.VAULT else token.pin

    Host(tmp_path / "log")
    options = OpenOptions(Telling(pin, told=told), UseLog(tmp_path / "log" / "log.jsonl", "test"))
    office, phone, tablet = (
        Machine(Host(tmp_path / name), options) for name in ("office", "phone", "tablet")
    )
    return office, phone, tablet, token


def account(office: Machine, **request: object) -> ProfileRecord:
    with AccountManager(office.host, office.options) as accounts:
        return accounts.create(accounts.plan(ALICE, ProfileRequest(**request)))  # type: ignore[arg-type]  # passed


def loses(office: Machine, lost: Machine) -> None:
    here = office.authority
    held = here.held()
    journal = disconnect(here, lost_device(here, held, lost.device_udf), held)
    commit(here, journal)
    apply(here, journal)
    apply(here, journal)  # as after an interruption: nothing more is imported


def test_new_common_keys_enter_the_tokens_that_had_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_softhsm: NewToken, told: list[str]
) -> None:
    office, phone, tablet, token = machines(tmp_path, monkeypatch, new_softhsm, told)
    before = account(office, tokens=[token.uri], suite=Suite.S25519)
    for machine in (phone, tablet):
        machine.device()
        machine.join(office, "web")
    letter = office.letter()
    require_hardware(office.authority, common=True)
    loses(office, phone)
    record = office.host.profile(ALICE)
    assert len(record.keys) == len(before.keys) + len(COMMON)
    for role in COMMON:
        handle = record.key(role)
        assert handle.tier is Tier.NATIVE
        assert handle.key_uri.token == before.key(role).key_uri.token
        assert handle.udf != before.key(role).udf
    profile = office.authority.profile
    assert record.key("encryption").udf == (profile.common_encryption and profile.common_encryption.udf)
    assert [line for line in told if line.startswith("the account's new encryption key is in pkcs11:")]
    log = tmp_path / "log" / "log.jsonl"
    for sealed in (letter, office.letter()):
        asked = len(list(entries(log)))
        assert office.opens(sealed)
        assert [entry.operation for entry, _ in list(entries(log))[asked:]] == ["agree"]
    office.letter()
    loses(office, tablet)
    assert len(office.host.profile(ALICE).keys) == len(before.keys) + 2 * len(COMMON)
    assert office.opens(letter)


def test_what_does_not_enter_a_token_stays_sealed_and_is_told_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_softhsm: NewToken, told: list[str]
) -> None:
    office, phone, _, token = machines(tmp_path, monkeypatch, new_softhsm, told)
    record = account(office, tokens=[token.uri], suite=Suite.S448)
    phone.device()
    phone.join(office, "web")
    loses(office, phone)
    after = office.host.profile(ALICE)
    assert after.key("encryption").udf != record.key("encryption").udf
    assert after.key("signature").udf == record.key("signature").udf
    assert any("new keys for signature stay sealed to" in line for line in told), told
    assert office.opens(office.letter())

    soft = Machine(Host(tmp_path / "soft"), office.options)
    account(soft, tokens=cheap_vault(soft.host.home, soft.options), suite=Suite.S25519)
    with pytest.raises(NotSupported, match="which is software"):
        require_hardware(soft.authority, common=True)
