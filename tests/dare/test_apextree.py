"""The older tree: its digests as published and computed, its proofs, and sequences that have it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.dare import apextree
from meshhw.dare.apextree import (
    OURS,
    PUBLISHED,
    check_consistency,
    check_inclusion,
    operands,
    prove,
    prove_consistency,
)
from meshhw.dare.heads import (
    HeadMemory,
    SequenceProof,
    check_extension,
    head_of,
    prove_extension,
    prove_frame,
)
from meshhw.dare.merkle import ZEROS, Head, previous
from meshhw.dare.replicate import Relation, accept_frames, frames_since, relate
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.errors import IntegrityError

VECTORS = Path(__file__).parents[1] / "vectors"
COMPUTED = json.loads((VECTORS / "dare_tree_chain_selfmade.json").read_text())["vectors"]
POSITIONS = json.loads((VECTORS / "dare_previous_frame.json").read_text())["vectors"]
SIZE = 300


def leaf(index: int) -> bytes:
    return hashlib.sha512(index.to_bytes(8, "big")).digest()


def tree(size: int = SIZE) -> list[bytes]:
    digests: list[bytes] = []
    for index in range(size):
        digests.append(OURS.digest(index, leaf(index), digests.__getitem__))
    return digests


DIGESTS = tree()


class Kept:
    """What frames would say."""

    def tree(self, index: int) -> bytes:
        return DIGESTS[index]

    def leaf(self, index: int) -> bytes:
        return leaf(index)

    def node(self, index: int) -> bytes:
        raise AssertionError("this tree has no TreeNode")


KEPT = Kept()


@pytest.mark.parametrize("index", sorted(map(int, POSITIONS)))
def test_previous_frame(index: int) -> None:
    assert previous(index) == POSITIONS[str(index)]


@pytest.mark.parametrize("vector", COMPUTED, ids=lambda v: str(v["index"]))
def test_intended_and_legacy_digests(vector: dict[str, object]) -> None:
    empty = hashlib.sha512(b"").digest()
    body = hashlib.sha512(bytes(i & 0xFF for i in range(300))).digest()
    digests: list[bytes] = []
    chain = ZEROS
    index = int(str(vector["index"]))
    for i in range(index + 1):
        payload = body if i else empty
        digests.append(PUBLISHED.digest(i, payload, digests.__getitem__))
        chain = PUBLISHED.node(chain, payload)
    assert digests[index].hex() == vector["tree_digest"]
    assert chain.hex() == vector["chain_digest"]
    assert PUBLISHED.digest(index, payload, lambda _: ZEROS).hex() == vector["reference_bug_prepare"]


def independent_root(size: int) -> bytes:
    """D(size - 1) by the words of the specification, without `operands`."""
    known: dict[int, bytes] = {-1: bytes(64)}

    def join(a: bytes, b: bytes) -> bytes:
        return hashlib.sha512(b"\x01" + a + b).digest()

    for n in range(size):
        c, x, d = leaf(n), n + 1, 1
        while x % 2 == 0:
            c = join(known[n - d], c)
            d, x = 2 * d, x // 2
        known[n] = join(known[d // 2 - 1 if x == 1 else n - d], c)
    return known[size - 1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 100, 256, 300])
def test_digests_are_those_of_the_specification(size: int) -> None:
    assert DIGESTS[size - 1] == independent_root(size)


def test_every_inclusion_proof_of_a_small_tree() -> None:
    for head in range(70):
        for index in range(head + 1):
            proof = prove(index, head, KEPT)
            check_inclusion(index, leaf(index), Head(head, DIGESTS[head]), proof)


def test_every_consistency_proof_of_a_small_tree() -> None:
    for head in range(70):
        for old in range(head + 1):
            proof = prove_consistency(old, head, KEPT)
            check_consistency(Head(old, DIGESTS[old]), Head(head, DIGESTS[head]), proof)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, SIZE - 1), st.data())
def test_changed_proofs_are_refused(head: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, head))
    proof = prove(index, head, KEPT)
    top = Head(head, DIGESTS[head])
    other = data.draw(st.integers(0, head).filter(lambda i: i != index)) if head else None
    wrong = [(index, leaf(index + 1), proof), (index, leaf(index), [*proof, ZEROS])]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], leaf(999), *proof[at + 1 :]]
        wrong += [(index, leaf(index), changed), (index, leaf(index), proof[:-1])]
    if other is not None:
        wrong.append((other, leaf(index), proof))
    for claimed, value, hashes in wrong:
        with pytest.raises(IntegrityError):
            check_inclusion(claimed, value, top, hashes)


def test_a_diverged_tree_has_no_consistency_proof() -> None:
    old = Head(40, apextree.leaf(b"x", ZEROS))
    proof = prove_consistency(40, 99, KEPT)
    with pytest.raises(IntegrityError):
        check_consistency(old, Head(99, DIGESTS[99]), proof)


def test_operands_of_some_frames() -> None:
    assert list(operands(0)) == [-1]
    assert list(operands(5)) == [4, 3]
    assert list(operands(7)) == [6, 5, 3, 3]
    assert list(operands(11)) == [10, 9, 7]


def test_a_sequence_with_the_older_tree_grows_and_is_checked(tmp_path: Path) -> None:
    """Stores made before the newer tree go on as they were, with proofs, memory and copies."""
    path, copy = tmp_path / "s", tmp_path / "copy"
    create(path, Creation(merkle=apextree))
    copy.write_bytes(path.read_bytes())
    memory = HeadMemory(tmp_path / "heads.json")
    for round_ in range(1, 6):
        with SequenceWriter(path) as writer:
            for number in range(round_ * 3):
                writer.append(b"entry %d" % number)
        with SequenceFile(path) as sequence:
            assert sequence.tree is apextree
            assert check_sequence(sequence).head == head_of(sequence).head
            assert b"TreeNode" not in path.read_bytes()
            memory.accept(sequence)
            for index in range(len(sequence)):
                proof = SequenceProof.parse(prove_frame(sequence, index).octets())
                assert proof.tree is apextree
                proof.check()
            with SequenceFile(copy) as behind:
                old = head_of(behind)
                hashes = prove_extension(sequence, old.head)
                check_extension(sequence, old.head, head_of(sequence).head, hashes)
                assert relate(behind, head_of(sequence), hashes) is Relation.BEHIND
                sent = frames_since(sequence, len(behind))
            accept_frames(copy, sent, head_of(sequence))
    assert copy.read_bytes() == path.read_bytes()
