"""Accounts on emulated tokens: keys that enter or are born in them, and devices whose keys compose inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from meshhw.algorithms import Suite, Tier
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.lab.fixtures_pkcs11 import NewToken
from meshhw.lab.piv.token import FACTORY, VirtualPivToken
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.managers.account.authority import authority
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.escrow import make_sheets, recovered_seed
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.membership import Membership
from meshhw.managers.account.request import make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.sharetokens import provision, share_on
from meshhw.managers.account.stores import opened_store
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import ROOT, ProfileRequest
from meshhw.managers.uselog import UseLog, entries
from meshhw.schema.assertion import open_assertion, sign_assertion
from meshhw.schema.entry import CatalogedCredential
from meshhw.schema.message import RequestConnection

ALICE = "alice@example.com"


class Person:
    """Somebody who knows the PINs of all tokens here, and whose every key use is written down."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.pins: dict[str, str] = {}
        self.options = OpenOptions(Scripted(self._pin), UseLog(log, "test"))

    def know(self, token: Pkcs11Token) -> Pkcs11Token:
        self.pins[token.label] = token.pin
        return token

    def uses(self) -> list[str]:
        """The operations with private keys so far."""
        return [entry.operation for entry, _ in entries(self.log)]

    def account(self, host: Host, *, native: bool = False, **request: object) -> ProfileRecord:
        with AccountManager(host, self.options) as manager:
            wanted = ProfileRequest(**request)  # type: ignore[arg-type]  # passed through
            return manager.create(manager.plan(ALICE, wanted, native=native))

    def device(self, host: Host, token: Pkcs11Token, **request: object) -> ProfileRecord:
        with DeviceManager(host, self.options) as manager:
            return manager.create(ProfileRequest(tokens=[token.uri], **request))  # type: ignore[arg-type]  # passed

    def _pin(self, request: PinRequest) -> str:
        if request.kind is PinKind.VAULT:
            return "a passphrase"
        return self.pins[str(request.token.get("token"))]


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    Host(tmp_path / "log")
    return Person(tmp_path / "log" / "log.jsonl")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "admin")


def test_a_seeds_keys_enter_the_token_and_the_seed_is_sealed_to_it(
    person: Person, host: Host, softhsm_token: Pkcs11Token
) -> None:
    person.know(softhsm_token)
    record = person.account(host, tokens=[softhsm_token.uri], suite=Suite.S25519, require_hardware=True)
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
    directory = AccountDirectory(host.home, record.udf)
    assert softhsm_token.label.encode() in (directory.path / "seed.sealed").read_bytes()
    assert len(directory.keys(person.options).entries) == 13
    sheets = make_sheets(host, record, person.options, 2, 3)
    assert recovered_seed([sheet.code for sheet in sheets[1:]]).udf == record.udf


def test_tokens_keep_the_shares_and_one_that_cannot_changes_none(
    person: Person, host: Host, new_softhsm: NewToken, nss_token: Pkcs11Token
) -> None:
    first, second = person.know(new_softhsm()), person.know(new_softhsm())
    record = person.account(host, tokens=[first.uri], suite=Suite.S25519)
    sheets = make_sheets(host, record, person.options, 2, 3)
    assert provision(sheets, [first.uri, second.uri], person.options) == sheets[2:]
    texts = [share_on(token.uri, person.options) for token in (first, second)]
    assert recovered_seed(texts).udf == record.udf
    others = make_sheets(host, record, person.options, 2, 3)
    with pytest.raises(NotSupported, match="keeps no data"):
        provision(others, [first.uri, person.know(nss_token).uri], person.options)
    assert share_on(first.uri, person.options) == texts[0]


def test_a_card_keeps_a_share_and_a_tpm_says_that_it_keeps_none(
    person: Person,
    host: Host,
    softhsm_token: Pkcs11Token,
    piv_card: VirtualPivToken,
    swtpm_token: SoftwareTpm,
) -> None:
    record = person.account(host, tokens=[person.know(softhsm_token).uri], suite=Suite.S25519)
    sheets = make_sheets(host, record, person.options, 2, 3)
    card = OpenOptions(Scripted(FACTORY))
    assert provision(sheets, [piv_card.uri], card) == sheets[1:]
    shares = [share_on(piv_card.uri, card), sheets[2].code]
    assert recovered_seed(shares).udf == record.udf
    with pytest.raises(NotSupported, match="keeps no data") as refused:
        provision(sheets, [swtpm_token.uri], swtpm_token.options())
    assert "a TPM keeps none" in (refused.value.hint or "")


def test_suite_448_of_a_seed_is_refused_where_hardware_is_required(
    person: Person, host: Host, softhsm_token: Pkcs11Token
) -> None:
    person.know(softhsm_token)
    with pytest.raises(NotSupported, match="seed's Ed448 key cannot enter"):
        person.account(host, tokens=[softhsm_token.uri], suite=Suite.S448, require_hardware=True)
    with closing(softhsm_token.open()) as opened:
        assert len(opened.keys()) == 0


def test_native_keys_are_born_inside_and_the_root_on_a_token_of_its_own(
    person: Person, host: Host, new_softhsm: NewToken
) -> None:
    daily, offline = person.know(new_softhsm()), person.know(new_softhsm())
    record = person.account(
        host, native=True, tokens=[daily.uri], assigned={ROOT: offline.uri}, require_hardware=True
    )
    assert record.suite is Suite.S448
    assert {handle.tier for handle in record.keys} == {Tier.NATIVE}
    places = {handle.role: handle.key_uri.get("token") for handle in record.keys}
    assert places.pop(ROOT) == places.pop("escrow") == offline.label
    assert set(places.values()) == {daily.label}
    with pytest.raises(NotSupported, match="is not here"):
        make_sheets(host, record, person.options, 2, 3)


def connected(person: Person, host: Host, home: Host, device: ProfileRecord, *roles: str) -> Membership:
    request = make_request(home, device, ALICE, person.options)
    account = host.profile(ALICE)
    answer = Connector(host, account, person.options).connect(
        read_request(request.octets()), rights_of(roles)
    )
    return complete(home, answer.octets(), person.options)


@pytest.mark.parametrize(
    ("family", "suite", "mode"),
    [("softhsm", None, "direct"), ("softhsm", Suite.S25519, "direct"), ("nss", Suite.P256, "tweaked")],
)
def test_a_devices_connected_keys_compose_with_its_base_keys_in_the_token(  # all are fixtures
    person: Person,
    host: Host,
    tmp_path: Path,
    new_softhsm: NewToken,
    request: pytest.FixtureRequest,
    family: str,
    suite: Suite | None,
    mode: str,
) -> None:
    admin = person.know(new_softhsm())
    person.account(host, tokens=[admin.uri], suite=Suite.S25519)
    token: Pkcs11Token = person.know(request.getfixturevalue(f"{family}_token"))
    home = Host(tmp_path / "phone")
    device = person.device(home, token, suite=suite, require_hardware=True)
    found = connected(person, host, home, device, "web")
    assert found.common(person.options).encryption is not None
    with found.encryption(person.options) as key:
        letter = seal(b"a letter", Outline(readers=[RecipientKey(key.public)]))
        assert open_envelope(letter, KeyRing([key])).payload == b"a letter"
    with found.signer(person.options) as signer:
        assert found.connection.signature is not None
        assert found.connection.signature.mode == mode
        signed = sign_assertion(RequestConnection(message_id="N"), signer, "N")
    assert open_assertion(signed, RequestConnection, [signer.public]).signer == signer.public


def test_connecting_takes_few_token_operations_on_each_side(
    person: Person, host: Host, tmp_path: Path, new_softhsm: NewToken
) -> None:
    admin, token = person.know(new_softhsm()), person.know(new_softhsm())
    person.account(host, native=True, tokens=[admin.uri])
    home = Host(tmp_path / "phone")
    device = person.device(home, token)
    before = len(person.uses())
    request = make_request(home, device, ALICE, person.options)
    asked = len(person.uses())
    answer = Connector(host, host.profile(ALICE), person.options).connect(
        read_request(request.octets()), rights_of(["admin"])
    )
    answered = len(person.uses())
    complete(home, answer.octets(), person.options)
    completed = len(person.uses())
    assert answered - asked <= 8
    assert (asked - before) + (completed - answered) <= 8


ENTRIES, MANY = 500, 10_000


def test_reading_a_catalog_asks_the_token_once(
    person: Person, host: Host, tmp_path: Path, new_softhsm: NewToken
) -> None:
    """A connected device agrees once; where the account was made a secret is unsealed."""
    admin, token = person.know(new_softhsm()), person.know(new_softhsm())
    person.account(host, tokens=[admin.uri], suite=Suite.S25519)
    home = Host(tmp_path / "phone")
    connected(person, host, home, person.device(home, token), "web")
    for here, use, count in ((host, "unwrap", ENTRIES), (home, "agree", MANY)):
        with opened_store(here, "MMM_Credential", person.options, writable=True) as store:
            for number in range(count):
                store.put(str(number), CatalogedCredential(service=str(number)))
        before = len(person.uses())
        with opened_store(here, "MMM_Credential", person.options) as store:
            assert len(list(store.all(CatalogedCredential))) == count
        assert person.uses()[before:] == [use]


def test_a_connected_administrator_connects_with_few_operations_too(
    person: Person, host: Host, tmp_path: Path, new_softhsm: NewToken, nss_token: Pkcs11Token
) -> None:
    first, desk_token = person.know(new_softhsm()), person.know(nss_token)
    person.account(host, tokens=[first.uri], suite=Suite.P256)
    desk = Host(tmp_path / "desk")
    connected(person, host, desk, person.device(desk, desk_token, suite=Suite.P256), "super")
    for roles in (["web"], ["admin", "web"]):
        home = Host(tmp_path / roles[0])
        device = person.device(home, person.know(new_softhsm()), suite=Suite.P256)
        start = len(person.uses())
        request = read_request(make_request(home, device, ALICE, person.options).octets())
        asked = len(person.uses())
        found = authority(desk, ALICE, person.options)
        answer = Connector(desk, found, person.options).connect(request, rights_of(roles))
        answered = len(person.uses())
        complete(home, answer.octets(), person.options)
        assert answered - asked <= 8
        assert (asked - start) + (len(person.uses()) - answered) <= 8
