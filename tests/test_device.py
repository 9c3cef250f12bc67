"""The device key manager on the software vault; `hwtests/test_device.py` does the same on tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshhw.algorithms import Operation, Suite, Tier
from meshhw.dare.envelope import Envelope
from meshhw.errors import KeyNotFound, NewerVersion, NotSupported, StateError, UsageError
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import KeyURI
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import VAULT, ProfileRequest
from meshhw.managers.uselog import UseLog, entries, verify
from meshhw.schema.assertion import open_profile
from meshhw.schema.keydata import keys_of
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed, fingerprint

SEED_VECTOR = json.loads(
    (Path(__file__).parent / "vectors/schema_device_seed_preconfigured.json").read_text()
)
ROLES = ["profile-signature", "encryption", "signature", "authentication"]


class Home:
    """A state directory with its host state, and a manager that answers for the vault."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = Host(path)
        self.log = UseLog(path / "log.jsonl", "test")
        self.interaction = Scripted({PinKind.VAULT: "a passphrase"})
        self.manager = DeviceManager(self.host, OpenOptions(self.interaction, self.log))

    def vault_keys(self) -> int:
        token = registry.open_token(VAULT, OpenOptions(self.interaction))
        try:
            return len(token.keys())
        finally:
            token.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    made = Home(tmp_path / "home")
    with made.manager:
        yield made


def test_a_profile_is_signed_recorded_and_logged(home: Home) -> None:
    record = home.manager.create(ProfileRequest(tokens=[VAULT], label="laptop"))
    verified = open_profile(Envelope.parse(record.envelope), ProfileDevice)
    assert home.host.profile("laptop") == record
    assert [handle.role for handle in record.keys] == ROLES
    assert {handle.udf for handle in record.keys} == set(map(fingerprint, keys_of(verified.value).values()))
    assert {handle.tier for handle in record.keys} == {Tier.SOFTWARE}
    assert [entry.operation for entry, _ in entries(home.path / "log.jsonl")] == ["generate"] * 4 + ["sign"]
    assert verify(home.path / "log.jsonl").count == 5


@pytest.mark.parametrize("suite", Suite)
def test_each_suite_makes_its_algorithms(home: Home, suite: Suite) -> None:
    record = home.manager.create(ProfileRequest(tokens=[VAULT], suite=suite))
    assert [handle.algorithm for handle in record.keys] == [suite.signature, suite.agreement] * 2
    read = open_profile(Envelope.parse(record.envelope), ProfileDevice).value
    assert read.suite == (None if suite is Suite.S448 else suite.value)


def test_the_published_seed_gives_the_published_profile(home: Home) -> None:
    seed = Seed.parse(SEED_VECTOR["seed_udf"])
    record = home.manager.create(ProfileRequest(tokens=[VAULT], seed=seed))
    assert [handle.udf for handle in record.keys] == [key["published_udf"] for key in SEED_VECTOR["keys"]]
    published = open_profile(Envelope.from_array(SEED_VECTOR["envelope"]), ProfileDevice).value
    ours = open_profile(Envelope.parse(record.envelope), ProfileDevice).value
    assert keys_of(ours) == keys_of(published)
    with pytest.raises(StateError, match="already"):
        home.manager.create(ProfileRequest(tokens=[VAULT], seed=seed))
    assert home.vault_keys() == 4


def test_nothing_on_disk_but_the_vault_knows_the_seed(home: Home) -> None:
    home.manager.create(ProfileRequest(tokens=[VAULT], seed=Seed.parse(SEED_VECTOR["seed_udf"])))
    secrets = [key["derived_secret"] for key in SEED_VECTOR["keys"]] + [SEED_VECTOR["seed_udf"][:30]]
    for path in (item for item in home.path.rglob("*") if item.is_file()):
        text = path.read_bytes()
        assert not any(secret.encode() in text for secret in secrets)


def test_a_profile_that_cannot_be_recorded_leaves_no_key(home: Home) -> None:
    state = home.path / "host.json"
    state.write_text('{"version": 2}')
    state.chmod(0o600)
    with pytest.raises(NewerVersion):
        home.manager.create(ProfileRequest(tokens=[VAULT]))
    assert home.vault_keys() == 0


class FullLog:
    """A use log whose disk is full when the profile is signed."""

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        if operation is Operation.SIGN:
            raise StateError("the use log cannot be written: no space is left")


def test_a_profile_that_cannot_be_signed_leaves_no_key(home: Home) -> None:
    with (
        DeviceManager(home.host, OpenOptions(home.interaction, FullLog())) as manager,
        pytest.raises(StateError, match="no space"),
    ):
        manager.create(ProfileRequest(tokens=[VAULT]))
    assert home.vault_keys() == 0
    assert home.host.profiles() == ()


def test_deleting_destroys_the_keys_and_forgets_the_profile(home: Home) -> None:
    record = home.manager.create(ProfileRequest(tokens=[VAULT]))
    other = home.manager.create(ProfileRequest(tokens=[VAULT]))
    home.manager.delete(record)
    assert home.host.profiles() == (other,)
    assert home.vault_keys() == 4
    with pytest.raises(KeyNotFound):
        home.host.profile(record.udf)


def test_a_key_that_somebody_else_deleted_does_not_stop_the_deletion(home: Home) -> None:
    record = home.manager.create(ProfileRequest(tokens=[VAULT]))
    token = registry.open_token(VAULT, OpenOptions(home.interaction))
    token.delete(record.keys[1].key_uri)  # type: ignore[attr-defined]  # a vault deletes
    home.manager.delete(record)
    assert home.vault_keys() == 0


def test_hardware_is_required_and_is_not_there(home: Home) -> None:
    with pytest.raises(NotSupported, match="software vault is not hardware"):
        home.manager.create(ProfileRequest(tokens=[VAULT], require_hardware=True))
    assert home.host.profiles() == ()


def test_a_role_that_a_device_does_not_have_is_a_usage_error(home: Home) -> None:
    with pytest.raises(UsageError, match="no role 'escrow'"):
        home.manager.plan(ProfileRequest(tokens=[VAULT], assigned={"escrow": VAULT}))
