"""Frames that another copy sends are taken only where they continue this one, octet by octet."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.frame import frame
from meshhw.dare.heads import SequenceHead, head_of
from meshhw.dare.local import LocalKey
from meshhw.dare.merkle import Head
from meshhw.dare.replicate import LARGEST, Relation, accept_frames, frames_since, relate
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.errors import FormatError, IntegrityError, SignatureInvalid
from meshhw.jsonbcd import canonical

KEY = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
READER = RecipientKey(KEY.public)
Record = dict[str, Any]


def grow(path: Path, *payloads: bytes) -> Path:
    with SequenceWriter(path) as writer:
        for payload in payloads:
            writer.append(payload)
    return path


def begun(path: Path, *payloads: bytes) -> Path:
    create(path)
    return grow(path, *payloads)


def test_a_long_sequence_is_sent_in_parts(tmp_path: Path) -> None:
    ours = begun(tmp_path / "ours")
    theirs = tmp_path / "theirs"
    shutil.copy(ours, theirs)
    grow(theirs, bytes(LARGEST - 1000), b"small", b"one more", bytes(LARGEST + 1))
    parts = []
    with SequenceFile(theirs) as remote:
        while have := frames_since(remote, accept_frames(ours, b"")):
            accept_frames(ours, have)
            parts.append(len(have))
    assert ours.read_bytes() == theirs.read_bytes()
    assert [length <= LARGEST for length in parts] == [True, True, False]
    with SequenceFile(theirs) as remote:
        assert frames_since(remote, 2, 4) == theirs.read_bytes()[remote.positions[2] : remote.positions[4]]


def test_copies_of_one_length_are_compared_by_their_head(tmp_path: Path) -> None:
    ours, theirs = begun(tmp_path / "ours", b"one"), tmp_path / "theirs"
    shutil.copy(ours, theirs)
    with SequenceFile(ours) as local, SequenceFile(theirs) as remote:
        assert relate(local, head_of(remote)) is Relation.SAME
    grow(ours, b"two")
    grow(theirs, b"another")
    with SequenceFile(ours) as local, SequenceFile(theirs) as remote:
        assert relate(local, head_of(remote)) is Relation.DIVERGED


def respelled(change: Callable[[Record, Record], None], header_spacing: str = "") -> Callable[[Any], bytes]:
    """A frame with something about it changed that no digest covers."""

    def made(found: Any) -> bytes:
        header, trailer = (json.loads(json.dumps(part)) for part in (found.members, found.trailer_members))
        change(header, trailer)
        return frame(canonical(header) + header_spacing.encode(), b"two", canonical(trailer))

    return made


def as_it_is(header: Record, trailer: Record) -> None:
    pass


def other_pointer(header: Record, trailer: Record) -> None:
    header["SequenceInfo"]["TreePosition"] = 1


def no_pointer(header: Record, trailer: Record) -> None:
    del header["SequenceInfo"]["TreePosition"]


def other_index(header: Record, trailer: Record) -> None:
    header["SequenceInfo"]["Index"] = 3


def no_index(header: Record, trailer: Record) -> None:
    del header["SequenceInfo"]["Index"]


def other_digest(header: Record, trailer: Record) -> None:
    trailer["TreeDigest"] = trailer["TreeNode"] = trailer["PayloadDigest"]


def no_digest(header: Record, trailer: Record) -> None:
    del trailer["TreeNode"]


@pytest.mark.parametrize(
    "wrong",
    [
        respelled(other_pointer),
        respelled(no_pointer),
        respelled(other_index),
        respelled(no_index),
        respelled(other_digest),
        respelled(no_digest),
        respelled(as_it_is, " "),
    ],
    ids=["pointer", "no pointer", "index", "no index", "digest", "no digest", "spelling"],
)
def test_a_frame_that_does_not_continue_the_copy_is_not_taken(
    tmp_path: Path, wrong: Callable[[Any], bytes]
) -> None:
    ours, theirs = begun(tmp_path / "ours", b"one"), tmp_path / "theirs"
    shutil.copy(ours, theirs)
    grow(theirs, b"two", b"three")
    before = ours.read_bytes()
    with SequenceFile(theirs) as remote:
        sent, after = remote.frame(2), frames_since(remote, 3)
    assert respelled(as_it_is)(sent) + after == theirs.read_bytes()[len(before) :]
    with SequenceWriter(ours) as writer:
        for octets in (wrong(sent) + after, wrong(sent)):
            with pytest.raises(IntegrityError):
                writer.append_frames(octets)
        assert len(writer) == 2
        writer.append(b"what was refused left nothing behind")
    assert ours.read_bytes().startswith(before)
    with SequenceFile(ours) as local:
        assert check_sequence(local).frames == 3


@pytest.mark.parametrize("wrong", [respelled(as_it_is, " "), respelled(other_pointer), respelled(no_pointer)])
def test_what_no_digest_covers_is_checked_without_a_key(
    tmp_path: Path, wrong: Callable[[Any], bytes]
) -> None:
    path = begun(tmp_path / "s", b"one", b"two")
    with SequenceFile(path) as sequence:
        last = sequence.frame(2)
        check_sequence(sequence)
    os.truncate(path, last.span.position)
    with path.open("ab") as file:
        file.write(wrong(last))
    with SequenceFile(path, keeps_positions=False) as sequence, pytest.raises(IntegrityError):
        check_sequence(sequence)


def test_a_frame_says_the_digest_of_its_body(tmp_path: Path) -> None:
    path = tmp_path / "s"
    create(path)
    with SequenceWriter(path, [READER]) as writer:
        writer.append(b"one")
    octets = path.read_bytes()
    at = octets.rindex(b'"PayloadDigest":"') + 17
    path.write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])
    with SequenceFile(path, keeps_positions=False) as sequence, pytest.raises(SignatureInvalid):
        SequenceReader(sequence, KeyRing([KEY])).open(1)


def test_a_head_of_another_sequence_promises_nothing(tmp_path: Path) -> None:
    ours, theirs = begun(tmp_path / "ours", b"one"), tmp_path / "theirs"
    shutil.copy(ours, theirs)
    grow(theirs, b"two")
    with SequenceFile(theirs) as remote:
        sent, head = frames_since(remote, 2), head_of(remote)
    for said, reason in (
        (SequenceHead(bytes(16), head.head), "another sequence"),
        (SequenceHead(head.sequence_id, Head(3, head.head.digest)), "promised"),
    ):
        with pytest.raises(IntegrityError, match=reason):
            accept_frames(ours, sent, said)
    with SequenceWriter(ours) as writer:  # one that looked at whole frames and refused them goes on
        with pytest.raises(IntegrityError, match="promised"):
            writer.append_frames(sent, Head(3, head.head.digest))
        assert len(writer) == 2
        writer.append_frames(sent, head.head)
        writer.append(b"three")
    with SequenceFile(ours) as local:
        assert check_sequence(local).frames == 4


@pytest.mark.parametrize(
    ("position", "reason"), [(3, "not before it"), (99, "not before it"), (0, "no recipients")]
)
def test_a_pointer_to_an_exchange_that_is_none_is_refused(tmp_path: Path, position: int, reason: str) -> None:
    path = tmp_path / "s"
    create(path)
    with SequenceWriter(path, [READER]) as writer:
        writer.append(b"one")
        writer.append(b"two")
    with SequenceFile(path) as sequence:
        last = sequence.frame(2)
        start = last.span.position
        header = json.loads(json.dumps(last.members))
        body = b"".join(bytes(piece) for piece in sequence.body(last))
        trailer = canonical(last.trailer_members)
    header["SequenceInfo"]["ExchangePosition"] = position
    os.truncate(path, start)
    with path.open("ab") as file:
        file.write(frame(canonical(header), body, trailer))
    with (
        SequenceFile(path, keeps_positions=False) as sequence,
        pytest.raises(FormatError, match=reason),
    ):
        SequenceReader(sequence, KeyRing([KEY])).open(2)
