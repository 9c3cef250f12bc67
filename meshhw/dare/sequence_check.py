"""Checking a whole sequence: frames, pointers, digests, and with keys every header and body.

Published sequences carry digests of three kinds, which are told apart: as intended, as the reference of 2022
wrote them (which bind no frame to any other), and wrong ones (DARE section 3.3).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from meshhw.dare import merkle
from meshhw.dare.apextree import PUBLISHED, ancestors
from meshhw.dare.digests import digest_function
from meshhw.dare.ending import Ending
from meshhw.dare.header import UNAUTHENTICATED, Members, authenticated_octets, to_members
from meshhw.dare.segments import Octets
from meshhw.dare.sequence import Frame, SequenceFile, SequenceKind, octets_in
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import FormatError, IntegrityError
from meshhw.jsonbcd import canonical, encode_base64url

Progress = Callable[[int, int], None]
_TRAILER_MEMBERS = frozenset(("PayloadDigest", "ChainDigest", "TreeDigest", "TreeNode", "signatures"))
_UNCOVERED = UNAUTHENTICATED - {"hmac"}
_KEPT = 256


class DigestState(StrEnum):
    """What a frame's chain or tree digest is worth."""

    NONE = "none"
    INTENDED = "intended"
    """It commits to every frame before."""
    LEGACY = "legacy"
    """As the reference wrote it: it commits to this frame's body alone."""
    WRONG = "wrong"


@dataclass(slots=True)
class SequenceReport:
    """What a check found. A sequence of ours that fails raises instead."""

    frames: int = 0
    torn_at: int | None = None
    digests: Counter[DigestState] = field(default_factory=Counter)
    head: merkle.Head | None = None
    opened: int = 0
    """Frames that were decrypted, too."""


def check_sequence(
    sequence: SequenceFile, reader: SequenceReader | None = None, progress: Progress | None = None
) -> SequenceReport:
    """Check every frame from the first; with a `reader` also decrypt each. A torn tail is told, not raised.

    Raises FormatError, IntegrityError, DecryptionFailed with the frame that is wrong; for a published
    sequence only where nothing can be read.
    """
    report = SequenceReport(torn_at=sequence.torn_at)
    digests = _OurDigests(sequence) if sequence.is_ours else _PublishedDigests(sequence)
    for frame in sequence.frames():
        payload_digest = _digest_of(sequence, frame)
        if sequence.is_ours:
            _require_ours(sequence, frame)
        state = digests.state(frame, payload_digest)
        if sequence.is_ours and state is DigestState.WRONG:
            raise IntegrityError(f"frame {frame.index} or one before it was changed")
        report.digests[state] += 1
        report.frames += 1
        if reader is not None:
            reader.stream(frame, _discard)
            report.opened += 1
        if progress is not None:
            progress(report.frames, len(sequence))
    report.head = digests.head
    return report


class _OurDigests:
    """The digests of a sequence of ours, frame by frame."""

    def __init__(self, sequence: SequenceFile) -> None:
        self._ending = Ending(sequence.kind, sequence.tree)

    @property
    def head(self) -> merkle.Head | None:
        """The head so far, recomputed."""
        return self._ending.head

    def state(self, frame: Frame, payload_digest: bytes) -> DigestState:
        """Compare what a frame says with what it should."""
        self._ending, expected = self._ending.after(authenticated_octets(frame.members), payload_digest)
        said = {name: found for name, found in frame.trailer_members.items() if name != "signatures"}
        right = expected | ({"PayloadDigest": encode_base64url(payload_digest)} if said else {})
        if said != right:
            return DigestState.WRONG
        return DigestState.INTENDED if set(expected) - {"PayloadDigest"} else DigestState.NONE


class _PublishedDigests:
    """Those of a published sequence, keeping what later ones need."""

    head = None

    def __init__(self, sequence: SequenceFile) -> None:
        self._kind = sequence.kind
        self._trees: dict[int, bytes] = {}
        self._chain = merkle.ZEROS

    def state(self, frame: Frame, payload_digest: bytes) -> DigestState:
        """Compare what a frame says with what it should and with what the reference would have written."""
        state = DigestState.NONE
        if self._kind is SequenceKind.CHAIN:
            state = self._chain_state(frame, payload_digest)
        if self._kind is SequenceKind.MERKLE:
            state = self._tree_state(frame, payload_digest)
        stored = _stored(frame, "PayloadDigest")
        wrong = stored is not None and not hmac.compare_digest(stored, payload_digest)
        return DigestState.WRONG if wrong else state

    def _chain_state(self, frame: Frame, payload_digest: bytes) -> DigestState:
        self._chain = PUBLISHED.node(self._chain, payload_digest)
        alone = PUBLISHED.node(merkle.ZEROS, payload_digest)
        return _compared(_stored(frame, "ChainDigest"), self._chain, (alone,))

    def _tree_state(self, frame: Frame, payload_digest: bytes) -> DigestState:
        right = PUBLISHED.digest(frame.index, payload_digest, self._trees.__getitem__)
        self._trees[frame.index] = right
        if len(self._trees) > _KEPT:
            kept = {frame.index, *ancestors(frame.index)}
            self._trees = {index: digest for index, digest in self._trees.items() if index in kept}
        alone = (PUBLISHED.digest(n, payload_digest, _zeros) for n in (frame.index, frame.index + 1))
        return _compared(_stored(frame, "TreeDigest"), right, alone)


def _compared(stored: bytes | None, right: bytes, legacy: Iterable[bytes]) -> DigestState:
    if stored is None:
        return DigestState.NONE
    if hmac.compare_digest(stored, right):
        return DigestState.INTENDED
    return DigestState.LEGACY if stored in tuple(legacy) else DigestState.WRONG


def _require_ours(sequence: SequenceFile, frame: Frame) -> None:
    """The spelling and the pointers of a frame of ours."""
    SequenceReader.require_ours(frame, whole=True)
    stray = set(frame.trailer_members) - _TRAILER_MEMBERS | set(frame.members) & _UNCOVERED
    if stray:
        raise IntegrityError(f"frame {frame.index} holds {min(stray)[:40]!r} outside what is authenticated")
    if canonical(to_members(frame.trailer)) != canonical(frame.trailer_members):
        raise FormatError(f"frame {frame.index}'s trailer is not spelled as ours are")
    info = frame.header.sequence_info
    if frame.header.dig != sequence.first.header.dig:
        raise IntegrityError(f"frame {frame.index} has another digest than the sequence")
    if info is None or info.index != frame.index:
        raise IntegrityError(f"frame {frame.index} does not say its index")
    expected = sequence.positions[merkle.previous(frame.index)] if frame.index else None
    if info.tree_position != (expected if sequence.kind.has_pointers else None):
        raise IntegrityError(f"frame {frame.index} points to the wrong place")


def _stored(frame: Frame, name: str) -> bytes | None:
    held: tuple[Members, ...] = (frame.trailer_members, frame.members)
    return next((found for members in held if (found := octets_in(members, name)) is not None), None)


def _digest_of(sequence: SequenceFile, frame: Frame) -> bytes:
    digest = digest_function(frame.header)() if sequence.is_ours else hashlib.sha512()
    for piece in sequence.body(frame, keep=0):
        digest.update(piece)
    return digest.digest()


def _zeros(_: int) -> bytes:
    return merkle.ZEROS


def _discard(_: Octets) -> None:
    return None
