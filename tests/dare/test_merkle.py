"""The tree of sequences: against independent code and its vectors, and every proof of it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare import merkle
from meshhw.dare.exchange import KeyRing
from meshhw.dare.heads import SequenceProof, prove_frame
from meshhw.dare.local import LocalKey
from meshhw.dare.merkle import ZEROS, Head, Peaks, check_consistency, check_inclusion
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.errors import IntegrityError
from tests.dare import independent_tree

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dare_tree.json").read_text())
SIZE = 300


def leaf(index: int) -> bytes:
    return hashlib.sha512(b"leaf %d" % index).digest()


class Kept:
    """What the frames of a sequence of `SIZE` would say."""

    def __init__(self) -> None:
        peaks, self._said = Peaks(), list[dict[str, bytes]]()
        for index in range(SIZE):
            peaks = peaks.grow(leaf(index))
            self._said.append(peaks.trailer())

    def tree(self, index: int) -> bytes:
        return self._said[index]["TreeDigest"]

    def node(self, index: int) -> bytes:
        return self._said[index]["TreeNode"]

    def leaf(self, index: int) -> bytes:
        return leaf(index)


KEPT = Kept()


def head(index: int) -> Head:
    return Head(index, KEPT.tree(index))


def test_the_vectors_are_what_the_independent_code_computes() -> None:
    assert independent_tree.vectors() == VECTORS


@pytest.mark.parametrize("vector", [v for v in VECTORS if "root" in v], ids=lambda v: v["id"])
def test_roots_and_proofs_of_the_vectors(vector: dict[str, Any]) -> None:
    last = vector["size"] - 1
    assert KEPT.tree(last).hex() == vector["root"]
    for index, hashes in vector["inclusion"].items():
        assert [h.hex() for h in merkle.prove(int(index), last, KEPT)] == hashes
    for old, hashes in vector["consistency"].items():
        assert [h.hex() for h in merkle.prove_consistency(int(old) - 1, last, KEPT)] == hashes


@pytest.mark.parametrize("vector", [v for v in VECTORS if "file" in v], ids=lambda v: v["id"])
def test_sequences_of_the_vectors(vector: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(bytes.fromhex(vector["file"]))
    key = LocalKey(
        PrivateKey(Algorithm.X25519, bytes.fromhex(vector.get("reader", {}).get("private", "01" * 32)))
    )
    payloads = [bytes.fromhex(payload) for payload in vector["payloads"]]
    with SequenceFile(path) as sequence:
        reader = SequenceReader(sequence, KeyRing([key]))
        assert check_sequence(sequence, reader).frames == len(payloads) + 1
        assert [reader.open(index).payload for index in range(1, len(sequence))] == payloads
        for index in range(len(sequence)):
            assert independent_tree.covers(prove_frame(sequence, index).octets())
    with SequenceWriter(path) as writer:
        writer.append(b"one more")
    with SequenceFile(path) as sequence:
        check_sequence(sequence)


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 127, 128, 255, 256, 257, 300])
def test_digests_are_those_of_rfc_9162(size: int) -> None:
    leaves = [leaf(index) for index in range(size)]
    complete = size & -size
    assert KEPT.tree(size - 1) == independent_tree.root(leaves)
    assert KEPT.node(size - 1) == independent_tree.root(leaves[-complete:])
    assert merkle.resume(size - 1, KEPT).trailer() == {
        "TreeDigest": KEPT.tree(size - 1),
        "TreeNode": KEPT.node(size - 1),
    }


def test_every_inclusion_proof_of_a_small_tree() -> None:
    for last in range(70):
        for index in range(last + 1):
            proof = merkle.prove(index, last, KEPT)
            assert len(proof) <= last.bit_length()
            check_inclusion(index, leaf(index), head(last), proof)


def test_every_consistency_proof_of_a_small_tree() -> None:
    for last in range(70):
        for old in range(last + 1):
            proof = merkle.prove_consistency(old, last, KEPT)
            assert len(proof) <= last.bit_length() + 1
            check_consistency(head(old), head(last), proof)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, SIZE - 1), st.data())
def test_changed_inclusion_proofs_are_refused(last: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, last))
    proof = merkle.prove(index, last, KEPT)
    other = data.draw(st.integers(0, SIZE).filter(lambda i: i != index))
    wrong = [
        (other, leaf(index), proof),
        (index, leaf(index + 1), proof),
        (index, leaf(index), [*proof, ZEROS]),
        (index, leaf(index), [*proof, ZEROS[1:]]),
        (-1, leaf(index), proof),
    ]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], leaf(999), *proof[at + 1 :]]
        wrong += [(index, leaf(index), changed), (index, leaf(index), proof[:-1])]
        wrong += [(index, leaf(index), proof[1:]), (index, leaf(index), [proof[0], *proof])]
    for claimed, value, hashes in wrong:
        with pytest.raises(IntegrityError):
            check_inclusion(claimed, value, head(last), hashes)
    with pytest.raises(IntegrityError):  # too short for a tree that is so high
        check_inclusion(index, leaf(index), Head(last | 1 << 20, KEPT.tree(last)), proof)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, SIZE - 1), st.data())
def test_changed_consistency_proofs_are_refused(last: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, last))
    proof = merkle.prove_consistency(old, last, KEPT)
    wrong = [
        (Head(old, leaf(999)), head(last), proof),
        (head(old), Head(last, leaf(999)), proof),
        (head(old), head(last), [*proof, ZEROS]),
        (Head(last + 1, KEPT.tree(last)), head(last), proof),
        (head(old), Head(last | 1 << 20, KEPT.tree(last)), proof),
    ]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], leaf(999), *proof[at + 1 :]]
        wrong += [(head(old), head(last), changed), (head(old), head(last), proof[:-1])]
    for before, after, hashes in wrong:
        with pytest.raises(IntegrityError):
            check_consistency(before, after, hashes)


class Anything:
    """Digests of a sequence of any length: only the lengths of proofs are looked at."""

    def tree(self, index: int) -> bytes:
        return ZEROS

    node = leaf = tree


@pytest.mark.parametrize("last", [2**20 - 1, 999_999, 2**20 - 2, 2**19, 2**19 - 1])
def test_a_proof_among_a_million_has_at_most_21_hashes(last: int) -> None:
    indexes = [0, 1, 2, last // 2, last // 3, last - 1, last, *range(0, last, last // 400)]
    assert max(len(merkle.prove(index, last, Anything())) for index in indexes) <= 20
    assert max(len(merkle.prove_consistency(index, last, Anything())) for index in indexes) <= 21


def test_an_end_whose_digests_do_not_fit_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "s"
    create(path)
    with SequenceWriter(path) as writer:
        for _ in range(6):
            writer.append(b"entry")
    with SequenceFile(path) as sequence:
        position, length = sequence.frame(5).span.records[2]
        digest = base64.urlsafe_b64encode(merkle.resume(5, _said(sequence)).digests[-1]).rstrip(b"=")
    octets = path.read_bytes()
    at = octets.index(digest, position, position + length)
    path.write_bytes(octets[:at] + (b"A" if octets[at] != 65 else b"B") + octets[at + 1 :])
    with pytest.raises(IntegrityError, match="do not fit"):
        SequenceWriter(path)


def _said(sequence: SequenceFile) -> merkle.Digests:
    from meshhw.dare.ending import FrameDigests

    return FrameDigests(sequence)


def test_a_proof_names_its_tree(tmp_path: Path) -> None:
    """The same hashes under the other tree's name prove nothing."""
    create(tmp_path / "s")
    with SequenceWriter(tmp_path / "s") as writer:
        writer.append(b"entry")
    with SequenceFile(tmp_path / "s") as sequence:
        value = json.loads(prove_frame(sequence, 1).octets())
    assert value["SequenceProof"]["Tree"] == "meshhw/tree/2"
    for change in ({"Tree": "meshhw/tree/1"}, {"Tree": None}):
        members = {n: v for n, v in (value["SequenceProof"] | change).items() if v is not None}
        with pytest.raises(IntegrityError):
            SequenceProof.parse(json.dumps({"SequenceProof": members}).encode()).check()
