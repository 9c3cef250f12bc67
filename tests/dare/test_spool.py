"""Spools and their message states; copies of sequences that follow each other or are caught diverging."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import SequenceHead, head_of, prove_extension
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import readers_of
from meshhw.dare.prepare import Outline
from meshhw.dare.replicate import Relation, accept_frames, frames_since, relate
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.dare.spool import (
    COMPLETION,
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


def written(path: Path, payload: bytes, content: ContentMeta) -> SequenceFile:
    """A spool with a message, and after it a frame that no spool of ours has."""
    create_spool(path)
    with SequenceWriter(path) as spool:
        append_message(spool, NAME, "MessageContact", b"hello")
        spool.append(payload, Outline(content=content))
    return SequenceFile(path)


NAME = nonce().text
COMPLETING = ContentMeta(unique_id=nonce().text, message_type=COMPLETION)


@pytest.mark.parametrize(
    ("payload", "content", "told"),
    [
        (b"hello", ContentMeta(), "holds no message"),
        (b"hello", ContentMeta(unique_id=NAME), "holds no message"),
        (b"hello", ContentMeta(message_type="MessageContact"), "holds no message"),
        (b"[]", COMPLETING, "names no messages"),
        (b'{"MessageComplete":{}}', COMPLETING, "names no messages"),
        (b'{"MessageComplete":{"References":{}}}', COMPLETING, "names no messages"),
    ],
)
def test_a_frame_that_says_nothing_is_an_error(
    tmp_path: Path, payload: bytes, content: ContentMeta, told: str
) -> None:
    with written(tmp_path / "spool", payload, content) as spool, pytest.raises(FormatError, match=told):
        list(messages(SequenceReader(spool)))


def test_a_state_that_is_not_known_and_a_message_without_a_name_are_passed_over(tmp_path: Path) -> None:
    references = [
        {"MessageId": NAME, "Relationship": "Read", "ResponseId": 7},
        {"MessageId": NAME, "Relationship": "Forgotten"},
        {"Relationship": "Closed"},
        "Closed",
    ]
    body = json.dumps({COMPLETION: {"References": references}}).encode()
    with written(tmp_path / "spool", body, COMPLETING) as spool:
        [found] = messages(SequenceReader(spool))
    assert (found.state, found.answered_by) == (MessageState.READ, "")


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
        assert frames_since(remote, len(local) + 4, 1 << 20) == rest
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


def test_frames_of_another_digest_are_not_taken(copies: tuple[Path, Path]) -> None:
    """They would fit but for that: whoever reads them would compute another one."""
    ours, theirs = copies
    with SequenceFile(theirs) as remote:
        assert accept_frames(ours, frames_since(remote, 10)) == 40
    with SequenceWriter(theirs) as writer:
        writer.dig = "S256"
        writer.append(b"entry")
    with SequenceFile(theirs) as remote:
        sent = frames_since(remote, 40)
    with pytest.raises(IntegrityError, match="frame 40 as it was sent does not continue"):
        accept_frames(ours, sent)


def test_damaged_and_misleading_frames_are_not_taken(copies: tuple[Path, Path], tmp_path: Path) -> None:
    ours, theirs = copies
    before = ours.read_bytes()
    with SequenceFile(ours) as local, SequenceFile(theirs) as remote:
        sent = frames_since(remote, len(local))
        wrong_head = head_of(local)
    for octets in (sent[:-1], sent[1:], sent[:300] + b"x" + sent[301:], sent + b"\0"):
        with pytest.raises(IntegrityError):
            accept_frames(ours, octets)
    with SequenceFile(theirs) as remote:
        of_another = SequenceHead(bytes(16), head_of(remote).head)
    for head in (wrong_head, of_another):
        with pytest.raises(IntegrityError, match="promised"):
            accept_frames(ours, sent, head)
    assert ours.read_bytes() == before
    create(tmp_path / "other")
    with SequenceFile(tmp_path / "other") as other, pytest.raises(FormatError, match="two different"):
        relate(other, wrong_head)
    grow(ours, 1)
    with SequenceFile(ours) as local:
        check_sequence(local)
