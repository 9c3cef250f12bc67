"""The older tree of sequences, `meshhw/tree/1`, and that of the drafts: read, and grown where it is.

With n + 1 = m * 2^k, m odd, the digest D(n) of frame n is

    c = leaf(n);  c = C(D(n - 2^j), c) for j = 0 .. k-1;  D(n) = C(D(previous(n)), c)

D(n - 2^j) ends the sub-tree of 2^j frames just before the next smaller one, so c covers the 2^k frames that
end at n, and the last operand everything before. A missing operand is 64 zero octets. (DARE section 3.3; the
domain separation of `Tree` is docs/formats.md's `meshhw/tree/1`.) Its proofs grow to twice the tree's height,
which is why new sequences have the tree of `merkle`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from meshhw.dare.merkle import DIGEST, ZEROS, Digests, Head, previous
from meshhw.errors import IntegrityError

NAME = "meshhw/tree/1"
MAX_PROOF = 160
Lookup = Callable[[int], bytes]
"""The tree digest of a frame by its index."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One way to hash: what goes before the operands of a node."""

    node_prefix: bytes = b""

    def node(self, left: bytes, right: bytes) -> bytes:
        """C(left, right)."""
        return hashlib.sha512(self.node_prefix + left + right).digest()

    def digest(self, index: int, leaf: bytes, digests: Lookup) -> bytes:
        """D(index), from its leaf and the digests before it."""
        value = leaf
        for operand in operands(index):
            value = self.node(_or_zeros(digests, operand), value)
        return value


OURS = Tree(b"\x01")
"""`meshhw/tree/1`: leaves and nodes cannot stand for each other."""
PUBLISHED = Tree()
"""What the drafts intend: no domain separation, the leaf is the payload's digest."""


def leaf(header: bytes, payload_digest: bytes) -> bytes:
    """The leaf of `meshhw/tree/1`: it covers the authenticated header and the body."""
    return hashlib.sha512(b"\x00" + hashlib.sha512(header).digest() + payload_digest).digest()


def operands(index: int) -> Iterator[int]:
    """The frames whose digests enter D(index), in that order; -1 where there is none."""
    level = 1
    while (index + 1) % (2 * level) == 0:
        yield index - level
        level *= 2
    yield previous(index)


@dataclass(frozen=True, slots=True)
class Apexes:
    """The digests that the frame after `index` may need."""

    index: int = -1
    digests: Mapping[int, bytes] = field(default_factory=dict)

    def grow(self, value: bytes) -> Apexes:
        """With one leaf more."""
        index = self.index + 1
        digests = {index: OURS.digest(index, value, self.digests.__getitem__)}
        digests |= {at: self.digests[at] for at in ancestors(index)}
        return Apexes(index, digests)

    @property
    def head(self) -> Head:
        """The head of these frames."""
        return Head(self.index, self.digests[self.index])

    def trailer(self) -> dict[str, bytes]:
        """What the last of these frames holds in its trailer."""
        return {"TreeDigest": self.digests[self.index]}


def begin() -> Apexes:
    """Before the first frame."""
    return Apexes()


def resume(index: int, digests: Digests) -> Apexes:
    """After frame `index`."""
    return Apexes(index, {at: digests.tree(at) for at in (index, *ancestors(index))})


def ancestors(index: int) -> Iterator[int]:
    """The frames that TreePosition leads to, one after another, down to 0."""
    while index > 0:
        index = previous(index)
        yield index


def prove(index: int, head: int, digests: Digests) -> list[bytes]:
    """The hashes that show D(head) to cover the leaf of `index`."""
    return _Prover(digests).path(index, head, to_leaf=True)


def prove_consistency(old: int, head: int, digests: Digests) -> list[bytes]:
    """The hashes that show D(head) to cover D(old), and with it everything up to `old`."""
    return _Prover(digests).path(old, head, to_leaf=False)


def check_inclusion(index: int, value: bytes, head: Head, proof: Sequence[bytes]) -> None:
    """Raise IntegrityError unless `proof` shows that the head covers this leaf."""
    _check(_Verifier(proof, value, to_leaf=True), index, head)


def check_consistency(old: Head, head: Head, proof: Sequence[bytes]) -> None:
    """Raise IntegrityError unless `proof` shows that the head extends the older one."""
    _check(_Verifier(proof, old.digest, to_leaf=False), old.index, head)


class _Prover:
    """Walks from the head down to the target; a digest that was told once is not told again."""

    def __init__(self, digests: Digests) -> None:
        self._digests = digests
        self._known: set[int] = {-1}
        self._proof: list[bytes] = []

    def path(self, target: int, head: int, *, to_leaf: bool) -> list[bytes]:
        self._walk(head, target, to_leaf)
        return self._proof

    def _walk(self, node: int, target: int, to_leaf: bool) -> None:
        if node == target and not to_leaf:
            self._known.add(node)
            return
        inputs = list(operands(node))
        step = _step(inputs, node, target)
        if step is None:
            rest = inputs
        else:
            self._walk(inputs[step], target, to_leaf)
            self._proof.append(self._inner(node, inputs[:step]))
            rest = inputs[step + 1 :]
        for operand in rest:
            self._tell(operand)
        self._known.add(node)

    def _inner(self, node: int, inputs: Sequence[int]) -> bytes:
        value = self._digests.leaf(node)
        for operand in inputs:
            value = OURS.node(_or_zeros(self._digests.tree, operand), value)
        return value

    def _tell(self, operand: int) -> None:
        if operand not in self._known:
            self._known.add(operand)
            self._proof.append(self._digests.tree(operand))


class _Verifier:
    """The same walk, computing from the target up to the head."""

    def __init__(self, proof: Sequence[bytes], target_value: bytes, *, to_leaf: bool) -> None:
        self._proof = iter(proof)
        self._target_value, self._to_leaf = target_value, to_leaf
        self._known: dict[int, bytes] = {-1: ZEROS}

    def value(self, node: int, target: int) -> bytes:
        if node == target and not self._to_leaf:
            value = self._target_value
        else:
            inputs = list(operands(node))
            step = _step(inputs, node, target)
            if step is None:
                value, rest = self._target_value, inputs
            else:
                below = self.value(inputs[step], target)
                value = OURS.node(below, self._next())
                rest = inputs[step + 1 :]
            for operand in rest:
                value = OURS.node(self._told(operand), value)
        self._known[node] = value
        return value

    def finished(self) -> bool:
        return next(self._proof, None) is None

    def _told(self, operand: int) -> bytes:
        if operand not in self._known:
            self._known[operand] = self._next()
        return self._known[operand]

    def _next(self) -> bytes:
        value = next(self._proof, b"")
        if len(value) != DIGEST:
            raise IntegrityError("the proof is too short")
        return value


def _step(inputs: Sequence[int], node: int, target: int) -> int | None:
    """Which operand's sub-tree holds the target; None for the node's own leaf.

    Sub-tree j ends at inputs[j] and begins after inputs[j + 1]; the last operand covers all that is before.
    """
    if target == node:
        return None
    for step, operand in enumerate(inputs[:-1]):
        if target > inputs[step + 1] or (inputs[step + 1] == operand and target <= operand):
            return step
    return len(inputs) - 1


def _check(verifier: _Verifier, target: int, head: Head) -> None:
    if not 0 <= target <= head.index:
        raise IntegrityError("the proof is about a frame that the head does not cover")
    if not hmac.compare_digest(verifier.value(head.index, target), head.digest) or not verifier.finished():
        raise IntegrityError("the proof does not lead to the head")


def _or_zeros(digests: Lookup, index: int) -> bytes:
    return ZEROS if index < 0 else digests(index)
