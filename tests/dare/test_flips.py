"""No octet of what we write may change unnoticed: every one of every form is flipped.

What has no tree is named: in the types List, Digest, Chain and Tree the first frame's header is in clear and
under nothing; unencrypted, the headers of the others are, too, and in a List or Tree the bodies.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.archive import make_archive, read_index
from meshhw.dare.archive_extract import choose, extract
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import HeadMemory, sealed_head
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import session_policy
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import SequenceFile, SequenceKind
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.spool import MessageState, append_message, complete, create_spool, messages
from meshhw.errors import MeshError
from meshhw.udf.secret import nonce

KEY = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
RING = KeyRing([KEY])
READERS = [RecipientKey(KEY.public)]


def unnoticed(path: Path, read: Callable[[Path], object]) -> list[int]:
    """Where a flipped bit changes nothing that reading and checking tell: the result, or an error."""
    octets = path.read_bytes()
    expected = read(path)
    changed = path.with_name("changed")
    found = []
    for position in range(len(octets)):
        flipped = bytearray(octets)
        flipped[position] ^= 1 << position % 8
        changed.write_bytes(flipped)
        try:
            result = read(changed)
        except MeshError:
            continue
        if result == expected:
            found.append(position)
        else:
            found.append(-position)
    return found


def whole(path: Path) -> object:
    """Everything in a sequence, decrypted and checked; the tail must not be torn."""
    with SequenceFile(path, keeps_positions=False) as sequence:
        reader = SequenceReader(sequence, RING)
        report = check_sequence(sequence)
        assert_whole(report.torn_at)
        opened = [reader.open(index) for index in range(1, len(sequence))]
        return report.head, [(frame.content, frame.payload) for frame in opened]


def assert_whole(torn_at: int | None) -> None:
    if torn_at is not None:
        raise MeshError("torn")


@pytest.mark.parametrize("kind", SequenceKind)
@pytest.mark.parametrize("encrypted", [True, pytest.param(False, marks=pytest.mark.fuzz)])
def test_every_octet_of_every_type_of_sequence(tmp_path: Path, kind: SequenceKind, encrypted: bool) -> None:
    path = tmp_path / "s"
    readers = READERS if encrypted else []
    create(path, Creation(kind=kind, content_type="text/plain", policy=session_policy(readers)))
    with SequenceWriter(path, readers, keeps_positions=False) as writer:
        for number in (1, 2):
            writer.append(b"entry %d" % number, Outline(content=ContentMeta(unique_id=f"{number}")))
    with SequenceFile(path, keeps_positions=False) as sequence:
        first = range(sequence.frame(0).span.end)
        clear = [] if kind.has_digest else [_covered_by_nothing(sequence, n) for n in (1, 2)]
        if not encrypted and kind is not SequenceKind.MERKLE:  # the digest is of the body, not of the header
            clear += [_header(sequence, n) for n in (1, 2)]
    found = unnoticed(path, lambda changed: _with_a_memory(changed, tmp_path))
    if kind is SequenceKind.MERKLE:
        assert found == []
        return
    named = [first, *(clear if not encrypted else [])]
    assert [abs(position) for position in found if not any(abs(position) in part for part in named)] == []


def _with_a_memory(path: Path, home: Path) -> object:
    """As `whole`; a Merkle sequence's head is also compared with the one that was seen."""
    told = whole(path)
    with SequenceFile(path, keeps_positions=False) as sequence:
        if sequence.tree is not None:
            memory = HeadMemory(home / "heads.json")
            if memory.last(sequence.sequence_id) is None and (home / "heads.json").exists():
                raise MeshError("another sequence")
            memory.accept(sequence)
    return told


def _covered_by_nothing(sequence: SequenceFile, index: int) -> range:
    span = sequence.frame(index).span
    return range(span.position, span.end)


def _header(sequence: SequenceFile, index: int) -> range:
    start, length = sequence.frame(index).span.records[0]
    return range(start, start + length)


def test_every_octet_of_an_archive(tmp_path: Path) -> None:
    root, path = tmp_path / "root", tmp_path / "archive"
    root.mkdir()
    (root / "file").write_bytes(b"content")
    os.utime(root / "file", ns=(10**18, 10**18))
    make_archive(root, path, READERS, [SIGNER])
    calls = iter(range(1 << 20))

    def extracted(archive: Path) -> object:
        target = tmp_path / "out" / f"{next(calls)}"
        with SequenceFile(archive, keeps_positions=False) as opened:
            assert_whole(opened.torn_at)
            sealed = sealed_head(opened)
            if sealed is None or sealed[1] != (SIGNER.public,):
                raise MeshError("not signed")
            check_sequence(opened)
            reader = SequenceReader(opened, RING)
            target.parent.mkdir(exist_ok=True)
            extract(opened, reader, choose(read_index(opened, reader), []), target)
        file = target / "file"
        return file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_mode

    assert unnoticed(path, extracted) == []


def test_every_octet_of_a_spool(tmp_path: Path) -> None:
    path, names = tmp_path / "spool", [nonce().text, nonce().text]
    create_spool(path, READERS)
    with SequenceWriter(path, READERS, keeps_positions=False) as spool:
        for name in names:
            append_message(spool, name, "MessageContact", b"hello")
        complete(spool, {names[0]: MessageState.CLOSED})

    def told(changed: Path) -> object:
        report = _with_a_memory(changed, tmp_path)
        with SequenceFile(changed, keeps_positions=False) as sequence:
            return report, [(m.message_id, m.state) for m in messages(SequenceReader(sequence, RING))]

    assert unnoticed(path, told) == []
