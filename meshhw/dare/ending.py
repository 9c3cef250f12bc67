"""What a sequence ends with, as far as the digests of its next frame are formed over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from meshhw.dare import merkle
from meshhw.dare.apextree import PUBLISHED
from meshhw.dare.header import Members, authenticated_octets
from meshhw.dare.sequence import Frame, SequenceFile, SequenceKind, octets_in
from meshhw.dare.trees import Growth, Tree
from meshhw.errors import FormatError
from meshhw.jsonbcd import encode_base64url


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a sequence of one kind, from before its first frame on."""

    kind: SequenceKind
    tree: Tree | None = None
    chain: bytes = merkle.ZEROS
    growth: Growth | None = None

    def after(self, authenticated: bytes, payload_digest: bytes) -> tuple[Ending, Members]:
        """The end with one frame more, and the digests of that frame's trailer, `authenticated` being its
        canonical(header)."""
        if not self.kind.has_digest:
            return self, {}
        if self.tree is not None:
            return self.after_leaf(self.tree.leaf(authenticated, payload_digest), payload_digest)
        if self.kind is not SequenceKind.CHAIN:
            return self, _trailer({"PayloadDigest": payload_digest})
        ending = Ending(self.kind, chain=PUBLISHED.node(self.chain, payload_digest))
        return ending, _trailer({"ChainDigest": ending.chain, "PayloadDigest": payload_digest})

    def after_leaf(self, leaf: bytes, payload_digest: bytes) -> tuple[Ending, Members]:
        """The same for the leaf of a frame of a Merkle sequence."""
        assert self.tree is not None
        growth = (self.growth or self.tree.begin()).grow(leaf)
        ending = Ending(self.kind, self.tree, growth=growth)
        return ending, _trailer({"PayloadDigest": payload_digest} | growth.trailer())

    @property
    def head(self) -> merkle.Head | None:
        """The head of a Merkle sequence."""
        return self.growth.head if self.growth is not None else None


def _trailer(digests: Mapping[str, bytes]) -> Members:
    return {name: encode_base64url(digest) for name, digest in digests.items()}


def ending_of(sequence: SequenceFile) -> Ending:
    """What a sequence of ours ends with, from its last frames. Raises FormatError, IntegrityError."""
    last = len(sequence) - 1
    ending = Ending(sequence.kind, sequence.tree)
    if sequence.kind is SequenceKind.CHAIN:
        chain = octets_in(sequence.frame(last).trailer_members, "ChainDigest")
        return replace(ending, chain=chain or merkle.ZEROS)
    if sequence.tree is not None:
        return replace(ending, growth=sequence.tree.resume(last, FrameDigests(sequence)))
    return ending


def frame_leaf(tree: Tree, frame: Frame) -> bytes:
    """The leaf of a frame, from its header and the PayloadDigest that it says. Raises FormatError."""
    digest = frame.trailer.payload_digest
    if digest is None:
        raise FormatError(f"frame {frame.index} has no PayloadDigest")
    return tree.leaf(authenticated_octets(frame.members), digest)


class FrameDigests:
    """What the frames of a Merkle sequence of ours say of its tree."""

    def __init__(self, sequence: SequenceFile) -> None:
        """Raises FormatError for another sequence."""
        if sequence.tree is None:
            raise FormatError("only a Merkle sequence of ours has heads and proofs")
        self._sequence, self._tree = sequence, sequence.tree

    def tree(self, index: int) -> bytes:
        """TreeDigest of a frame. Raises FormatError."""
        return self._sequence.frame(index).tree_digest

    def node(self, index: int) -> bytes:
        """TreeNode of a frame. Raises FormatError."""
        digest = self._sequence.frame(index).trailer.tree_node
        if digest is None:
            raise FormatError(f"frame {index} has no TreeNode")
        return digest

    def leaf(self, index: int) -> bytes:
        """The leaf of a frame. Raises FormatError."""
        return frame_leaf(self._tree, self._sequence.frame(index))
