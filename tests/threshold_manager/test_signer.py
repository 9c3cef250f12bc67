"""A quorum as one signer: the root of profiles, how often it asks, and what each co-signer insists on."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, Suite
from meshhw.dare.archive import make_archive
from meshhw.dare.heads import sealed_head
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.signing import verify
from meshhw.errors import KeyNotFound, MeshError, NotSupported, ShareError, TokenNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.uri import TokenURI
from meshhw.managers.host import Host
from meshhw.managers.threshold.descriptor import Loaded
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.remembering import remembering
from meshhw.managers.threshold.signer import open_signer, public_of
from meshhw.managers.threshold.signing import ThresholdSigner
from meshhw.managers.threshold.store import KeyStore, Store
from meshhw.managers.threshold.worker import Worker
from meshhw.managers.uselog import UseLog, entries
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
    assert public.algorithm is (Algorithm.ED448 if suite is Suite.S448 else Algorithm.ED25519)
    assert signer.udf == fingerprint(public)
    profile = ProfileUser(
        profile_signature=key_data(public), updated=datetime.now(UTC), account_address="board@example.com"
    )
    envelope = sign_assertion(profile, signer, profile_udf(profile))
    verified = open_profile(envelope, ProfileUser)
    assert verified.signer == public
    assert profile_udf(verified.value) == signer.udf


def test_a_quorum_signs_the_head_of_an_archive(
    host: Host, options: OpenOptions, vaults: list[TokenURI], tmp_path: Path
) -> None:
    provision(Store(host.home).at("board"), host, options, Request(2, vaults, Suite.S448, encrypts=False))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "minutes").write_bytes(b"decided")
    signer = open_signer("board", host.home, options)
    make_archive(tmp_path / "tree", tmp_path / "archive", signers=[signer])
    with SequenceFile(tmp_path / "archive") as archive:
        sealed = sealed_head(archive)
        assert check_sequence(archive).frames == len(archive)
    assert sealed
    assert sealed[0].head.index == len(archive) - 2
    assert sealed[1] == (signer.public,)


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


@dataclass
class Board:
    """A signing key, and what its co-signers' processes are told."""

    store: KeyStore
    loaded: Loaded
    options: OpenOptions

    def cosigner(self, index: int) -> Worker:
        value, key = self.loaded.value, self.loaded.key("signing")
        holder = key.holder(index)
        told = {
            "algorithm": key.algorithm,
            "public": key.public,
            "identifier": value.identifier,
            "index": index,
            "generation": key.generation,
            "share": holder.share,
            "token": holder.token,
            "sealed": self.store.load(f"signing-1-{index}"),
            "nonce_key": self.store.nonce_key(index),
        }
        return Worker("sign", told, self.options)


@pytest.fixture
def board(host: Host, options: OpenOptions, vaults: list[TokenURI]) -> Board:
    store = Store(host.home).at("board")
    loaded = provision(store, host, options, Request(2, vaults, Suite.S25519, encrypts=False))
    return Board(store, loaded, remembering(options))


def test_a_cosigner_answers_only_where_its_own_entry_is_as_it_made_it(board: Board) -> None:
    with board.cosigner(1) as one, board.cosigner(1) as again, board.cosigner(2) as two:
        first, second, other = one.told(), again.told(), two.told()
        assert first != second  # fresh nonces each time
        one.answer({"message": b"m", "commitments": [other]})
        with pytest.raises(ShareError, match="another commitment of signer 1") as caught:
            one.told()
        assert caught.value.holder == "1"
        again.answer({"message": b"m", "commitments": [first, other]})
        with pytest.raises(ShareError, match="another commitment of signer 1"):
            again.told()
        two.answer({"message": b"m", "commitments": [other, first]})  # not in rising order
        with pytest.raises(MeshError):
            two.told()


def test_a_share_is_unsealed_in_round_two_only(board: Board) -> None:
    """Its vault's PIN is asked when the message and the whole list are known, and not before."""
    person = Scripted({PinKind.VAULT: PASSPHRASE})
    counted = replace(board, options=OpenOptions(interaction=person))
    with counted.cosigner(1) as one, counted.cosigner(2) as two:
        commitments = [one.told(), two.told()]
        assert not person.asked
        one.answer({"message": b"m", "commitments": commitments})
        one.told()
        assert [Path(asked.token.get("vault") or "").name for asked in person.asked] == ["one"]


def test_nonces_sign_once_and_end_with_their_process(board: Board) -> None:
    with board.cosigner(1) as one, board.cosigner(2) as two:
        commitments = [one.told(), two.told()]
        one.answer({"message": b"m", "commitments": commitments})
        one.told()
        one.answer({"message": b"other", "commitments": commitments})
        assert one.told() not in commitments  # new ones, and no answer
        one.answer({"message": b"other", "commitments": commitments})
        with pytest.raises(ShareError, match="another commitment of signer 1"):
            one.told()
        two.answer(None)  # the round was given up
        assert two.told() not in commitments
        two.answer({"message": b"m", "commitments": commitments})
        with pytest.raises(ShareError, match="another commitment of signer 2"):
            two.told()
    with board.cosigner(2) as later:
        later.told()
        later.answer({"message": b"m", "commitments": commitments})  # a list from before a crash
        with pytest.raises(ShareError, match="another commitment of signer 2"):
            later.told()


def test_signing_leaves_nothing_on_disk(board: Board, host: Host) -> None:
    signer = open_signer("board", host.home, board.options)
    signer.sign(b"first")  # makes the holders' nonce keys
    before = files_below(host.home)
    signer.sign(b"second")
    assert files_below(host.home) == before
    assert {name for name in before if "nonce" in name} == {
        f"threshold/board/nonce-{index}" for index in (1, 2)
    }


def files_below(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def cosigners_running() -> list[int]:
    """The processes that this one has started and that still run."""
    tasks = Path("/proc/self/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


@dataclass
class Ceremony:
    """A quorum of two of three that signs several times, what the use log hears, and what it says."""

    signer: ThresholdSigner
    log: Path
    said: list[str]

    def heard(self, operation: str) -> list[tuple[str, str]]:
        return [(item.key, item.result) for item, _ in entries(self.log) if item.operation == operation]

    def verified(self, *messages: bytes) -> None:
        for message in messages:
            verify(self.signer.public, message, self.signer.sign(message))


@pytest.fixture
def ceremony(board: Board, host: Host) -> Ceremony:
    said: list[str] = []
    log = host.home / "uses.jsonl"
    options = replace(board.options, recorder=UseLog(log, "test"))
    return Ceremony(ThresholdSigner(board.loaded, board.store, options, said.append), log, said)


def test_in_one_ceremony_each_holder_opens_its_share_once(ceremony: Ceremony, vaults: list[TokenURI]) -> None:
    before = cosigners_running()
    with ceremony.signer.held(), ceremony.signer.held():
        ceremony.verified(b"one", b"two", b"two", b"three")
        running = set(cosigners_running()) - set(before)
        assert len(running) == 2
    assert running.isdisjoint(cosigners_running())
    asked = [(str(vault), "ok") for vault in vaults[:2]]
    assert ceremony.heard("unwrap") == asked
    assert ceremony.heard("sign") == 4 * asked
    assert [line for line in ceremony.said if "to sign" in line] == [ceremony.said[0]]
    ceremony.verified(b"after")
    assert ceremony.heard("unwrap") == 2 * asked


def test_who_fails_in_a_ceremony_is_replaced_and_the_others_are_not_asked_again(
    ceremony: Ceremony, vaults: list[TokenURI]
) -> None:
    before = cosigners_running()
    with ceremony.signer.held():
        ceremony.verified(b"one")
        killed = next(pid for pid in cosigners_running() if pid not in before)
        os.kill(killed, signal.SIGKILL)
        ceremony.verified(b"two", b"three")
    failed = [index for index in (1, 2) if f"holder {index} of board failed" in "\n".join(ceremony.said)]
    assert len(failed) == 1
    assert ceremony.heard("unwrap") == [(str(vault), "ok") for vault in vaults]
    signed = [key for key, result in ceremony.heard("sign") if result == "ok"]
    assert [signed.count(str(vault)) for vault in vaults][2] == 2
    assert set(cosigners_running()) <= set(before)


def test_with_nobody_in_its_place_the_ceremony_ends(ceremony: Ceremony, vaults: list[TokenURI]) -> None:
    shutil.rmtree(Path(vaults[2].get("vault") or ""))
    before = cosigners_running()
    with ceremony.signer.held():
        ceremony.verified(b"one")
        os.kill(next(pid for pid in cosigners_running() if pid not in before), signal.SIGKILL)
        with pytest.raises(ShareError, match="died"):
            ceremony.signer.sign(b"two")
    assert set(cosigners_running()) <= set(before)
