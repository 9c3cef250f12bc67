"""Contacts that are handed over: signed by the account that they name, and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.local import LocalKey
from meshhw.errors import FormatError, IntegrityError, KeyNotFound, MeshError, SignatureInvalid
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.account.contacts import account_profile, entry_of, exported, own_contact, read_contact
from meshhw.managers.account.entries import summary
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.assertion import sign_assertion
from meshhw.schema.codec import decode, encode
from meshhw.schema.entry import CatalogedContact
from meshhw.udf import Seed, Specifier
from tests.account.vaults import cheap_vault

ALICE = "alice@example.com"
OPTIONS = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}))


@pytest.fixture(params=[Suite.S448, Suite.P256])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    host = Host(tmp_path / "home")
    with AccountManager(host, OPTIONS) as manager:
        wanted = ProfileRequest(tokens=cheap_vault(host.home, OPTIONS), suite=request.param)
        manager.create(manager.plan(ALICE, wanted))
    return host


def test_an_exported_contact_is_read_and_kept_with_its_original(host: Host) -> None:
    envelope = exported(host, "Alice Adams", ALICE, OPTIONS)
    found = read_contact(envelope.octets())
    assert (found.address, found.udf) == (ALICE, host.profile(ALICE).udf)
    entry = decode(encode(entry_of(found, "alice")), CatalogedContact)
    assert summary(entry).full_name == "Alice Adams"
    assert entry.contact is not None
    [source] = entry.contact.sources
    assert source.enveloped_source is not None
    assert source.enveloped_source.array == envelope.array()


def test_a_contact_signed_by_another_key_is_refused(host: Host) -> None:
    other = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED448, "k"))
    contact = own_contact(account_profile(host, None), "Alice")
    with pytest.raises(SignatureInvalid):
        read_contact(sign_assertion(contact, other, "n").octets())


def test_a_contact_without_a_profile_or_with_another_address_is_refused(host: Host) -> None:
    other = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.ED448, "k"))
    contact = own_contact(account_profile(host, None), "Alice")
    with pytest.raises(FormatError, match="nothing vouches"):
        read_contact(sign_assertion(replace(contact, network_addresses=()), other, "n").octets())
    moved = replace(contact.network_addresses[0], address="mallory@example.com")
    with pytest.raises(IntegrityError):
        read_contact(sign_assertion(replace(contact, network_addresses=(moved,)), other, "n").octets())


def test_no_changed_octet_gets_through(host: Host) -> None:
    octets = exported(host, "Alice", None, OPTIONS).octets()
    read = read_contact(octets)
    for position in range(0, len(octets), len(octets) // 30):
        changed = octets[:position] + bytes([octets[position] ^ 1]) + octets[position + 1 :]
        try:
            assert read_contact(changed).contact == read.contact
        except MeshError:
            continue


def test_without_an_account_there_is_no_contact_to_export(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound):
        exported(Host(tmp_path / "bare"), "Nobody", None, OPTIONS)
