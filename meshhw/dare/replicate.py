"""Keeping copies of a sequence alike: what is new since an index, and whether two copies agree.

A copy holds the same octets as the original, so every position, pointer and digest is the same in both. A
sequence that was compacted is another one: who has a copy of the old one takes it by its signed link.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.frame import read_fully
from meshhw.dare.heads import SequenceHead, check_extension, head_of, verify_head
from meshhw.dare.links import link_to
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.errors import FormatError, IntegrityError

LARGEST = 16 << 20


class Relation(StrEnum):
    """How a local copy stands to another one."""

    SAME = "same"
    AHEAD = "ahead"
    BEHIND = "behind"
    DIVERGED = "diverged"


def frames_since(sequence: SequenceFile, start: int, stop: int | None = None) -> bytes:
    """The octets of the frames from `start` to before `stop`, at most 16 MiB of them but at least one frame;
    nothing when there is none. Raises FormatError."""
    stop = len(sequence) if stop is None else min(stop, len(sequence))
    if not 0 <= start < stop:
        return b""
    end = start + 1
    while end < stop and _end(sequence, end) - sequence.positions[start] <= LARGEST:
        end += 1
    first = sequence.positions[start]
    with sequence.path.open("rb") as file:
        return read_fully(file.fileno(), first, _end(sequence, end - 1) - first)


def relate(local: SequenceFile, other: SequenceHead, proof: Sequence[bytes] = ()) -> Relation:
    """How the local copy stands to another's head. To be `BEHIND` takes the other side's consistency proof
    from the local head (`heads.prove_extension`); without a right one the copies have diverged.

    Raises FormatError for another sequence.
    """
    mine = head_of(local)
    if mine.sequence_id != other.sequence_id:
        raise FormatError("these are two different sequences")
    if other.head.index < mine.head.index:
        same = local.frame(other.head.index).tree_digest == other.head.digest
        return Relation.AHEAD if same else Relation.DIVERGED
    if other.head.index == mine.head.index:
        return Relation.SAME if other == mine else Relation.DIVERGED
    try:
        check_extension(local, mine.head, other.head, proof)
    except IntegrityError:
        return Relation.DIVERGED
    return Relation.BEHIND


def accept_frames(local: Path, octets: bytes, expected: SequenceHead | None = None) -> int:
    """Add frames that another copy sent, after checking that they continue this one; how many there are now.

    `expected` is the head that they must lead to. Raises IntegrityError, FormatError: then nothing is added.
    """
    with SequenceWriter(local) as writer:
        if expected is not None and expected.sequence_id != writer.sequence_id:
            raise IntegrityError("the head that was promised is of another sequence")
        writer.append_frames(octets, expected.head if expected else None)
        return len(writer)


def check_successor(
    successor: SequenceFile,
    signed: Envelope,
    seen: SequenceHead,
    trusted: Sequence[PublicKey],
    proof: Sequence[bytes] | None = None,
) -> SequenceHead:
    """Check that a sequence takes the place of the one whose head was `seen`, in one compaction or several;
    its own head, as far as it is `signed`.

    Both signatures are by keys that are `trusted`: that of the new head, which covers the link, and that of
    the link to the old sequence. What was written there between the head that was seen and the linked one
    is as its signer says; who still has the old sequence shows it with a `proof` (`heads.prove_extension`).

    Raises SignatureInvalid for another signer, IntegrityError for a sequence that does not continue what was
    seen, or was compacted without its last frames, FormatError.
    """
    head = verify_head(signed, trusted)
    if head.sequence_id != successor.sequence_id or head.head.index >= len(successor):
        raise IntegrityError("the signed head is of another sequence, or of more than there is of it")
    check_sequence(successor)
    if successor.frame(head.head.index).tree_digest != head.head.digest:
        raise IntegrityError("the sequence is not the one that was signed")
    found = link_to(successor, seen.sequence_id)
    if found is None or found[0] > head.head.index:
        raise IntegrityError("the sequence does not say that it continues the one that was seen")
    linked = verify_head(found[1], trusted).head
    if linked.index < seen.head.index:
        raise IntegrityError(
            f"the sequence was compacted at frame {linked.index}; frame {seen.head.index} was seen",
            hint="get what is missing from the older copy, and have it compacted again",
        )
    if linked.index == seen.head.index:
        proof = ()
    if proof is not None:
        check_extension(successor, seen.head, linked, proof)
    return head


def _end(sequence: SequenceFile, index: int) -> int:
    return sequence.positions[index + 1] if index + 1 < len(sequence) else sequence.end
