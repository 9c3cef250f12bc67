"""Accounts that must be in hardware, on each family of tokens; a root on two; a device with two keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from meshhw.algorithms import Suite, Tier
from meshhw.errors import NotSupported
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.piv.token import PIN, VirtualPivToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.manager import AccountManager, NewAccount
from meshhw.managers.account.request import make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.rooting import root_roles
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import open_assertion, open_profile, roots_of, sign_assertion
from meshhw.schema.keydata import signature_keys
from meshhw.schema.message import RequestConnection
from meshhw.schema.profile import ProfileUser

ALICE = "alice@example.com"


@dataclass
class Purse:
    """Tokens whose PINs are known. The vault's passphrase is not, unless a test says so: nothing may ask."""

    pins: dict[TokenURI, str]
    passphrase: str | None = None

    @property
    def options(self) -> OpenOptions:
        return OpenOptions(Scripted(self._pin))

    def _pin(self, asked: PinRequest) -> str:
        if asked.kind is PinKind.VAULT and self.passphrase is not None:
            return self.passphrase
        return next(pin for uri, pin in self.pins.items() if asked.token.fits(uri))


@pytest.fixture
def purse(tpm_home: Path) -> Purse:
    return Purse({})


@pytest.fixture(params=["softhsm", "piv", "tpm"])
def token(request: pytest.FixtureRequest, purse: Purse) -> TokenURI:
    found = {"softhsm": "softhsm_token", "piv": "piv_card", "tpm": "swtpm_token"}[request.param]
    return known(purse, request.getfixturevalue(found))


def known(purse: Purse, found: Pkcs11Token | VirtualPivToken | SoftwareTpm) -> TokenURI:
    purse.pins[found.uri] = getattr(found, "pin", PIN)
    return found.uri


def planned(manager: AccountManager, *, native: bool = False, **request: object) -> NewAccount:
    return manager.plan(ALICE, ProfileRequest(require_hardware=True, **request), native=native)  # type: ignore[arg-type]  # passed


@pytest.mark.parametrize("native", [False, True], ids=["seed", "native"])
def test_every_key_is_in_the_token_and_none_in_a_file(
    tmp_path: Path, purse: Purse, token: TokenURI, native: bool
) -> None:
    host = Host(tmp_path / "alice")
    with AccountManager(host, purse.options) as manager:
        new = planned(manager, tokens=[token], native=native, suite=Suite.P256)
        assert new.plan.told == ()
        record = manager.create(new)
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
    assert {handle.key_uri.scheme for handle in record.keys} == {token.scheme}
    assert AccountDirectory(host.home, record.udf).keys_token().scheme == token.scheme
    assert AccountDirectory(host.home, record.udf).has_seed is not native


def test_what_a_token_cannot_hold_is_refused_and_nothing_is_made(
    tmp_path: Path, purse: Purse, token: TokenURI
) -> None:
    """A seed's keys of suite 448 enter no token; else they are kept elsewhere, and that is said."""
    host = Host(tmp_path / "alice")
    with AccountManager(host, purse.options) as manager:
        with pytest.raises(NotSupported):
            planned(manager, tokens=[token], suite=Suite.S448)
        told = manager.plan(ALICE, ProfileRequest(tokens=[token], suite=Suite.S448)).told
    where = ("kept sealed by it", "goes to the software vault")  # a blank card has no key that seals yet
    assert any("profile-signature" in line and line.endswith(where) for line in told), told
    assert host.profiles() == ()
    opened = registry.open_token(token, purse.options)
    try:
        assert len(opened.keys()) == 0
    finally:
        opened.close()


def test_a_root_on_a_card_and_one_in_a_tpm(
    tmp_path: Path, purse: Purse, piv_card: VirtualPivToken, swtpm_token: SoftwareTpm, new_softhsm: NewToken
) -> None:
    """The card is lost; the TPM's key signs the profile in its place."""
    daily, first, second = (known(purse, found) for found in (new_softhsm(), piv_card, swtpm_token))
    host = Host(tmp_path / "alice")
    with AccountManager(host, purse.options) as manager:
        wanted = {"tokens": [daily], "assigned": root_roles([first, second]), "suite": Suite.P256}
        record = manager.create(planned(manager, native=True, **wanted))
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
    roots = roots_of(authority(host, ALICE, purse.options).profile)
    phone = Host(tmp_path / "phone")
    with DeviceManager(phone, purse.options) as devices:
        there = known(purse, new_softhsm())
        device = devices.create(ProfileRequest(tokens=[there], suite=Suite.P256, require_hardware=True))
    asked = read_request(make_request(phone, device, ALICE, purse.options).octets())
    piv_card.pull()
    found = authority(host, ALICE, purse.options)
    here = found.root_token(None)
    assert (here.scheme if here else None, found.udf) == (second.scheme, record.udf)
    answer = Connector(host, found, purse.options).connect(asked, rights_of(["admin"]))
    member = complete(phone, answer.octets(), purse.options)
    assert open_profile(member.profile_envelope, ProfileUser).signer == roots[1]


@pytest.mark.parametrize("suite", [Suite.S25519, Suite.P256])
def test_a_device_on_a_card_signs_with_two_keys(
    tmp_path: Path, purse: Purse, piv_card: VirtualPivToken, softhsm_token: Pkcs11Token, suite: Suite
) -> None:
    """`dual`: the card's own key and the activation's, and neither counts alone."""
    host, phone = Host(tmp_path / "alice"), Host(tmp_path / "phone")
    with AccountManager(host, purse.options) as manager:
        manager.create(planned(manager, tokens=[known(purse, softhsm_token)], suite=suite))
    with DeviceManager(phone, purse.options) as devices:
        wanted = ProfileRequest(tokens=[known(purse, piv_card)], suite=suite, require_hardware=True)
        device = devices.create(wanted, dual=True)
    asked = read_request(make_request(phone, device, ALICE, purse.options).octets())
    answer = Connector(host, host.profile(ALICE), purse.options).connect(asked, rights_of(["web"]))
    member = complete(phone, answer.octets(), purse.options)
    both = signature_keys(member.connection.signature)
    with member.signers(purse.options) as signers:
        assert [signer.public for signer in signers] == list(both)
        signed = sign_assertion(RequestConnection(message_id="N"), signers, "N")
    assert open_assertion(signed, RequestConnection, [both]).value.message_id == "N"
    assert member.device.key("signature").tier is Tier.NATIVE


def test_a_key_that_a_tpm_keeps_sealed_signs_as_was_published(
    tmp_path: Path, purse: Purse, swtpm_token: SoftwareTpm, softhsm_token: Pkcs11Token
) -> None:
    """A TPM has no EdDSA: it opens the key for one signature, and base and activation sign together."""
    purse.passphrase = "a passphrase"
    host, phone = Host(tmp_path / "alice"), Host(tmp_path / "phone")
    with AccountManager(host, purse.options) as manager:
        manager.create(planned(manager, tokens=[known(purse, softhsm_token)], suite=Suite.S25519))
    with DeviceManager(phone, purse.options) as devices:
        wanted = ProfileRequest(tokens=[known(purse, swtpm_token)], suite=Suite.S25519)
        device = devices.create(wanted, sealed=True)
    assert device.key("signature").tier is Tier.SEALED
    asked = read_request(make_request(phone, device, ALICE, purse.options).octets())
    answer = Connector(host, host.profile(ALICE), purse.options).connect(asked, rights_of(["web"]))
    member = complete(phone, answer.octets(), purse.options)
    with member.signer(purse.options) as signer:
        signed = sign_assertion(RequestConnection(message_id="N"), signer, "N")
    assert signer.public != device.key("signature").public_key
    assert open_assertion(signed, RequestConnection, [signer.public]).value.message_id == "N"
