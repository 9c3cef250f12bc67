"""The tree of sequences, `meshhw/tree/2`: how digests are formed, and proofs of what a head covers.

It is the Merkle tree of RFC 9162, section 2.1, over the frames from 0 on, with our domain separation:

    leaf(n)     = H("meshhw/tree/2" || 0x00 || H(canonical(header)) || PayloadDigest)
    node(a, b)  = H("meshhw/tree/2" || 0x01 || a || b)

Two digests stand in frame n's trailer: `TreeDigest` is the root of the frames 0 to n, `TreeNode` that of the
largest complete sub-tree that ends with frame n. With n + 1 = m * 2^k, m odd, that is one of 2^k frames. The
frames that TreePosition leads to hold the other complete sub-trees before it: all that an append needs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meshhw.errors import IntegrityError

NAME = "meshhw/tree/2"
MAX_PROOF = 64
DIGEST = 64
_sha512 = hashlib.sha512
ZEROS = bytes(DIGEST)
_LEAF = NAME.encode() + b"\x00"
_NODE = NAME.encode() + b"\x01"


@dataclass(frozen=True, slots=True)
class Head:
    """The tree digest of a sequence's last frame: it stands for the whole."""

    index: int
    digest: bytes


class Digests(Protocol):
    """What frames say of the tree, by their index."""

    def tree(self, index: int) -> bytes:
        """TreeDigest."""

    def node(self, index: int) -> bytes:
        """TreeNode."""

    def leaf(self, index: int) -> bytes:
        """The leaf, from the frame's header and its PayloadDigest."""


def leaf(header: bytes, payload_digest: bytes) -> bytes:
    """The leaf of a frame, `header` being its canonical(header)."""
    return hashlib.sha512(_LEAF + hashlib.sha512(header).digest() + payload_digest).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The digest over two sub-trees."""
    return hashlib.sha512(_NODE + left + right).digest()


def previous(index: int) -> int:
    """The frame that TreePosition points to; -1 for frame 0 (DARE section 3.2)."""
    level = (index + 1) & -(index + 1)
    return level // 2 - 1 if level == index + 1 else index - level


@dataclass(frozen=True, slots=True)
class Peaks:
    """The complete sub-trees of the first `size` frames, the largest first: all that the next frame needs."""

    size: int = 0
    digests: tuple[bytes, ...] = ()

    def grow(self, value: bytes) -> Peaks:
        """With one leaf more."""
        digests, rest = list(self.digests), self.size
        while rest & 1:
            value = node(digests.pop(), value)
            rest >>= 1
        return Peaks(self.size + 1, (*digests, value))

    @property
    def head(self) -> Head:
        """The head of these frames."""
        return Head(self.size - 1, _joined(self.digests))

    def trailer(self) -> dict[str, bytes]:
        """What the last of these frames holds in its trailer."""
        return {"TreeDigest": _joined(self.digests), "TreeNode": self.digests[-1]}


def begin() -> Peaks:
    """Before the first frame."""
    return Peaks()


def resume(index: int, digests: Digests) -> Peaks:
    """After frame `index`, from what at most 64 frames hold. Raises IntegrityError when they do not fit."""
    held, at = [], index
    while True:
        held.append(digests.node(at))
        if at & (at + 1) == 0:
            break
        at = previous(at)
    peaks = Peaks(index + 1, tuple(reversed(held)))
    if not hmac.compare_digest(peaks.head.digest, digests.tree(index)):
        raise IntegrityError(f"the digests of frame {index} and of those before it do not fit")
    return peaks


def prove(index: int, head: int, digests: Digests) -> list[bytes]:
    """The hashes that show the head of frame `head` to cover the leaf of `index` (RFC 9162, 2.1.3.1)."""
    first, stop, found = 0, head + 1, list[bytes]()
    while stop - first > 1:
        middle = first + _split(stop - first)
        if index < middle:
            found.append(_root(middle, stop, digests))
            stop = middle
        else:
            found.append(_root(first, middle, digests))
            first = middle
    return found[::-1]


def prove_consistency(old: int, head: int, digests: Digests) -> list[bytes]:
    """The hashes that show the head of frame `head` to extend that of frame `old` (RFC 9162, 2.1.4.1)."""
    first, stop, found, end = 0, head + 1, list[bytes](), old + 1
    while end != stop:
        middle = first + _split(stop - first)
        if end <= middle:
            found.append(_root(middle, stop, digests))
            stop = middle
        else:
            found.append(_root(first, middle, digests))
            first = middle
    if first:  # else it is the old head itself, which the verifier has
        found.append(_root(first, stop, digests))
    return found[::-1]


def check_inclusion(index: int, value: bytes, head: Head, proof: Sequence[bytes]) -> None:
    """Raise IntegrityError unless `proof` shows that the head covers this leaf (RFC 9162, 2.1.3.2)."""
    if not 0 <= index <= head.index:
        raise IntegrityError("the proof is about a frame that the head does not cover")
    at, last = index, head.index
    for other in _whole(proof):
        if not last:
            raise IntegrityError("the proof is too long")
        if at & 1 or at == last:
            value = node(other, value)
            at, last = _past_lone(at, last)
        else:
            value = node(value, other)
        at, last = at >> 1, last >> 1
    if last or not hmac.compare_digest(value, head.digest):
        raise IntegrityError("the proof does not lead to the head")


def check_consistency(old: Head, head: Head, proof: Sequence[bytes]) -> None:
    """Raise IntegrityError unless `proof` shows that the head extends the older one (RFC 9162, 2.1.4.2)."""
    if not 0 <= old.index <= head.index:
        raise IntegrityError("the proof is about a frame that the head does not cover")
    hashes = _whole(proof)
    if old.index == head.index or old.index & (old.index + 1) == 0:
        hashes.insert(0, old.digest)
    at, last = old.index, head.index
    while at & 1 or at == last != 0:
        at, last = at >> 1, last >> 1
    if not hashes:
        raise IntegrityError("the proof is too short")
    before = now = hashes[0]
    for other in hashes[1:]:
        if not last:
            raise IntegrityError("the proof is too long")
        if at & 1 or at == last:
            before, now = node(other, before), node(other, now)
            at, last = _past_lone(at, last)
        else:
            now = node(now, other)
        at, last = at >> 1, last >> 1
    same = hmac.compare_digest(before, old.digest) & hmac.compare_digest(now, head.digest)
    if last or not same:
        raise IntegrityError("the proof does not lead from the old head to the new one")


def _past_lone(at: int, last: int) -> tuple[int, int]:
    """Up to where the sub-tree is a right one: at the ragged edge a level may have no node of its own."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _joined(peaks: Sequence[bytes]) -> bytes:
    """The root over complete sub-trees, the largest first."""
    value = peaks[-1]
    for left in peaks[-2::-1]:
        value = _sha512(_NODE + left + value).digest()  # `node`, which every append does for each peak
    return value


def _root(first: int, stop: int, digests: Digests) -> bytes:
    """The root of the frames from `first`, where a complete sub-tree may begin, to before `stop`."""
    peaks, size = [], stop - first
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            first += 1 << level
            peaks.append(_complete(first - 1, level, digests))
    return _joined(peaks)


def _complete(last: int, level: int, digests: Digests) -> bytes:
    """The root of the complete sub-tree of 2^level frames that ends with frame `last`."""
    if (last + 1) >> level & 1:
        return digests.node(last)
    value = digests.leaf(last)
    for below in range(level):
        value = node(digests.node(last - (1 << below)), value)
    return value


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _whole(proof: Sequence[bytes]) -> list[bytes]:
    if len(proof) > MAX_PROOF or any(len(part) != DIGEST for part in proof):
        raise IntegrityError("the proof's hashes do not have 64 octets each, or are too many")
    return list(proof)
