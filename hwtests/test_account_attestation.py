"""Connecting devices whose tokens attest their keys: what proves too little is refused, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from hwtests.test_piv_imitations import foreign_attester
from meshhw.algorithms import Suite
from meshhw.dare.signing import Signer
from meshhw.errors import AttestationRefused, UsageError
from meshhw.keystore.api import Key, OpenOptions, Signs, TouchPolicy
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.lab.fixtures_piv import InsertCard
from meshhw.lab.piv.attestation import Authority
from meshhw.lab.piv.token import PIN, VirtualPivToken
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.managers.account.authority import Authority as AccountAuthority
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.devices import opened_devices
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.policy import policy_of, set_policy
from meshhw.managers.account.request import Request, make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.keys import opened
from meshhw.managers.profilemaking import ROOT, ProfileRequest
from meshhw.schema.assertion import sign_assertion
from meshhw.schema.attested import attestation_of, attested
from meshhw.schema.core import Enveloped
from meshhw.schema.key import KeyData
from meshhw.schema.keydata import keys_of
from meshhw.schema.profile import ConnectionPolicy, ProfileDevice
from meshhw.udf import Seed, Specifier
from tests.account.vaults import cheap_vault

ALICE = "alice@example.com"
OPTIONS = OpenOptions(Scripted({PinKind.USER: PIN, PinKind.CONTEXT: PIN, PinKind.VAULT: "a passphrase"}))
KEYS = ("ProfileSignature", "Encryption", "Signature", "Authentication")


class Office:
    """Alice's administrator, who knows what a device must prove."""

    def __init__(self, home: Path, suite: Suite = Suite.S25519) -> None:
        self.host = Host(home)
        with AccountManager(self.host, OPTIONS) as manager:
            wanted = ProfileRequest(tokens=cheap_vault(home, OPTIONS), suite=suite)
            manager.create(manager.plan(ALICE, wanted))

    @property
    def account(self) -> ProfileRecord:
        return self.host.profile(ALICE)

    @property
    def authority(self) -> AccountAuthority:
        return authority(self.host, ALICE, OPTIONS)

    @property
    def connector(self) -> Connector:
        return Connector(self.host, self.account, OPTIONS)

    def demand(self, **policy: object) -> None:
        set_policy(self.authority, ConnectionPolicy(**policy))  # type: ignore[arg-type]  # passed

    def connects(self, request: Request, *roles: str) -> bytes:
        return self.connector.connect(request, rights_of(roles or ("web",))).octets()

    def refuses(self, request: Request, why: str) -> None:
        with pytest.raises(AttestationRefused, match=why):
            self.connects(request)
        with opened_devices(self.host, OPTIONS) as devices:
            assert len(devices.devices()) == 1, "more than the office itself"


class Phone:
    """A device with its keys in one token."""

    def __init__(self, home: Path, uri: TokenURI, **request: object) -> None:
        self.host = Host(home)
        with DeviceManager(self.host, OPTIONS) as manager:
            self.device = manager.create(ProfileRequest(tokens=[uri], **request))  # type: ignore[arg-type]  # passed

    def request(self) -> Request:
        return read_request(make_request(self.host, self.device, ALICE, OPTIONS).octets())

    def claiming(self, **members: KeyData | None) -> Request:
        """A request with another profile, which this device's own root key has really signed."""
        request = self.request()
        profile = changed(request.device, **members)
        with opened(self.device.key(ROOT).uri, self.host.home, OPTIONS) as root:
            envelope = sign_assertion(profile, signer(root.key), self.device.udf)
        message = changed(request.message, authenticated_data=Enveloped(envelope.array()))
        with opened(self.device.key("signature").uri, self.host.home, OPTIONS) as own:
            return read_request(sign_assertion(message, signer(own.key), "N").octets())


def soft_phone(tmp_path: Path) -> Phone:
    home = Host(tmp_path / "soft").home
    [vault] = cheap_vault(home, OPTIONS)
    return Phone(home, vault, suite=Suite.S25519)


def signer(key: Key) -> Signer:
    assert isinstance(key, Signs)
    return key


@pytest.fixture
def office(tmp_path: Path, tpm_home: Path) -> Office:  # no other home is touched
    return Office(tmp_path / "office")


def statement(device: ProfileDevice, name: str = "signature") -> Attestation:
    found = attestation_of(getattr(device, name))
    assert found is not None
    return found


def test_a_cards_keys_are_proved_before_anything_is_granted(
    office: Office, piv_card: VirtualPivToken, tmp_path: Path
) -> None:
    office.demand(attested=True, pin="once", roots=(piv_card.card.authority.root,))
    phone = Phone(tmp_path / "phone", piv_card.uri, suite=Suite.S25519)
    request = phone.request()
    judged = office.connector.judged(request)
    assert [found.key for found in judged] == list(KEYS)
    for found in judged:
        assert found.facts is not None
        assert (found.facts.generated_inside, found.facts.serial) == (True, str(piv_card.card.serial))
        assert "made inside, vouched for by Lab PIV Root CA" in str(found)
    assert complete(phone.host, office.connects(request), OPTIONS).device == phone.device


def test_another_makers_card_proves_where_its_keys_were_made_and_no_policy(
    office: Office, insert_card: InsertCard, tmp_path: Path
) -> None:
    card = foreign_attester()
    virtual = insert_card(card)
    phone = Phone(tmp_path / "phone", virtual.uri, suite=Suite.P256)
    request = phone.request()
    assert statement(request.device).format == "piv"
    office.demand(attested=True, pin="once", roots=(card.authority.root,))
    office.refuses(request, "its PIN policy is not attested, once is demanded")
    office.demand(attested=True, roots=(Authority().root,))
    office.refuses(request, "trusted root")
    office.demand(attested=True, roots=(card.authority.root,))
    assert complete(phone.host, office.connects(request), OPTIONS).device == phone.device


def test_a_tpms_keys_are_proved_up_to_its_attestation_key(
    swtpm_token: SoftwareTpm, office: Office, tmp_path: Path
) -> None:
    phone = Phone(tmp_path / "phone", swtpm_token.uri)
    request = phone.request()
    office.demand(attested=True, roots=statement(request.device).chain)
    assert {found.facts and found.facts.generated_inside for found in office.connector.judged(request)} == {
        True
    }
    assert complete(phone.host, office.connects(request), OPTIONS).device == phone.device


def test_another_makers_token_and_the_vault_are_refused_with_the_reason(
    office: Office, piv_card: VirtualPivToken, tmp_path: Path
) -> None:
    office.demand(attested=True, roots=(Authority().root,))
    office.refuses(Phone(tmp_path / "phone", piv_card.uri).request(), "Signature: .*trusted root")
    office.refuses(soft_phone(tmp_path).request(), "unattested: nothing says that a token holds it")


def test_a_policy_binds_the_roles_that_it_names(office: Office, tmp_path: Path) -> None:
    office.demand(attested=True, roots=(Authority().root,), roles=("admin",))
    request = soft_phone(tmp_path).request()
    with pytest.raises(AttestationRefused):
        office.connects(request, "web", "admin")
    assert office.connects(request, "web")


def test_imported_keys_are_refused(
    swtpm_token: SoftwareTpm, office: Office, piv_card: VirtualPivToken, tmp_path: Path
) -> None:
    seed = Seed.generate(Specifier.PROFILE_DEVICE)
    card = Phone(tmp_path / "card", piv_card.uri, suite=Suite.S25519, seed=seed)
    tpm = Phone(tmp_path / "tpm", swtpm_token.uri, suite=Suite.P256, seed=seed)
    chain = statement(tpm.request().device).chain
    office.demand(attested=True, roots=(piv_card.card.authority.root, *chain))
    office.refuses(card.request(), "Encryption: unattested")  # a card attests nothing that was not born in it
    office.refuses(tpm.request(), "Encryption: it was imported")


def test_touch_and_pin_are_demanded_and_a_tpm_does_not_attest_them(
    swtpm_token: SoftwareTpm, office: Office, piv_card: VirtualPivToken, tmp_path: Path
) -> None:
    office.demand(touch="always", roots=(piv_card.card.authority.root,))
    office.refuses(
        Phone(tmp_path / "plain", piv_card.uri).request(), "Signature: its touch policy is never, always is"
    )
    touched = Phone(tmp_path / "touched", piv_card.uri, touch={"signature": TouchPolicy.ALWAYS})
    assert office.connects(touched.request())
    tpm = Phone(tmp_path / "tpm", swtpm_token.uri)
    office.demand(pin="once", roots=statement(tpm.request().device).chain)
    with pytest.raises(AttestationRefused, match="its PIN policy is not attested, once is demanded"):
        office.connects(tpm.request())


def test_forged_and_foreign_attestations_are_refused(
    office: Office, piv_card: VirtualPivToken, tmp_path: Path
) -> None:
    office.demand(attested=True, roots=(piv_card.card.authority.root,))
    soft = soft_phone(tmp_path)
    honest = statement(Phone(tmp_path / "card", piv_card.uri, suite=Suite.S25519).request().device)
    signature = soft.request().device.signature
    assert signature is not None
    office.refuses(soft.claiming(signature=attested(signature, honest)), "attestation is of another key")
    for position in range(60, len(honest.statement), len(honest.statement) // 8):
        octets = bytearray(honest.statement)
        octets[position] ^= 1
        forged = attested(signature, replace(honest, statement=bytes(octets)))
        office.refuses(soft.claiming(signature=forged), "Signature: ")
    torn = changed(attested(signature, honest), x509_certificate=None)
    office.refuses(soft.claiming(signature=torn), "is named and is not there")
    unknown = changed(signature, attestation_format="hearsay")
    office.refuses(soft.claiming(signature=unknown), "'hearsay' are not known")


def test_a_tpms_statement_with_any_octet_changed_is_refused(
    swtpm_token: SoftwareTpm, office: Office, tmp_path: Path
) -> None:
    phone = Phone(tmp_path / "phone", swtpm_token.uri)
    signature = phone.request().device.signature
    assert signature is not None
    assert signature.attestation is not None
    office.demand(attested=True, roots=statement(phone.request().device).chain)
    for position in range(0, len(signature.attestation), len(signature.attestation) // 6):
        octets = bytearray(signature.attestation)
        octets[position] ^= 1
        forged = changed(signature, attestation=bytes(octets))
        office.refuses(phone.claiming(signature=forged), "Signature: ")


def test_the_policy_is_in_the_signed_profile_and_has_to_make_sense(office: Office) -> None:
    root = Authority().root
    before = policy_of(office.authority)
    assert before == ConnectionPolicy()
    for senseless in (
        ConnectionPolicy(attested=True),
        ConnectionPolicy(touch="sometimes", roots=(root,)),
        ConnectionPolicy(attested=True, roots=(root,), roles=("king",)),
    ):
        with pytest.raises(UsageError):
            set_policy(office.authority, senseless)
    changed_to = ConnectionPolicy(attested=True, roots=(root,))
    set_policy(office.authority, changed_to)
    changed = office.account
    assert policy_of(office.authority) == changed_to
    set_policy(office.authority, changed_to)
    assert office.account == changed
    set_policy(office.authority, ConnectionPolicy())
    assert policy_of(office.authority) == ConnectionPolicy()


def test_tokens_without_curve_448_join_an_account_of_that_suite(
    swtpm_token: SoftwareTpm, piv_card: VirtualPivToken, tmp_path: Path
) -> None:
    office = Office(tmp_path / "office", Suite.S448)
    for name, uri, suite in (
        ("card", piv_card.uri, Suite.S25519),
        ("card too", piv_card.uri, Suite.P256),
        ("tpm", swtpm_token.uri, Suite.P256),
    ):
        phone = Phone(tmp_path / name, uri, suite=suite, require_hardware=True)
        found = complete(phone.host, office.connects(phone.request()), OPTIONS)
        assert (found.profile.suite, found.device.suite) == (None, suite)
        keys = keys_of(found.connection)
        assert {keys["Encryption"].algorithm, keys["Authentication"].algorithm} == {suite.agreement}
        assert keys["Signature"].algorithm is suite.signature
        assert found.common(OPTIONS).encryption is not None
