"""Holders on SoftHSM tokens that are counted, slowed, pulled and replaced."""

from __future__ import annotations

import time
from dataclasses import replace as replaced
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hwtests.threshold_lab import PAYLOAD, Lab
from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.exchange import KeyRing
from meshhw.dare.read import open_envelope
from meshhw.errors import MeshError, TokenNotFound
from meshhw.keystore import registry
from meshhw.keystore.api import Generates, KeySpec, OpenOptions
from meshhw.keystore.interaction import Refusing
from meshhw.lab import shim
from meshhw.managers.threshold import descriptor
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import Request
from meshhw.managers.threshold.renew import refresh, replace
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.state import holder_states, old_shares
from meshhw.managers.threshold.tokens import OpenTokens, having
from meshhw.managers.threshold.use import ThresholdPrivateKey

if TYPE_CHECKING:
    from meshhw.lab.fixtures_pkcs11 import NewTroubled
    from meshhw.lab.shim import Trouble


class Watched(Lab):
    """A lab whose tokens can be counted and disturbed."""

    def __init__(self, home: Path, new_token: NewTroubled, count: int) -> None:
        pairs = [new_token() for _ in range(count)]
        self.troubles: list[Trouble] = [trouble for _, trouble in pairs]
        self.control = shim.Control(shim.control_of(Path(pairs[0][0].module_path)))
        self.new_token = new_token
        super().__init__(home, [token for token, _ in pairs])


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_troubled_softhsm: NewTroubled) -> Watched:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return Watched(tmp_path / "home", new_troubled_softhsm, 3)


@pytest.mark.parametrize(("suite", "threshold"), [(Suite.S448, 2), (Suite.P256, 3)])
def test_a_decryption_costs_one_agreement_a_holder(lab: Watched, suite: Suite, threshold: int) -> None:
    loaded = lab.provision(Request(threshold, lab.uris, suite, signs=False))
    envelope = lab.envelope(loaded)
    with OpenTokens(lab.options) as tokens:
        key = ThresholdPrivateKey(loaded, tokens)
        with lab.control.counted() as calls:
            assert open_envelope(envelope, KeyRing([key])).payload == PAYLOAD
        assert calls["C_DeriveKey"] == threshold
        with lab.control.counted() as certain:
            key.agree_certainly(key.public)
        assert certain["C_DeriveKey"] == 2 * threshold


def test_three_slow_holders_take_little_longer_than_one(lab: Watched) -> None:
    loaded = lab.provision(Request(3, lab.uris, Suite.S25519, signs=False))
    envelope = lab.envelope(loaded)
    with OpenTokens(lab.options) as tokens:
        ring = KeyRing([ThresholdPrivateKey(loaded, tokens)])
        assert open_envelope(envelope, ring).payload == PAYLOAD  # logs in everywhere
        for trouble in lab.troubles:
            trouble.delay(0.25, "C_DeriveKey")
        together = min(timed(lambda: open_envelope(envelope, ring)) for _ in range(3))
        for trouble in lab.troubles:
            trouble.clear()
    assert 0.25 <= together < 0.6, f"{together * 1000:.1f} ms: the holders were asked one after another"


def timed(call: object) -> float:
    assert callable(call)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_a_pulled_token_is_done_without(lab: Watched) -> None:
    loaded = lab.provision(Request(2, lab.uris, Suite.S448, signs=False))
    envelope = lab.envelope(loaded)
    lab.troubles[0].pull()
    said: list[str] = []
    with OpenTokens(lab.options) as tokens:
        ring = KeyRing([ThresholdPrivateKey(loaded, tokens, say=said.append)])
        assert open_envelope(envelope, ring).payload == PAYLOAD
        lab.troubles[1].pull()  # while it is open
        with pytest.raises(TokenNotFound) as caught:
            open_envelope(envelope, ring)
    assert caught.value.exit_status == 3
    assert any("holder 2 of team failed" in line for line in said)
    lab.troubles[0].put_back()
    assert lab.decrypts(loaded, (1, 3), envelope)


def test_a_token_that_hangs_is_done_without(lab: Watched) -> None:
    """Its time over, another holder takes its place; a signature starts afresh, with new nonces."""
    loaded = lab.provision(Request(2, lab.uris, Suite.S25519))
    envelope, said = lab.envelope(loaded), list[str]()
    hasty = replaced(lab.options, deadline=6.0)
    lab.troubles[0].hang("C_DeriveKey")
    with OpenTokens(hasty) as tokens:
        ring = KeyRing([ThresholdPrivateKey(loaded, tokens, say=said.append)])
        assert open_envelope(envelope, ring).payload == PAYLOAD
    assert any("holder 1 of team failed" in line and "within 6 s" in line for line in said)
    lab.troubles[0].clear()
    said.clear()
    lab.troubles[0].hang("C_UnwrapKey")  # a share is unsealed in round two
    signature = ThresholdSigner(loaded, lab.store, hasty, said.append).sign(PAYLOAD)
    lab.troubles[0].clear()
    Ed25519PublicKey.from_public_bytes(loaded.key("signing").public).verify(signature, PAYLOAD)
    assert any("holder 1 of team failed" in line and "within 6 s" in line for line in said)


def test_a_spare_token_is_asked_beside_one_that_hangs(lab: Watched) -> None:
    """Once their PINs were given: long before the deadline, and nobody waits for the late one at the end."""
    loaded = lab.provision(Request(2, lab.uris, Suite.S25519, signs=False))
    envelope, said = lab.envelope(loaded), list[str]()
    with OpenTokens(replaced(lab.options, deadline=240.0)) as tokens:
        for holder in loaded.key("decryption").holders:
            tokens.key(holder.key or "")  # logs in
        ring = KeyRing([ThresholdPrivateKey(loaded, tokens, say=said.append)])
        lab.troubles[0].hang("C_DeriveKey")
        start = time.monotonic()
        assert open_envelope(envelope, ring).payload == PAYLOAD
        assert open_envelope(envelope, ring).payload == PAYLOAD  # by the two that answer, at once
    assert time.monotonic() - start < 120
    lab.troubles[0].clear()
    assert not any("failed" in line for line in said)


def test_a_token_that_hangs_is_told_as_one_that_does_not_answer(lab: Watched) -> None:
    loaded = lab.provision(Request(2, lab.uris[:2], Suite.S25519, signs=False))
    envelope, said = lab.envelope(loaded), list[str]()
    lab.troubles[0].hang("C_OpenSession")
    with OpenTokens(replaced(lab.options, deadline=6.0)) as tokens:
        ring = KeyRing([ThresholdPrivateKey(loaded, tokens, say=said.append)])
        with pytest.raises(TokenNotFound, match="2 holders are needed and 1 can answer"):
            open_envelope(envelope, ring)
        assert any("holder 1 of team failed" in line and "within 6 s" in line for line in said)
        with lab.control.counted() as calls, pytest.raises(TokenNotFound) as caught:
            open_envelope(envelope, ring)  # and is not waited for again
        states = holder_states(loaded, lab.store, tokens)
    lab.troubles[0].clear()
    uri = loaded.key("decryption").holder(1).token
    assert f"missing: 1 ({uri}, which does not answer)" in caught.value.message
    assert caught.value.exit_status == 3
    assert "C_DeriveKey" not in calls
    assert [(state.present, state.silent) for state in states] == [(False, True), (True, False)]


def test_where_a_share_is_shows_without_a_pin(lab: Watched) -> None:
    """By its public half, where the token shows those before anybody logs in."""
    loaded = lab.provision(Request(2, lab.uris, Suite.S25519, signs=False))
    assert shown(lab, loaded) == [True, True, True]
    with OpenTokens(lab.options) as tokens:
        tokens.destroy(loaded.key("decryption").holder(2).key or "")
        tokens.destroy(loaded.key("decryption").holder(3).key or "")
        other = having(tokens.token(lab.uris[1]), Generates, "make a key")
        other.generate(KeySpec(Algorithm.P256, label="another"))
    nothing_at_all = None
    assert shown(lab, loaded) == [True, False, nothing_at_all]


def shown(lab: Watched, loaded: Loaded) -> list[bool | None]:
    with OpenTokens(OpenOptions(interaction=Refusing())) as tokens:
        return [state.shown for state in holder_states(loaded, lab.store, tokens)]


def test_a_lost_token_is_replaced_and_its_share_becomes_useless(lab: Watched) -> None:
    first = lab.provision(Request(2, lab.uris, Suite.S25519, renewable=True))
    envelope = lab.envelope(first)
    lab.troubles[0].pull()
    spare, _ = lab.new_token()
    lab.pins[spare.label] = spare.pin
    new = replace(lab.store, lab.host, lab.options, (1, spare.uri))
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(new, pair, envelope)
    assert "old share 1 of generation 1 may still exist" in old_shares(new, lab.store)[0]
    lab.troubles[0].put_back()
    assert not works_with_old_share(lab, first, new, envelope)


def works_with_old_share(lab: Watched, old: Loaded, new: Loaded, envelope: object) -> bool:
    """Whether the pulled token's share still decrypts together with a renewed one."""
    from msgspec.structs import replace as changed

    from meshhw.dare.envelope import Envelope

    assert isinstance(envelope, Envelope)
    holders = (old.key("decryption").holder(1), new.key("decryption").holder(2))
    key = changed(new.key("decryption"), holders=holders)
    mixed = Loaded(changed(new.value, decryption=key), new.signer)
    try:
        return lab.decrypts(mixed, (1, 2), envelope)
    except MeshError:
        return False


def test_refresh_on_tokens_destroys_the_old_shares(lab: Watched) -> None:
    first = lab.provision(Request(2, lab.uris, Suite.S448, signs=False, renewable=True))
    envelope = lab.envelope(first)
    new = refresh(lab.store, lab.host, lab.options)
    assert old_shares(new, lab.store) == []
    for pair in combinations((1, 2, 3), 2):
        assert lab.decrypts(new, pair, envelope)
    for uri in lab.uris:
        token = registry.open_token(uri, lab.options)
        assert len(token.keys()) == 1
        token.close()


def test_a_new_share_that_is_not_proved_undoes_the_renewal(lab: Watched) -> None:
    """CKR_DEVICE_ERROR at the challenge of the third new share; all three are in their tokens then."""
    loaded = lab.provision(Request(2, lab.uris, Suite.P256, signs=False, renewable=True))
    lab.troubles[2].fail(0x30, "C_DeriveKey")
    with lab.control.counted() as calls, pytest.raises(MeshError):
        refresh(lab.store, lab.host, lab.options)
    assert calls["C_CreateObject"] >= 6  # both halves of each
    assert descriptor.load(lab.store, lab.host).value == loaded.value
    assert lab.store.journal() is None
    assert lab.decrypts(loaded, (2, 3))
    for uri in lab.uris:
        token = registry.open_token(uri, lab.options)
        assert len(token.keys()) == 1
        token.close()


@pytest.mark.parametrize(
    ("function", "dealerless"),
    [("C_CreateObject", False), ("C_DeriveKey", False), ("C_DeriveKey", True)],
    ids=["import", "challenge", "own-share-challenge"],
)
def test_a_token_that_fails_while_provisioning_leaves_nothing_on_any(
    lab: Watched, function: str, *, dealerless: bool
) -> None:
    """CKR_DEVICE_ERROR at the third import, and where the third share is to be proved."""
    lab.troubles[2].fail(0x30, function)
    with pytest.raises(MeshError):
        lab.provision(Request(3, lab.uris, Suite.S25519, signs=False, dealerless=dealerless))
    for uri in lab.uris:
        token = registry.open_token(uri, lab.options)
        assert not token.keys()
        token.close()
    assert not lab.store.exists
