"""Tree digests against the published and computed ones; proofs against independent code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.dare.merkle import (
    OURS,
    PUBLISHED,
    ZEROS,
    Head,
    check_consistency,
    check_inclusion,
    operands,
    our_leaf,
    previous,
    prove,
    prove_consistency,
)
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
            proof = prove(index, head, DIGESTS.__getitem__, leaf)
            check_inclusion(index, leaf(index), Head(head, DIGESTS[head]), proof)


def test_every_consistency_proof_of_a_small_tree() -> None:
    for head in range(70):
        for old in range(head + 1):
            proof = prove_consistency(old, head, DIGESTS.__getitem__, leaf)
            check_consistency(Head(old, DIGESTS[old]), Head(head, DIGESTS[head]), proof)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, SIZE - 1), st.data())
def test_changed_proofs_are_refused(head: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, head))
    proof = prove(index, head, DIGESTS.__getitem__, leaf)
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
    old = Head(40, our_leaf(b"x", ZEROS))
    proof = prove_consistency(40, 99, DIGESTS.__getitem__, leaf)
    with pytest.raises(IntegrityError):
        check_consistency(old, Head(99, DIGESTS[99]), proof)


@pytest.mark.parametrize(("head", "bound"), [(2**20 - 1, 21), (999_999, 26), (2**20 - 2, 39)])
def test_the_length_of_a_proof_among_a_million(head: int, bound: int) -> None:
    """A hash for each level of the target's sub-tree and for each sub-tree after it: 21 at most where one
    sub-tree holds all, 39 at worst. Only lengths are looked at, so any 64 octets do for a digest."""
    lengths = [
        len(prove(index, head, lambda _: ZEROS, lambda _: ZEROS))
        for index in [0, 1, 2, head // 2, head // 3, head - 1, head, *range(0, head, head // 400)]
    ]
    assert max(lengths) <= bound


def test_operands_of_some_frames() -> None:
    assert list(operands(0)) == [-1]
    assert list(operands(5)) == [4, 3]
    assert list(operands(7)) == [6, 5, 3, 3]
    assert list(operands(11)) == [10, 9, 7]
