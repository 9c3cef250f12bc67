"""Keys, and whole vaults, that another token must open too. Here the other token is a second vault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from meshhw_software import sealing
from meshhw_software.token import VaultToken

from meshhw.algorithms import Algorithm, Tier
from meshhw.errors import DecryptionFailed, MeshError, PinIncorrect, PinRequired, TokenError, UsageError
from meshhw.keystore.api import KeySpec, Signs
from meshhw.keystore.interaction import PinKind, PinRequest, Scripted
from meshhw.keystore.uri import TokenURI

OpenVault = Callable[..., VaultToken]


def person(request: PinRequest) -> str:
    """The two vaults have two passphrases."""
    return "outer" if request.token.get("vault") else "inner"


@pytest.fixture
def sealer(open_vault: OpenVault, tmp_path: Path) -> str:
    uri = f"software:vault={tmp_path}/sealer"
    open_vault(uri, passphrase="outer").seal(b"", b"")
    return uri


def test_a_sealed_key_needs_both(open_vault: OpenVault, sealer: str) -> None:
    made = open_vault(asked=Scripted(person)).generate(KeySpec(Algorithm.ED448, place=sealer))
    both = Scripted(person)
    key = open_vault(asked=both).key(made.uri)
    assert isinstance(key, Signs)
    assert len(key.sign(b"m")) == 114
    assert len(both.asked) == 2
    one = open_vault(passphrase="inner").key(made.uri)
    assert isinstance(one, Signs)
    with pytest.raises(PinIncorrect):
        one.sign(b"m")


def test_another_sealer_does_not_open_it(open_vault: OpenVault, sealer: str, tmp_path: Path) -> None:
    made = open_vault(asked=Scripted(person)).generate(KeySpec(Algorithm.ED25519, place=sealer))
    (tmp_path / "sealer").rename(tmp_path / "away")
    open_vault(sealer, passphrase="outer").seal(b"", b"")
    key = open_vault(asked=Scripted(person)).key(made.uri)
    assert isinstance(key, Signs)
    with pytest.raises(DecryptionFailed):
        key.sign(b"m")


def test_a_vault_that_a_token_opens_has_no_passphrase(
    open_vault: OpenVault, sealer: str, tmp_path: Path
) -> None:
    uri = TokenURI.make("software", vault=str(tmp_path / "v"), query={"sealed-by": sealer})
    outer = Scripted(lambda request: "outer")
    made = open_vault(str(uri), asked=outer).generate(KeySpec(Algorithm.P256))
    assert [(request.label, request.new) for request in outer.asked] == [
        (f"the vault {tmp_path}/sealer", False)
    ]
    again = open_vault(str(made.uri.token), asked=outer)
    key = again.key(made.uri)
    assert isinstance(key, Signs)
    assert len(key.sign(b"m")) == 64
    with pytest.raises(UsageError, match="no passphrase"):
        again.change_pin(PinKind.VAULT)
    refused = open_vault(str(made.uri.token), asked=Scripted()).key(made.uri)
    assert isinstance(refused, Signs)
    with pytest.raises(PinRequired):
        refused.sign(b"m")


def test_a_vault_cannot_seal_itself(open_vault: OpenVault) -> None:
    with pytest.raises(UsageError):
        open_vault().generate(KeySpec(Algorithm.ED25519, place="software:"))
    assert open_vault().keys() == []


@pytest.mark.parametrize("place", ["nonsense", "software:vault=/nowhere/at/all", "card:"])
def test_a_sealer_that_is_not_there_leaves_no_key(open_vault: OpenVault, place: str) -> None:
    with pytest.raises((TokenError, UsageError)):
        open_vault().generate(KeySpec(Algorithm.ED25519, place=place))
    assert open_vault().keys() == []


def test_tiers() -> None:
    assert sealing.tier_of("") is Tier.SOFTWARE
    assert sealing.tier_of("software:") is Tier.SOFTWARE
    assert sealing.tier_of("fido2:") is Tier.SEALED
    assert sealing.wants_touch("fido2:")
    assert not sealing.wants_touch("tpm2:")
    with pytest.raises(MeshError):
        sealing.tier_of("nonsense")
