"""Device profiles on emulated tokens: SoftHSM in suite 448, NSS in P256, and both at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Suite, Tier
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import NewerVersion, NotSupported, PinIncorrect, TokenNotFound
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host, KeyHandle, ProfileRecord
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.managers.uselog import UseLog, entries, verify
from meshhw.schema.assertion import open_profile
from meshhw.schema.keydata import keys_of
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed, Specifier, fingerprint

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"


class Desk:
    """A home, and a person who knows the PINs of the tokens that were put on the desk and no others."""

    def __init__(self, home: Path) -> None:
        self.log_path = home / "log.jsonl"
        self.host = Host(home)
        self.person = Scripted(self._pin)
        self.options = OpenOptions(self.person, UseLog(self.log_path, "test"))
        self.manager = DeviceManager(self.host, self.options)
        self._pins: dict[str, str] = {}

    def put(self, token: Pkcs11Token, pin: str = "") -> ProfileRequest:
        """The person learns the token's PIN (or a wrong one) and wants a device on it."""
        self._pins[token.label] = pin or token.pin
        return ProfileRequest(tokens=[token.uri])

    def key(self, handle: KeyHandle) -> Any:
        """The key of a handle, on a token that is closed at the test's end."""
        token = registry.open_token(handle.key_uri.token, self.options)
        return token.key(handle.key_uri)

    def _pin(self, request: PinRequest) -> str:
        if request.kind is PinKind.VAULT:
            return "a passphrase"
        return self._pins[str(request.token.get("token"))]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    desk = Desk(tmp_path / "home")
    with desk.manager:
        yield desk


def key_count(token: Pkcs11Token) -> int:
    with closing(token.open()) as opened:
        return len(opened.keys())


def decrypts(desk: Desk, record: ProfileRecord) -> bool:
    """Whether the device's encryption key, in its token, opens what was encrypted to its profile."""
    profile = open_profile(Envelope.parse(record.envelope), ProfileDevice).value
    letter = seal(b"a letter", Outline(readers=[RecipientKey(keys_of(profile)["Encryption"])]))
    ring = KeyRing([desk.key(record.key("encryption"))])
    return open_envelope(letter, ring).payload == b"a letter"


@pytest.mark.parametrize(
    ("family", "suites"), [("softhsm", {Suite.S448}), ("nss", {Suite.P256, Suite.S25519})]
)
def test_a_profile_is_born_signed_and_used_inside_the_token(
    desk: Desk, request: pytest.FixtureRequest, family: str, suites: set[Suite]
) -> None:
    token: Pkcs11Token = request.getfixturevalue(f"{family}_token")
    record = desk.manager.create(desk.put(token))
    assert record.suite in suites  # of NSS as its release has Ed25519
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
    verified = open_profile(Envelope.parse(record.envelope), ProfileDevice)
    assert fingerprint(verified.signer) == record.udf
    assert {handle.udf for handle in record.keys} == set(map(fingerprint, keys_of(verified.value).values()))
    assert decrypts(desk, record)
    uses = [entry.operation for entry, _ in entries(desk.log_path)]
    assert uses[-2:] == ["sign", "agree"]
    assert verify(desk.log_path).count == len(uses)


def test_no_private_key_is_extractable_by_the_tokens_own_word(desk: Desk, pkcs11_token: Pkcs11Token) -> None:
    record = desk.manager.create(desk.put(pkcs11_token))
    with closing(pkcs11_token.open()) as opened:
        told = [opened.protection(handle.key_uri) for handle in record.keys]  # type: ignore[attr-defined]  # tells
    assert [(item.extractable, item.generated_inside) for item in told] in (
        [(False, True)] * 4,
        [(False, None)] * 4,
        [(False, False)] * 4,  # NSS calls no key its own
    )


def test_roles_are_split_and_no_other_token_is_asked(
    desk: Desk, new_softhsm: NewToken, nss_token: Pkcs11Token
) -> None:
    first, stranger = new_softhsm(), new_softhsm()
    desk.put(first)
    desk.put(nss_token)
    wanted = ProfileRequest(
        tokens=[first.uri], assigned={"encryption": nss_token.uri, "authentication": nss_token.uri}
    )
    record = desk.manager.create(wanted)
    assert record.suite is Suite.S25519
    assert [handle.key_uri.get("token") for handle in record.keys] == [
        first.label,
        nss_token.label,
        first.label,
        nss_token.label,
    ]
    assert {str(asked.token.get("token")) for asked in desk.person.asked} == {first.label, nss_token.label}
    assert decrypts(desk, record)
    assert key_count(stranger) == 0


def test_the_published_seed_keeps_its_profile_and_its_ed448_keys_stay_outside(
    desk: Desk, softhsm_token: Pkcs11Token
) -> None:
    vector = json.loads((VECTORS / "schema_device_seed_preconfigured.json").read_text())
    desk.put(softhsm_token)
    wanted = ProfileRequest(tokens=[softhsm_token.uri], seed=Seed.parse(vector["seed_udf"]))
    plan = desk.manager.plan(wanted)
    assert "tokens take 57 octets and it has 56" in plan.told[0]
    record = desk.manager.create(wanted, plan)
    assert [handle.udf for handle in record.keys] == [key["published_udf"] for key in vector["keys"]]
    assert [handle.tier for handle in record.keys] == [Tier.SEALED, Tier.NATIVE] * 2
    assert decrypts(desk, record)


def test_a_seed_of_suite_25519_enters_the_token_whole(desk: Desk, softhsm_token: Pkcs11Token) -> None:
    desk.put(softhsm_token)
    seed = Seed.generate(Specifier.PROFILE_DEVICE)
    wanted = ProfileRequest(tokens=[softhsm_token.uri], seed=seed, suite=Suite.S25519, require_hardware=True)
    record = desk.manager.create(wanted)
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
    assert decrypts(desk, record)
    refused = ProfileRequest(tokens=[softhsm_token.uri], seed=seed, suite=Suite.S448, require_hardware=True)
    with pytest.raises(NotSupported, match="seed's Ed448 key cannot enter"):
        desk.manager.create(refused)


def test_a_profile_that_cannot_be_recorded_leaves_no_key_in_the_token(
    desk: Desk, pkcs11_token: Pkcs11Token
) -> None:
    state = desk.host.home / "host.json"
    state.write_text('{"version": 2}')
    state.chmod(0o600)
    with pytest.raises(NewerVersion):
        desk.manager.create(desk.put(pkcs11_token))
    assert key_count(pkcs11_token) == 0


def test_a_wrong_pin_makes_nothing(desk: Desk, softhsm_token: Pkcs11Token) -> None:
    with pytest.raises(PinIncorrect):
        desk.manager.create(desk.put(softhsm_token, pin="00000000"))
    assert key_count(softhsm_token) == 0
    assert desk.host.profiles() == ()


def test_deleting_destroys_the_keys_on_the_token(desk: Desk, pkcs11_token: Pkcs11Token) -> None:
    record = desk.manager.create(desk.put(pkcs11_token))
    with closing(pkcs11_token.open()) as opened:
        opened.delete(record.keys[2].key_uri)  # type: ignore[attr-defined]  # somebody else deletes one
    desk.manager.delete(record)
    assert key_count(pkcs11_token) == 0
    assert desk.host.profiles() == ()


def test_a_device_whose_token_is_away_is_not_half_deleted(
    desk: Desk, softhsm_token: Pkcs11Token, nss_token: Pkcs11Token
) -> None:
    desk.put(softhsm_token)
    desk.put(nss_token)
    wanted = ProfileRequest(tokens=[softhsm_token.uri], assigned={"signature": nss_token.uri})
    record = desk.manager.create(wanted)
    away = tuple(handle if handle.role != "signature" else _elsewhere(handle) for handle in record.keys)
    with pytest.raises(TokenNotFound):
        desk.manager.delete(replace(record, keys=away))
    assert key_count(softhsm_token) == 3
    assert desk.host.profiles() == (record,)


def _elsewhere(handle: KeyHandle) -> KeyHandle:
    """The handle of a key on a token that is not here."""
    return replace(handle, uri="pkcs11:token=nobody-has-this;object=k")
