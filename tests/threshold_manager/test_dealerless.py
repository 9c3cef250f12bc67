"""Keys whose tokens make their own shares: nobody chooses a key after seeing another's."""

from __future__ import annotations

import secrets

import pytest

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.curves.multiply import base_multiple
from meshhw.curves.named import curve_named
from meshhw.errors import ShareError
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.uri import TokenURI
from meshhw.managers.threshold.deal import check_revealed, commitment_to
from meshhw.managers.threshold.worker import Worker
from tests.threshold_manager.conftest import NewVault

CURVE = curve_named("X25519")


def public() -> PublicKey:
    point = base_multiple(CURVE, secrets.randbelow(CURVE.order - 1) + 1)
    return PublicKey(Algorithm.X25519, point.x_octets())


def revealed(nonce: bytes, key: PublicKey) -> dict[str, bytes]:
    return {"nonce": nonce, "public": key.octets}


def generating(vault: TokenURI, options: OpenOptions) -> Worker:
    arguments = {"algorithm": "X25519", "token": str(vault), "index": 1, "label": "share"}
    return Worker("generate", arguments, options)


def held(vault: TokenURI, options: OpenOptions) -> int:
    token = registry.open_token(vault, options)
    try:
        return len(token.keys())
    finally:
        token.close()


def test_a_holder_that_reveals_another_key_is_named_and_the_share_destroyed(
    new_vault: NewVault, options: OpenOptions
) -> None:
    vault = new_vault("one")
    nonce, committed = secrets.token_bytes(32), public()
    with generating(vault, options) as holder:
        own = holder.told()
        assert "public" not in own  # nobody sees its key before all have committed
        holder.answer({1: own["commitment"], 2: commitment_to(nonce, committed)})
        mine = holder.told()
        rogue = PublicKey(Algorithm.X25519, mine["public"])
        holder.answer({1: mine, 2: revealed(nonce, rogue)})
        with pytest.raises(ShareError, match="holder 2 revealed another key") as caught:
            holder.result()
    assert caught.value.holder == "2"
    assert held(vault, options) == 0


def test_a_holder_reveals_nothing_unless_its_own_commitment_is_on_the_list(
    new_vault: NewVault, options: OpenOptions
) -> None:
    vault = new_vault("one")
    with generating(vault, options) as holder:
        holder.told()
        holder.answer({1: commitment_to(secrets.token_bytes(32), public())})
        with pytest.raises(ShareError, match="another commitment of holder 1"):
            holder.told()
    assert held(vault, options) == 0


def test_a_key_that_nobody_committed_to_is_refused() -> None:
    nonces, keys = [secrets.token_bytes(32) for _ in range(2)], [public(), public()]
    shown = {i: revealed(nonce, key) for i, (nonce, key) in enumerate(zip(nonces, keys, strict=True), 1)}
    commitments = {1: commitment_to(nonces[0], keys[0])}
    for committed, told in ((commitments, shown), (commitments | {2: bytes(64)}, {1: shown[1]})):
        with pytest.raises(ShareError, match="nobody committed to"):
            check_revealed(Algorithm.X25519, committed, told)


def test_two_holders_with_one_key_are_refused() -> None:
    key, nonces = public(), [secrets.token_bytes(32) for _ in range(2)]
    commitments = {index: commitment_to(nonce, key) for index, nonce in enumerate(nonces, 1)}
    with pytest.raises(ShareError, match="two holders have the same key"):
        check_revealed(
            Algorithm.X25519, commitments, {i: revealed(nonce, key) for i, nonce in enumerate(nonces, 1)}
        )


def test_a_manager_that_dies_leaves_no_share(new_vault: NewVault, options: OpenOptions) -> None:
    vault = new_vault("one")
    with generating(vault, options) as holder:
        holder.told()
    assert held(vault, options) == 0
