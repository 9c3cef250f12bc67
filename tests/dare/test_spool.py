"""Spools and their message states; copies of sequences that follow each other or are caught diverging."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.heads import head_of, prove_extension
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import readers_of
from meshhw.dare.prepare import Outline
from meshhw.dare.replicate import Relation, accept_frames, frames_since, relate
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.dare.spool import (
    MessageState,
    append_message,
    complete,
    create_spool,
    messages,
)
from meshhw.dare.write import seal
from meshhw.errors import FormatError, IntegrityError
from meshhw.udf.message import envelope_id
from meshhw.udf.secret import nonce

KEY = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))


def states(path: Path) -> dict[str, MessageState]:
    with SequenceFile(path) as spool:
        reader = SequenceReader(spool, KeyRing([KEY]))
        return {message.message_id: message.state for message in messages(reader)}


def test_the_newest_completion_counts(tmp_path: Path) -> None:
    path = tmp_path / "inbound"
    create_spool(path, [RecipientKey(KEY.public)])
    names = [nonce().text for _ in range(4)]
    envelope = seal(b"signed by its sender", Outline(signers=[SIGNER]))
    with SequenceWriter(path, [RecipientKey(KEY.public)]) as spool:
        for name in names[:3]:
            append_message(spool, name, "RequestConfirmation", b"body of " + name.encode())
        complete(spool, {names[0]: MessageState.READ, names[1]: MessageState.CLOSED})
        append_message(spool, names[3], "MessageContact", envelope)
        complete(spool, {names[0]: MessageState.CLOSED, names[1]: MessageState.OPEN})
    assert states(path) == {
        names[0]: MessageState.CLOSED,
        names[1]: MessageState.OPEN,
        names[2]: MessageState.OPEN,
        names[3]: MessageState.OPEN,
    }
    with SequenceFile(path) as spool:
        found = list(messages(SequenceReader(spool, KeyRing([KEY]))))
        assert [message.message_id for message in found] == names[::-1]
        assert found[0].is_envelope
        assert found[0].payload == envelope.octets()
        assert spool.frame(1).header.envelope_id == envelope_id(names[0])
        assert [m.message_id for m in messages(SequenceReader(spool, KeyRing([KEY])), since=3)] == [
            names[3],
            names[2],
        ]


def grow(path: Path, count: int, text: bytes = b"entry") -> None:
    with SequenceFile(path) as sequence:
        readers = readers_of(sequence)
    with SequenceWriter(path, readers) as writer:
        for _ in range(count):
            writer.append(text)


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    create(ours)
    grow(ours, 9)
    shutil.copy(ours, theirs)
    grow(theirs, 30)
    return ours, theirs


def test_a_copy_follows(copies: tuple[Path, Path]) -> None:
    ours, theirs = copies
    with SequenceFile(ours) as local, SequenceFile(theirs) as remote:
        head = head_of(remote)
        proof = prove_extension(remote, head_of(local).head)
        assert relate(local, head, proof) is Relation.BEHIND
        assert relate(remote, head_of(local)) is Relation.AHEAD
        first = frames_since(remote, len(local), len(local) + 4)
        rest = frames_since(remote, len(local) + 4)
        assert frames_since(remote, len(remote)) == b""
    assert accept_frames(ours, first) == 14
    assert accept_frames(ours, rest, head) == 40
    assert ours.read_bytes() == theirs.read_bytes()
    with SequenceFile(ours) as local:
        assert relate(local, head) is Relation.SAME
        check_sequence(local)


def test_divergence_is_caught(copies: tuple[Path, Path]) -> None:
    ours, theirs = copies
    grow(ours, 2, b"another entry")
    before = ours.read_bytes()
    with SequenceFile(ours) as local, SequenceFile(theirs) as remote:
        proof = prove_extension(remote, head_of(local).head)
        assert relate(local, head_of(remote), proof) is Relation.DIVERGED
        assert relate(remote, head_of(local)) is Relation.DIVERGED
        sent = frames_since(remote, len(local))
    with pytest.raises(IntegrityError):
        accept_frames(ours, sent)
    assert ours.read_bytes() == before


def test_damaged_and_misleading_frames_are_not_taken(copies: tuple[Path, Path], tmp_path: Path) -> None:
    ours, theirs = copies
    before = ours.read_bytes()
    with SequenceFile(ours) as local, SequenceFile(theirs) as remote:
        sent = frames_since(remote, len(local))
        wrong_head = head_of(local)
    for octets in (sent[:-1], sent[1:], sent[:300] + b"x" + sent[301:], sent + b"\0"):
        with pytest.raises(IntegrityError):
            accept_frames(ours, octets)
    with pytest.raises(IntegrityError, match="promised"):
        accept_frames(ours, sent, wrong_head)
    assert ours.read_bytes() == before
    create(tmp_path / "other")
    with SequenceFile(tmp_path / "other") as other, pytest.raises(FormatError, match="two different"):
        relate(other, wrong_head)
    grow(ours, 1)
    with SequenceFile(ours) as local:
        check_sequence(local)
