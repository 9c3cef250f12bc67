"""Provisioning, decrypting and signing with vaults as the holders' tokens."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import msgspec
import pytest

from meshhw import files
from meshhw.algorithms import Suite
from meshhw.curves.edwards import ED25519
from meshhw.curves.maps import curve25519_from_edwards
from meshhw.curves.montgomery import CURVE25519
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.heads import seal_head, sealed_head
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope, verify_envelope
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.dare.write import seal
from meshhw.errors import (
    IntegrityError,
    InvalidName,
    KeyNotFound,
    MeshError,
    NotSupported,
    StateError,
    TokenNotFound,
    UsageError,
)
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinRequest, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import Host
from meshhw.managers.intentions import Intentions
from meshhw.managers.threshold import descriptor, named
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.state import holder_states
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey
from meshhw.managers.uselog import UseLog, entries
from meshhw.schema.threshold import ThresholdKey
from tests.threshold_manager.conftest import PASSPHRASE, NewVault

PAYLOAD = b"only together"


@pytest.fixture
def vaults(new_vault: NewVault) -> list[TokenURI]:
    return [new_vault(name) for name in ("one", "two", "three")]


@pytest.fixture
def store(host: Host) -> KeyStore:
    return Store(host.home).at("team")


def encrypted(loaded: descriptor.Loaded) -> Envelope:
    public = descriptor.group_public(loaded.key("decryption"))
    return seal(PAYLOAD, Outline(readers=[RecipientKey(public)]))


def decrypt(loaded: descriptor.Loaded, envelope: Envelope, options: OpenOptions) -> bytes:
    with OpenTokens(options) as tokens:
        return open_envelope(envelope, KeyRing([ThresholdPrivateKey(loaded, tokens)])).payload


def hidden(vault: TokenURI) -> Path:
    return Path(vault.get("vault") or "")


@pytest.mark.parametrize("suite", list(Suite))
def test_any_two_of_three_decrypt(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI], suite: Suite
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, suite, signs=False))
    assert descriptor.load(store, host).value == loaded.value
    assert store.journal() is None
    envelope = encrypted(loaded)
    for absent in vaults:
        away = hidden(absent).with_suffix(".away")
        hidden(absent).rename(away)
        assert decrypt(loaded, envelope, options) == PAYLOAD
        away.rename(hidden(absent))


def test_too_few_holders_are_named_and_no_pin_is_asked(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, signs=False))
    envelope = encrypted(loaded)
    for vault in vaults[:2]:
        shutil.rmtree(hidden(vault))
    with pytest.raises(TokenNotFound, match=r"needs 2 holders and 1 are here; missing: 1 .*, 2 "):
        decrypt(loaded, envelope, OpenOptions())


def test_holders_are_told_of_with_the_time_they_were_seen_last(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, signs=False))
    hidden(vaults[2]).rename(hidden(vaults[2]).with_suffix(".away"))
    with OpenTokens(OpenOptions()) as tokens:
        states = holder_states(loaded, store, tokens)
    assert [state.present for state in states] == [True, True, False]
    assert [state.last_seen is None for state in states] == [False, False, True]
    hidden(vaults[0]).rename(hidden(vaults[0]).with_suffix(".away"))
    with OpenTokens(OpenOptions()) as tokens:
        again = holder_states(loaded, store, tokens)
    assert [state.present for state in again] == [False, True, False]
    assert again[0].last_seen == states[0].last_seen


def test_a_share_that_is_gone_from_its_token_is_told(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, signs=False))
    with OpenTokens(options) as tokens:
        tokens.destroy(loaded.key("decryption").holder(2).key or "")
    with OpenTokens(OpenOptions()) as tokens:
        states = holder_states(loaded, store, tokens)
    assert [(state.present, state.shown) for state in states] == [(True, True), (True, False), (True, True)]


def test_the_two_keys_of_a_name_have_nothing_in_common(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    """Of one polynomial, the points on Curve25519 and on Edwards25519 would be each other's image."""
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519))
    agreeing, signing = loaded.key("decryption"), loaded.key("signing")
    images = {curve25519_from_edwards(ED25519.decode(octets)).x_octets() for octets in points(signing)}
    assert len(images) == 5
    assert images.isdisjoint(CURVE25519.decode(octets).x_octets() for octets in points(agreeing))


def points(key: ThresholdKey) -> list[bytes]:
    return [*key.commitments, *(holder.share for holder in key.holders)]


def test_decrypting_sees_the_holders_too(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, signs=False))
    for key in named.keys(loaded.key("decryption").udf or "", host.home, options):
        assert open_envelope(encrypted(loaded), KeyRing([key])).payload == PAYLOAD
    hidden(vaults[2]).rename(hidden(vaults[2]).with_suffix(".away"))
    with OpenTokens(OpenOptions()) as tokens:
        assert holder_states(loaded, store, tokens)[2].last_seen is not None


@pytest.mark.parametrize("suite", [Suite.S448, Suite.P256])
def test_a_quorum_signs_an_envelope(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI], suite: Suite
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, suite, encrypts=False))
    signer = ThresholdSigner(loaded, store, options)
    envelope = seal(PAYLOAD, Outline(signers=[signer]))
    assert verify_envelope(envelope).signers == (signer.public,)
    with pytest.raises(NotSupported, match="no decryption key"):
        loaded.key("decryption")


def test_a_quorum_signs_the_head_of_a_sequence(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI], tmp_path: Path
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, encrypts=False))
    signer = ThresholdSigner(loaded, store, options)
    create(tmp_path / "sequence")
    with SequenceWriter(tmp_path / "sequence") as writer:
        writer.append(b"an entry")
        seal_head(writer, [signer])
    with SequenceFile(tmp_path / "sequence") as sequence:
        found = sealed_head(sequence)
        assert found is not None
        assert found[0].head.index == 1
        assert found[1] == (signer.public,)
    octets = (tmp_path / "sequence").read_bytes().replace(b"an entry", b"no entry")
    (tmp_path / "sequence").write_bytes(octets)
    with SequenceFile(tmp_path / "sequence") as sequence, pytest.raises(IntegrityError):
        check_sequence(sequence)


def test_a_signer_with_a_damaged_share_is_left_out(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, encrypts=False))
    sealed = store.load("signing-1-1")
    store.save("signing-1-1", sealed[:-1] + bytes([sealed[-1] ^ 1]))
    said: list[str] = []
    log = UseLog(host.home / "uses.jsonl", "test")
    signer = ThresholdSigner(loaded, store, replace(options, recorder=log), said.append)
    seal(PAYLOAD, Outline(signers=[signer]))
    assert any(line.startswith("holder 1 of team failed") for line in said)
    assert [(entry.operation, entry.key, entry.result) for entry, _ in entries(host.home / "uses.jsonl")] == [
        ("unwrap", str(vaults[0]), "DecryptionFailed"),
        ("sign", str(vaults[0]), "ShareError"),
        ("unwrap", str(vaults[1]), "ok"),
        ("sign", str(vaults[1]), "ok"),
        ("unwrap", str(vaults[2]), "ok"),
        ("sign", str(vaults[2]), "ok"),
    ]
    store.save("signing-1-2", sealed)
    with pytest.raises(KeyNotFound):
        Store(host.home).at("other").descriptor()


def test_a_dealerless_key_needs_all_its_tokens(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    request = Request(3, vaults, Suite.S25519, signs=False, dealerless=True)
    loaded = provision(store, host, options, request)
    envelope = encrypted(loaded)
    assert decrypt(loaded, envelope, options) == PAYLOAD
    shutil.rmtree(hidden(vaults[2]))
    with pytest.raises(TokenNotFound):
        decrypt(loaded, envelope, options)


def test_nothing_is_left_when_a_token_fails(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    broken = hidden(vaults[2]) / "keys"
    broken.rmdir() if broken.is_dir() else None
    broken.write_text("not a directory")
    with pytest.raises(StateError):
        provision(store, host, options, Request(2, vaults, Suite.S25519))
    for vault in vaults[:2]:
        token = registry.open_token(vault, options)
        assert not token.keys()
        token.close()
    assert not store.path.exists()
    assert not store.exists


def test_a_manager_undoes_what_a_killed_dealing_process_did(
    store: KeyStore, host: Host, vaults: list[TokenURI]
) -> None:
    """It dies when it asks for the third PIN: two shares are in their vaults by then."""
    held: list[int] = []

    def answer(request: PinRequest) -> str:
        if request.token == vaults[2]:
            held.extend(counts(vaults))
            (dealing,) = children()
            os.kill(dealing, signal.SIGKILL)
        return PASSPHRASE

    with pytest.raises(MeshError, match="the process that handles the shares died"):
        provision(store, host, OpenOptions(Scripted(answer)), Request(2, vaults, Suite.S25519, signs=False))
    assert held == [1, 1, 0]
    assert counts(vaults) == [0, 0, 0]
    assert not store.path.exists()


def counts(vaults: list[TokenURI]) -> list[int]:
    """How many keys each vault holds."""
    return [len(list((hidden(vault) / "keys").glob("*.box"))) for vault in vaults]


def children() -> list[int]:
    """The living processes that this one started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.append(int(status.parent.name))
    return found


def test_names_and_requests_that_are_refused(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    provision(store, host, options, Request(1, vaults[:1], Suite.S25519, signs=False))
    with pytest.raises(StateError, match="already"):
        provision(store, host, options, Request(1, vaults[:1], Suite.S25519, signs=False))
    for name in ("", "../up", "a/b", ".hidden", "x" * 65):
        with pytest.raises(InvalidName):
            Store(host.home).at(name)
    for pair in combinations(vaults[:1] * 2, 2):
        with pytest.raises(UsageError, match="one share"):
            Request(1, pair)
    with pytest.raises(UsageError, match="no quorum"):
        Request(4, vaults)
    with pytest.raises(UsageError, match="dealerless"):
        Request(2, vaults, dealerless=True)
    with pytest.raises(UsageError):
        Request(2, vaults, encrypts=False, signs=False)


def test_shares_are_no_keys_that_an_interrupted_command_left(
    store: KeyStore, host: Host, options: OpenOptions, vaults: list[TokenURI]
) -> None:
    """On tokens where no name can be reserved, what is new and has no record is suspected."""
    token = registry.open_token(vaults[0], options)
    making = host.home / "making"
    files.private_directory(making)
    intention = {
        "token": str(token.info().uri),
        "algorithm": "X25519",
        "label": "mesh device encryption",
        "started": "2026-01-01T00:00:00Z",
    }
    files.replace(making / "0.jsonl", msgspec.json.encode(intention) + b"\n")
    provision(store, host, options, Request(2, vaults, Suite.S25519, signs=False))
    assert Intentions(host.home).settle(token).suspects == ()
    token.close()
