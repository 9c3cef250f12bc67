"""Threshold keys whose shares are native keys of SoftHSM and NSS tokens and of a vault."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hwtests.threshold_lab import PAYLOAD, Lab
from meshhw.algorithms import Suite, Tier
from meshhw.dare.prepare import Outline
from meshhw.dare.read import verify_envelope
from meshhw.dare.write import seal
from meshhw.errors import NotSupported, PinIncorrect, TokenNotFound
from meshhw.keystore import registry
from meshhw.keystore.api import Agrees, OpenOptions, Signs, SignsDigest, TellsProtection
from meshhw.keystore.interaction import Refusing
from meshhw.keystore.uri import KeyURI
from meshhw.managers.threshold.provision import Request
from meshhw.managers.threshold.renew import replace
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.state import delete_key

if TYPE_CHECKING:
    from meshhw.lab.pkcs11_token import Pkcs11Token


@pytest.fixture
def lab(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_softhsm: Callable[[], Pkcs11Token],
) -> Lab:
    """Two SoftHSM tokens."""
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Lab(tmp_path / "home", [new_softhsm(), new_softhsm()])


@pytest.mark.parametrize("suite", list(Suite))
def test_two_of_three_over_two_softhsm_tokens_and_a_vault(lab: Lab, suite: Suite) -> None:
    loaded = lab.provision(Request(2, [*lab.uris, lab.vault], suite))
    key = loaded.key("decryption")
    assert [holder.tier for holder in key.holders] == [Tier.NATIVE, Tier.NATIVE, Tier.SOFTWARE]
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(loaded, pair)
    with pytest.raises(TokenNotFound):
        lab.decrypts(loaded, (1,))
    signer = ThresholdSigner(loaded, lab.store, lab.options)
    assert verify_envelope(seal(PAYLOAD, Outline(signers=[signer]))).signers == (signer.public,)


@pytest.mark.parametrize("suite", [Suite.S25519, Suite.P256])
def test_shares_agree_and_do_nothing_else_and_cannot_be_extracted(lab: Lab, suite: Suite) -> None:
    loaded = lab.provision(Request(2, lab.uris, suite, signs=False))
    for holder in loaded.key("decryption").holders:
        uri = KeyURI.parse(holder.key or "")
        token = registry.open_token(uri.token, lab.options)
        assert isinstance(token, TellsProtection)
        assert token.protection(uri).extractable is False
        key = token.key(uri)
        assert isinstance(key, Agrees)
        assert not isinstance(key, Signs | SignsDigest)
        token.close()


@pytest.fixture
def nss_beside(lab: Lab, nss_token: Pkcs11Token, monkeypatch: pytest.MonkeyPatch) -> Pkcs11Token:
    """An NSS token that is seen beside the SoftHSM ones."""
    modules = os.pathsep.join([lab_module(lab), nss_token.env["MESHHW_PKCS11_MODULES"]])
    monkeypatch.setenv("MESHHW_PKCS11_MODULES", modules)
    lab.pins[nss_token.label] = nss_token.pin
    return nss_token


def test_p256_over_softhsm_and_nss(lab: Lab, nss_beside: Pkcs11Token) -> None:
    request = Request(2, [lab.uris[0], nss_beside.uri, lab.vault], Suite.P256, signs=False)
    loaded = lab.provision(request)
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(loaded, pair)


def test_x25519_over_softhsm_nss_and_a_vault(lab: Lab, nss_beside: Pkcs11Token) -> None:
    """NSS takes no X25519 key from outside, so each token makes its own share."""
    request = Request(3, [lab.uris[0], nss_beside.uri, lab.vault], Suite.S25519, signs=False, dealerless=True)
    loaded = lab.provision(request)
    assert lab.decrypts(loaded, (1, 2, 3))
    with pytest.raises(TokenNotFound):
        lab.decrypts(loaded, (1, 2))


def lab_module(lab: Lab) -> str:
    return lab.uris[0].get("module-path") or ""


@pytest.mark.parametrize("suite", [Suite.S448, Suite.P256])
def test_a_dealerless_key_of_two_tokens(lab: Lab, suite: Suite) -> None:
    loaded = lab.provision(Request(2, lab.uris, suite, signs=False, dealerless=True))
    assert lab.decrypts(loaded, (1, 2))


def test_a_token_that_cannot_take_the_share_is_refused_before_any_pin(
    lab: Lab, nss_beside: Pkcs11Token
) -> None:
    """NSS has no X448."""
    lab.provision(Request(2, [*lab.uris, lab.vault], Suite.S448, renewable=True))
    nobody = OpenOptions(interaction=Refusing())
    with pytest.raises(NotSupported, match="cannot hold a share of an X448 key"):
        replace(lab.store, lab.host, nobody, (3, nss_beside.uri))
    assert lab.store.journal() is None


def test_a_wrong_pin_leaves_nothing_on_any_token(lab: Lab) -> None:
    good, labels = dict(lab.pins), list(lab.pins)
    lab.pins[labels[1]] = "00000000"
    with pytest.raises(PinIncorrect):
        lab.provision(Request(2, lab.uris, Suite.S25519, signs=False))
    lab.pins |= good
    for uri in lab.uris:
        token = registry.open_token(uri, lab.options)
        assert not token.keys()
        token.close()
    assert lab.provision(Request(2, lab.uris, Suite.S25519, signs=False)).value.version == 1


def test_deleting_destroys_every_share(lab: Lab) -> None:
    lab.provision(Request(2, lab.uris, Suite.S25519))
    assert delete_key(lab.store, lab.options) == []
    assert not lab.store.exists
    for uri in lab.uris:
        token = registry.open_token(uri, lab.options)
        assert not token.keys()
        token.close()
