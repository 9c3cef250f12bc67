"""Connecting devices by files: what is granted works, and nothing that was changed or replayed does."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import (
    IntegrityError,
    KeyNotFound,
    MeshError,
    NotSupported,
    Rejected,
    SignatureInvalid,
    UsageError,
)
from meshhw.managers.account.administrators import (
    add_administrator,
    administrators,
    profile_of,
)
from meshhw.managers.account.authority import authority
from meshhw.managers.account.escrow import erase_seed
from meshhw.managers.account.membership import install, membership
from meshhw.managers.account.named import keys as account_keys
from meshhw.managers.account.named import recipient
from meshhw.managers.account.removing import remove_administrator
from meshhw.managers.account.request import pending_requests, read_request, witness_of
from meshhw.managers.account.rights import rights_of
from meshhw.managers.host import now
from meshhw.schema.assertion import open_assertion, sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.core import Enveloped
from meshhw.schema.keydata import key_data
from meshhw.schema.message import RequestConnection
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import Seed, Specifier, fingerprint
from tests.account.people import ALICE, OPTIONS, Admin, Phone


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Admin(tmp_path / "admin")


@pytest.fixture
def phone(tmp_path: Path, admin: Admin) -> Phone:
    return Phone(tmp_path / "phone")


@pytest.mark.parametrize("suite", Suite)
def test_a_connected_device_reads_what_is_for_the_account(tmp_path: Path, admin: Admin, suite: Suite) -> None:
    phone = Phone(tmp_path / "phone", suite)
    found = phone.complete(admin.answer(phone.ask(), "web"))
    assert (found.udf, found.address, found.connection.roles) == (admin.account.udf, ALICE, ("web",))
    assert membership(phone.host, ALICE).udf == found.udf
    letter = seal(b"to the account", Outline(readers=[recipient(ALICE, phone.host.home)]))
    [granted] = account_keys(letter.header.recipients[0].kid, phone.host.home, OPTIONS)
    assert open_envelope(letter, KeyRing([granted])).payload == b"to the account"


@pytest.mark.parametrize("suite", Suite)
def test_a_connected_device_opens_with_its_composed_key(tmp_path: Path, admin: Admin, suite: Suite) -> None:
    phone = Phone(tmp_path / "phone", suite)
    found = phone.complete(admin.answer(phone.ask(), "device"))
    connected = found.connection.encryption
    assert connected is not None
    with found.encryption(OPTIONS) as key:
        assert fingerprint(key.public) == connected.udf
        letter = seal(b"to the phone", Outline(readers=[RecipientKey(key.public)]))
        assert open_envelope(letter, KeyRing([key])).payload == b"to the phone"


@pytest.mark.parametrize(("suite", "mode"), [(Suite.S448, "direct"), (Suite.P256, "tweaked")])
def test_a_connected_device_signs_with_the_key_of_its_connection(
    tmp_path: Path, admin: Admin, suite: Suite, mode: str
) -> None:
    phone = Phone(tmp_path / "phone", suite)
    found = phone.complete(admin.answer(phone.ask(), "device"))
    signature = found.connection.signature
    assert signature is not None
    assert signature.mode == mode
    with found.signer(OPTIONS) as signer:
        assert fingerprint(signer.public) == signature.udf
        signed = sign_assertion(RequestConnection(message_id="N"), signer, "N")
    assert open_assertion(signed, RequestConnection, [signer.public]).signer == signer.public


def test_a_device_made_from_the_published_seed_is_connected(tmp_path: Path, admin: Admin) -> None:
    vectors = Path(__file__).parents[1] / "vectors/schema_device_seed_preconfigured.json"
    phone = Phone(tmp_path / "phone", seed=Seed.parse(json.loads(vectors.read_text())["seed_udf"]))
    assert phone.complete(admin.answer(phone.ask(), "message")).device == phone.device


@pytest.mark.parametrize(
    ("roles", "stores", "common"),
    [
        (("device",), {"MMM_Network", "MMM_Application"}, False),
        (("message",), {"MMM_Contact", "MMM_Inbound"}, True),
        (("web", "device"), {"MMM_Credential", "MMM_Task", "MMM_Bookmark"}, True),
        (("admin",), {"MMM_Device", "MMM_Access", "MMM_Local"}, False),
    ],
)
def test_roles_grant_their_keys_and_no_others(
    admin: Admin, phone: Phone, roles: tuple[str, ...], stores: set[str], common: bool
) -> None:
    granted = phone.complete(admin.answer(phone.ask(), *roles)).common(OPTIONS)
    names = {entry.resource for entry in granted.entries}
    assert stores <= names
    assert names == rights_of(roles).stores
    assert (granted.encryption is not None) is common
    assert granted.activation_key is None


def test_an_administrators_own_key_is_listed_and_counts(admin: Admin, phone: Phone) -> None:
    found = phone.complete(admin.answer(phone.ask(), "admin"))
    assert found.profile.version == 2
    with found.signer(OPTIONS) as signer:
        assert signer.public in administrators(found.profile)
    assert len(administrators(profile_of(admin.host.profile(ALICE)))) == 2


def test_the_super_role_brings_the_seed(admin: Admin, phone: Phone) -> None:
    granted = phone.complete(admin.answer(phone.ask(), "super")).common(OPTIONS)
    assert granted.activation_key is not None
    assert Seed.parse(granted.activation_key).specifier == Specifier.PROFILE_ACCOUNT


def test_keys_that_are_not_here_are_not_granted(admin: Admin, phone: Phone) -> None:
    erase_seed(admin.host, admin.account)
    with pytest.raises(NotSupported, match="its seed is not here"):
        admin.answer(phone.ask(), "message")
    phone.complete(admin.answer(phone.ask(), "device"))


@pytest.mark.parametrize("roles", [[], ["king"], ["threshold", "king"]])
def test_unknown_roles_are_refused(roles: list[str]) -> None:
    with pytest.raises(UsageError):
        rights_of(roles)


def test_both_sides_show_one_witness_and_another_request_another(admin: Admin, phone: Phone) -> None:
    first, second = phone.ask(), phone.ask()
    assert read_request(first.octets()).witness == witness_of(first)
    assert witness_of(first) != witness_of(second)


def test_a_request_is_answered_once_and_an_answer_installed_once(admin: Admin, phone: Phone) -> None:
    request = phone.ask()
    answer = admin.answer(request, "device")
    with pytest.raises(IntegrityError, match="answered already"):
        admin.answer(request, "device")
    phone.complete(answer)
    assert pending_requests(phone.host.home) == []
    with pytest.raises(IntegrityError, match="no request of this machine"):
        phone.complete(answer)


def test_a_request_to_another_account_is_refused(admin: Admin, phone: Phone) -> None:
    with pytest.raises(IntegrityError, match=r"bob@example\.com"):
        admin.answer(phone.ask("bob@example.com"), "device")


def test_a_refusal_reaches_the_device_and_ends_its_request(admin: Admin, phone: Phone) -> None:
    request = phone.ask()
    refusal = admin.connector.reject(read_request(request.octets())).octets()
    with pytest.raises(Rejected, match="'Reject'"):
        phone.complete(refusal)
    assert pending_requests(phone.host.home) == []
    with pytest.raises(IntegrityError, match="answered already"):
        admin.answer(request, "device")


def test_an_answer_for_another_device_does_not_open(tmp_path: Path, admin: Admin, phone: Phone) -> None:
    answer = admin.answer(phone.ask(), "device")
    other = Phone(tmp_path / "other")
    other.ask()
    with pytest.raises(KeyNotFound):
        other.complete(answer)


def resigned(phone: Phone, **changes: object) -> Envelope:
    """The phone's request with other members, properly signed by a key that is in memory."""
    key = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED448, "k"))
    message = replace(decode(phone.ask().body, RequestConnection), **changes)
    return sign_assertion(message, key, "N")


def test_a_request_signed_by_another_key_is_refused(phone: Phone) -> None:
    with pytest.raises(SignatureInvalid):
        read_request(resigned(phone).octets())


def test_a_request_that_has_expired_is_refused(tmp_path: Path, admin: Admin) -> None:
    keys = {
        name: Seed.generate(Specifier.ANY).derive(a, name)
        for name, a in (("p", Algorithm.ED448), ("s", Algorithm.ED448), ("e", Algorithm.X448))
    }
    root, signature = LocalKey(keys["p"]), LocalKey(keys["s"])
    encryption = key_data(LocalKey(keys["e"]).public)
    profile = ProfileDevice(
        profile_signature=key_data(root.public),
        signature=key_data(signature.public, mode="direct"),
        encryption=encryption,
        authentication=encryption,
    )
    signed = sign_assertion(profile, root, fingerprint(root.public))
    for expires, fine in (
        (now() + timedelta(hours=1), True),
        (now() - timedelta(seconds=1), False),
        (None, False),
    ):
        message = RequestConnection(
            message_id="NDTL-GUGD-IBJR-4ENF-M4E3-7YJY-OCLR",
            account_address=ALICE,
            authenticated_data=Enveloped(signed.array()),
            expires=expires,
        )
        octets = sign_assertion(message, signature, "N").octets()
        if fine:
            assert read_request(octets).udf == fingerprint(root.public)
        else:
            with pytest.raises(IntegrityError, match="expired"):
                read_request(octets)


@pytest.mark.parametrize("side", ["request", "answer"])
def test_no_changed_octet_gets_through(admin: Admin, phone: Phone, side: str) -> None:
    request = phone.ask()
    octets = request.octets() if side == "request" else admin.answer(request, "device")
    for position in range(0, len(octets), max(1, len(octets) // 25)):
        changed = octets[:position] + bytes([octets[position] ^ 4]) + octets[position + 1 :]
        try:
            if side == "request":
                same = read_request(changed).message == read_request(octets).message
                assert same, f"octet {position} changed the request"
            else:
                phone.complete(changed)
                pytest.fail(f"octet {position} of the answer was changed, and it was installed")
        except MeshError:
            continue


def test_an_older_profile_does_not_replace_a_newer_one(tmp_path: Path, admin: Admin, phone: Phone) -> None:
    older = phone.complete(admin.answer(phone.ask(), "device"))
    second = Phone(tmp_path / "second")
    admin.answer(second.ask(), "admin")
    newer = phone.complete(admin.answer(phone.ask(), "device"))
    assert (older.profile.version, newer.profile.version) == (1, 2)
    install(phone.host, older)
    assert membership(phone.host, ALICE).profile.version == 2


def test_administrators_come_and_go_and_each_change_is_a_new_version(admin: Admin) -> None:
    key = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.P256, "k")).public
    here = authority(admin.host, ALICE, OPTIONS)
    added = add_administrator(here, key)
    assert add_administrator(here, key) == added
    first = administrators(added)[0]
    removed = remove_administrator(here, fingerprint(first))
    assert administrators(removed) == [key]
    assert [found.version for found in (profile_of(admin.account), added, removed)] == [1, 2, 3]
    assert profile_of(admin.host.profile(ALICE)) == removed
    with pytest.raises(UsageError, match="last administrator"):
        remove_administrator(here, fingerprint(key))
    with pytest.raises(KeyNotFound):
        remove_administrator(here, fingerprint(first))
    agreeing = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.X448, "k")).public
    with pytest.raises(NotSupported):
        add_administrator(here, agreeing)
