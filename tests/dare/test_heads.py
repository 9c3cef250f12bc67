"""Signed heads, proofs that stand alone, and the memory that notices what was taken away or rewritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare import merkle
from meshhw.dare.envelope import Envelope
from meshhw.dare.header import ContentMeta, authenticated_octets
from meshhw.dare.heads import (
    HEAD_TYPE,
    HeadMemory,
    SequenceHead,
    SequenceProof,
    head_of,
    prove_extension,
    prove_frame,
    seal_head,
    sealed_head,
    sign_head,
    verify_head,
)
from meshhw.dare.local import LocalKey
from meshhw.dare.merkle import Head, check_consistency
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import SequenceFile, SequenceKind
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.write import seal
from meshhw.errors import FormatError, IntegrityError, MeshError, SignatureInvalid
from tests.dare import independent_tree

SIGNER = LocalKey(PrivateKey(Algorithm.ED448, bytes(range(57))))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create(tmp_path / "s")
    append(tmp_path / "s", 20)
    return tmp_path / "s"


def append(path: Path, count: int, text: bytes = b"entry") -> None:
    with SequenceWriter(path) as writer:
        for _ in range(count):
            writer.append(text)


def test_a_signed_head(path: Path) -> None:
    with SequenceFile(path) as sequence:
        head = head_of(sequence)
    envelope = Envelope.parse(sign_head(head, [SIGNER]).octets())
    assert verify_head(envelope, [SIGNER.public]) == head
    other = LocalKey(PrivateKey(Algorithm.ED448, bytes(57)))
    with pytest.raises(SignatureInvalid):
        verify_head(envelope, [other.public])
    published = seal(envelope.body, Outline(signers=[SIGNER], compat=True))
    with pytest.raises(SignatureInvalid, match="not signed by a key that is trusted"):
        verify_head(published, [SIGNER.public])  # a form that says nothing of what the body is
    changed = Envelope(envelope.members, envelope.body.replace(b"20", b"21"), envelope.trailer_members)
    with pytest.raises(SignatureInvalid):
        verify_head(changed, [SIGNER.public])


def test_a_sealed_head_is_that_of_the_frames_before_it(path: Path, tmp_path: Path) -> None:
    with SequenceWriter(path) as writer:
        earlier = head_of(writer)
        writer.append(b"not under it")
        content = ContentMeta(content_type=HEAD_TYPE)
        writer.append(sign_head(earlier, [SIGNER]).octets(), Outline(content=content))
    with SequenceFile(path) as sequence, pytest.raises(IntegrityError, match="frames before it"):
        sealed_head(sequence)
    with SequenceWriter(path) as writer:
        seal_head(writer, [SIGNER])
    with SequenceFile(path) as sequence:
        sealed = sealed_head(sequence)
    assert sealed
    assert sealed[1] == (SIGNER.public,)
    assert sealed[0].head.index == len(sequence) - 2


def test_proofs_stand_alone(path: Path) -> None:
    with SequenceFile(path) as sequence:
        for index in range(len(sequence)):
            octets = prove_frame(sequence, index).octets()
            SequenceProof.parse(octets).check()
            assert independent_tree.covers(octets)


def test_a_changed_proof_is_refused(path: Path) -> None:
    with SequenceFile(path) as sequence:
        value = json.loads(prove_frame(sequence, 5).octets())
    for name, other in [
        ("Index", 6),
        ("HeadIndex", 32),
        ("PayloadDigest", "A" * 86),
        ("Hashes", []),
        ("Tree", "meshhw/tree/1"),
        ("Hashes", ["A" * 86] * (merkle.MAX_PROOF + 1)),
    ]:
        changed = json.dumps({"SequenceProof": {**value["SequenceProof"], name: other}}).encode()
        with pytest.raises(MeshError):
            SequenceProof.parse(changed).check()
    with pytest.raises(FormatError, match="longer than any tree is high"):  # before a hash is computed
        SequenceProof.parse(changed)
    for octets in (b"", b"{}", b'{"SequenceProof":{}}', b'{"SequenceProof":[]}'):
        with pytest.raises(FormatError):
            SequenceProof.parse(octets)


def test_a_proof_says_nothing_of_a_header_that_names_another_frame() -> None:
    """Whoever writes a sequence can put any header into its tree."""
    members = {"SequenceInfo": {"Index": 7}}
    digest = merkle.leaf(authenticated_octets(members), bytes(64))
    head = SequenceHead(bytes(16), Head(0, digest))
    with pytest.raises(IntegrityError, match="another frame"):
        SequenceProof(head, 0, members, bytes(64), ()).check()
    with pytest.raises(IntegrityError, match="another frame"):
        SequenceProof(head, 0, {}, bytes(64), ()).check()


def test_growth_is_accepted_and_proven(path: Path, tmp_path: Path) -> None:
    memory = HeadMemory(tmp_path / "heads.json")
    with SequenceFile(path) as sequence:
        first = memory.accept(sequence)
    append(path, 7)
    with SequenceFile(path) as sequence:
        second = memory.accept(sequence)
        check_consistency(first.head, second.head, prove_extension(sequence, first.head))
        with pytest.raises(IntegrityError):
            check_consistency(Head(20, bytes(64)), second.head, prove_extension(sequence, first.head))
    assert memory.last(first.sequence_id) == second.head
    assert (tmp_path / "heads.json").stat().st_mode & 0o777 == 0o600


def test_a_shorter_and_a_diverging_sequence_are_refused(path: Path, tmp_path: Path) -> None:
    memory = HeadMemory(tmp_path / "heads.json")
    shutil.copy(path, tmp_path / "old")
    append(path, 5)
    with SequenceFile(path) as sequence:
        accepted = memory.accept(sequence)
    with SequenceFile(tmp_path / "old") as sequence, pytest.raises(IntegrityError, match="took frames away"):
        memory.accept(sequence)
    for more in (5, 3):  # as long as what was seen, and longer
        append(tmp_path / "old", more, b"another entry")
        with SequenceFile(tmp_path / "old") as sequence, pytest.raises(IntegrityError, match="diverged"):
            memory.accept(sequence)
    assert memory.last(accepted.sequence_id) == accepted.head


def test_other_kinds_have_no_heads(tmp_path: Path) -> None:
    create(tmp_path / "list", Creation(kind=SequenceKind.LIST))
    with SequenceFile(tmp_path / "list") as sequence, pytest.raises(FormatError, match="Merkle"):
        head_of(sequence)
