"""A quorum as one signer, opened by its name: the root of profiles, and how often it asks."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshhw.algorithms import Suite
from meshhw.errors import KeyNotFound, NotSupported, TokenNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.signer import open_signer, public_of
from meshhw.managers.threshold.store import Store
from meshhw.schema.assertion import open_profile, profile_udf, sign_assertion
from meshhw.schema.keydata import key_data
from meshhw.schema.profile import ProfileUser
from meshhw.udf import fingerprint
from tests.threshold_manager.conftest import PASSPHRASE, NewVault


@pytest.fixture
def vaults(new_vault: NewVault) -> list[TokenURI]:
    return [new_vault(name) for name in ("one", "two", "three")]


@pytest.mark.parametrize("suite", list(Suite))
def test_a_quorum_is_the_root_of_a_profile(
    host: Host, options: OpenOptions, vaults: list[TokenURI], suite: Suite
) -> None:
    store = Store(host.home).at("board")
    provision(store, host, options, Request(2, vaults, suite, encrypts=False))
    public = public_of("threshold:board", host.home)
    signer = open_signer("board", host.home, options)
    assert signer.public == public
    assert signer.udf == fingerprint(public)
    profile = ProfileUser(
        profile_signature=key_data(public), updated=datetime.now(UTC), account_address="board@example.com"
    )
    envelope = sign_assertion(profile, signer, profile_udf(profile))
    verified = open_profile(envelope, ProfileUser)
    assert verified.signer == public
    assert profile_udf(verified.value) == signer.udf


def test_each_pin_is_asked_once_however_often_it_signs(host: Host, vaults: list[TokenURI]) -> None:
    person = Scripted({PinKind.VAULT: PASSPHRASE})
    options = OpenOptions(interaction=person)
    provision(Store(host.home).at("board"), host, options, Request(2, vaults, Suite.S25519, encrypts=False))
    person.asked.clear()
    signer = open_signer("board", host.home, options)
    signer.require()
    assert not person.asked
    assert signer.sign(b"one") != signer.sign(b"one")
    assert len(person.asked) == 2


def test_what_cannot_sign_is_told_before_anything_is_asked(
    host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    with pytest.raises(KeyNotFound):
        open_signer("nobody", host.home, options)
    provision(Store(host.home).at("team"), host, options, Request(2, vaults, Suite.S25519, signs=False))
    with pytest.raises(NotSupported, match="no signing key"):
        open_signer("team", host.home, options)
    with pytest.raises(NotSupported, match="no signing key"):
        public_of("team", host.home)
    provision(Store(host.home).at("board"), host, options, Request(2, vaults, Suite.S25519, encrypts=False))
    for vault in vaults[1:]:
        shutil.rmtree(Path(vault.get("vault") or ""))
    with pytest.raises(TokenNotFound, match=r"needs 2 signers and 1 are here; missing: 2 .*, 3 "):
        open_signer("board", host.home, OpenOptions()).require()
