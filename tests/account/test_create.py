"""Accounts on the software vault: the published keys from the published seed, and nothing half made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.dare.envelope import Envelope
from meshhw.errors import DecryptionFailed, NewerVersion, NotSupported, StateError, UsageError
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.granted import store_ring
from meshhw.managers.account.manager import AccountManager, checked_address
from meshhw.managers.account.roles import STORES
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import open_profile
from meshhw.schema.keydata import keys_of
from meshhw.schema.profile import ProfileUser
from meshhw.udf import Seed, fingerprint
from tests.account.vaults import cheap_vault

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/schema_account_seed_alice.json").read_text())
SEED = Seed.parse(VECTOR["seed_udf"])
ALICE = "alice@example.com"


class Home:
    """A home, and a person who knows its vault's passphrase."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = Host(path)
        self.options = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}))
        self.tokens = cheap_vault(path, self.options)
        self.accounts = AccountManager(self.host, self.options)

    def create(self, *, native: bool = False, seed: Seed | None = None, **request: object) -> ProfileRecord:
        wanted = ProfileRequest(tokens=self.tokens, seed=seed, **request)  # type: ignore[arg-type]  # passed through
        return self.accounts.create(self.accounts.plan(ALICE, wanted, native=native))

    def vault_keys(self) -> int:
        token = registry.open_token(self.tokens[0], self.options)
        try:
            return len(token.keys())
        finally:
            token.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    made = Home(tmp_path / "home")
    with made.accounts:
        yield made


def test_the_published_seed_gives_every_published_account_key(home: Home) -> None:
    record = home.create(seed=SEED)
    profile = open_profile(Envelope.parse(record.envelope), ProfileUser).value
    ours = {name: fingerprint(public) for name, public in keys_of(profile).items()}
    members = {key["field"]: key["published_udf"] for key in VECTOR["keys"] if key["field"] in ours}
    assert len(members) >= 5
    assert members.items() <= ours.items()
    assert record.udf == members["ProfileSignature"]


def test_the_published_seed_gives_every_published_store_key(home: Home) -> None:
    record = home.create(seed=SEED)
    directory = AccountDirectory(home.path, record.udf)
    keys = directory.keys(home.options)
    private = {name: store_ring(keys, name)[0].public for name in STORES}
    ours = {f"store {name}": fingerprint(key) for name, key in private.items()}
    published = {
        key["field"]: key["published_udf"] for key in VECTOR["keys"] if key["field"].startswith("store ")
    }
    assert len(published) >= 6
    assert published.items() <= ours.items()
    assert [item.resource for item in keys.entries] == list(STORES)


def test_the_seed_is_kept_sealed_and_no_secret_lies_open(home: Home) -> None:
    record = home.create(seed=SEED)
    directory = AccountDirectory(home.path, record.udf)
    assert directory.seed(home.options) == SEED
    texts = [path.read_bytes() for path in home.path.rglob("*") if path.is_file()]
    secrets = [key["derived_secret"] for key in VECTOR["keys"]] + [VECTOR["seed_udf"]]
    assert not any(secret.encode() in text for secret in secrets for text in texts)
    assert not any(SEED.octets in text for text in texts)


def test_a_sealed_file_of_another_account_does_not_open(home: Home) -> None:
    record = home.create(seed=SEED)
    other = AccountDirectory(home.path, "MOTHER")
    (home.path / "accounts" / record.udf).rename(other.path)
    with pytest.raises(DecryptionFailed):
        other.seed(home.options)


@pytest.mark.parametrize("suite", Suite)
def test_each_suite_and_each_way_makes_a_profile_that_verifies(home: Home, suite: Suite) -> None:
    record = home.create(native=suite is Suite.P256, suite=suite)
    profile = open_profile(Envelope.parse(record.envelope), ProfileUser).value
    assert (profile.account_address, profile.version) == (ALICE, 1)
    assert profile.administrator_signatures == (profile.administrator_signature,)
    assert AccountDirectory(home.path, record.udf).has_seed is (suite is not Suite.P256)
    assert home.host.profile(ALICE) == record


def test_native_keys_are_told_to_have_no_way_back(home: Home) -> None:
    native = home.accounts.plan(ALICE, ProfileRequest(tokens=home.tokens), native=True)
    assert "nothing brings these keys back" in native.told[-2]
    assert "--root-threshold NAME" in native.told[-1]
    seeded = home.accounts.plan(ALICE, ProfileRequest(tokens=home.tokens))
    assert "account escrow" in seeded.told[-1]
    with pytest.raises(UsageError):
        home.accounts.plan(ALICE, ProfileRequest(tokens=home.tokens, seed=SEED), native=True)


def test_an_account_that_cannot_be_recorded_leaves_nothing(home: Home) -> None:
    new = home.accounts.plan(ALICE, ProfileRequest(tokens=home.tokens))
    state = home.path / "host.json"
    state.write_text('{"version": 2}')
    state.chmod(0o600)
    with pytest.raises(NewerVersion):
        home.accounts.create(new)
    assert home.vault_keys() == 0
    assert list((home.path / "accounts").glob("*")) == []


def test_an_account_is_made_once(home: Home) -> None:
    home.create(seed=SEED)
    with pytest.raises(StateError, match="already"):
        home.accounts.plan(ALICE.upper(), ProfileRequest(tokens=home.tokens))
    again = home.accounts.plan("other@example.com", ProfileRequest(tokens=home.tokens, seed=SEED))
    with pytest.raises(StateError, match="already"):
        home.accounts.create(again)
    assert home.vault_keys() == 7


def test_required_hardware_refuses_the_vault(home: Home) -> None:
    with pytest.raises(NotSupported):
        home.accounts.plan(ALICE, ProfileRequest(tokens=home.tokens, require_hardware=True))


@pytest.mark.parametrize(
    "text", ["alice", "@example.com", "alice@", "al ice@example.com", "a@b@c", "é@example.com"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        checked_address(text)


def test_addresses_are_lower_case() -> None:
    assert checked_address(" Alice.B@Example.com ") == "alice.b@example.com"
    assert checked_address("") == ""
