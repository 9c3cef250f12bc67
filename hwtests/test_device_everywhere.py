"""A device's whole life on a token of every driver: made, found again, used, and destroyed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from meshhw.algorithms import Suite, Tier
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, Seals
from meshhw.keystore.home import VARIABLE
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.lab.ctap.card import CtapCard
from meshhw.lab.fixtures_ctap import InsertCtapCard
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.token import FACTORY
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import open_profile
from meshhw.schema.keydata import keys_of
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import fingerprint

CTAP_PIN = "1234-pin"
CARDS = ["4.3", "5.4", "5.7", "plain", "imitator", "applet", "hollow", "small", "odd", "nameless"]
NATIVE = {
    **{f"piv-{name}": Suite.P256 for name in CARDS},
    "piv-5.7": Suite.S25519,
    "tpm": Suite.P256,
    "softhsm": Suite.S448,
    "nss": Suite.P256,
}
"""Tokens in which a device's keys are made, and the suite that they get."""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenOptions:
    """Of a person who knows every PIN, in a home of the test's own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "home"))
    return OpenOptions(Scripted(known_pin))


def known_pin(request: PinRequest) -> str:
    """The factory's PINs of cards; a TPM's and a vault's are whatever is said."""
    if request.token.scheme == "fido2":
        return CTAP_PIN
    if request.token.scheme == "pkcs11":
        return PINS[str(request.token.get("token"))]
    return FACTORY.get(request.kind, "a passphrase") if request.kind is not PinKind.VAULT else "a passphrase"


PINS: dict[str, str] = {}


def placed(name: str, request: pytest.FixtureRequest) -> TokenURI:
    """Put a token of that kind there."""
    kind, _, personality = name.partition("-")
    if kind == "piv":
        insert: InsertCard = request.getfixturevalue("insert_card")
        return insert(personality).uri
    if kind == "tpm":
        uri: TokenURI = request.getfixturevalue("swtpm_token").uri
        return uri
    token = request.getfixturevalue(f"{kind}_token")
    PINS[token.label] = token.pin
    found: TokenURI = token.uri
    return found


def life(home: Path, options: OpenOptions, wanted: ProfileRequest) -> ProfileRecord:
    """Make a device, use it from another session, destroy it; what it was."""
    with DeviceManager(Host(home), options) as maker:
        made = maker.create(wanted)
    with DeviceManager(Host(home), options) as later:
        (record,) = Host(home).profiles()
        assert record == made
        profile = open_profile(Envelope.parse(record.envelope), ProfileDevice)
        assert fingerprint(profile.signer) == record.udf
        assert decrypts(record, profile.value, options)
        later.delete(record)
    assert Host(home).profiles() == ()
    return made


def decrypts(record: ProfileRecord, profile: ProfileDevice, options: OpenOptions) -> bool:
    """Whether the device's encryption key opens what was encrypted to its profile."""
    letter = seal(b"a letter", Outline(readers=[RecipientKey(keys_of(profile)["Encryption"])]))
    uri = record.key("encryption").key_uri
    with closing(registry.open_token(uri.token, options)) as token:
        return open_envelope(letter, KeyRing([token.key(uri)])).payload == b"a letter"


@pytest.mark.parametrize("name", NATIVE)
def test_a_device_lives_and_ends_in_the_token(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, options: OpenOptions
) -> None:
    uri = placed(name, request)
    record = life(tmp_path / "home", options, ProfileRequest(tokens=[uri]))
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
    newer_nss = name == "nss" and record.suite is Suite.S25519  # as its release has Ed25519
    assert record.suite is NATIVE[name] or newer_nss
    with closing(registry.open_token(uri, options)) as token:
        assert len(token.keys()) == 0


@pytest.mark.parametrize("model", ["2.1", "2.0", "always"])
def test_a_device_lives_in_a_vault_behind_an_authenticator(
    model: str, tmp_path: Path, insert_ctap_card: InsertCtapCard, options: OpenOptions
) -> None:
    virtual = insert_ctap_card(CtapCard(model=model))
    virtual.set_pin(CTAP_PIN)
    record = life(tmp_path / "home", options, ProfileRequest(tokens=[virtual.uri]))
    assert {handle.tier for handle in record.keys} == {Tier.SEALED}
    with closing(registry.open_token(virtual.uri, options)) as token:
        assert isinstance(token, Seals)


def test_a_device_lives_on_four_tokens_of_four_kinds(
    tmp_path: Path, request: pytest.FixtureRequest, options: OpenOptions
) -> None:
    card, other, tpm, nss = (placed(name, request) for name in ("piv-5.4", "piv-applet", "tpm", "nss"))
    assigned = {"signature": other, "encryption": tpm, "authentication": nss}
    record = life(
        tmp_path / "home", options, ProfileRequest(tokens=[card], assigned=assigned, suite=Suite.P256)
    )
    assert len({handle.key_uri.token for handle in record.keys}) == 4
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
