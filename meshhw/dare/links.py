"""What a compacted store begins with: the signed heads of the sequences that it continues, and proofs.

A link is the head of an older sequence, signed by who wrote this one. The newest is frame 1; those that the
older sequence had itself follow it, so that a copy of before several compactions is led here, too. Then come
the proofs that still matter of frames which the new sequence has no more, or at another place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from meshhw.dare.envelope import Envelope
from meshhw.dare.header import ContentMeta, parse_content_meta
from meshhw.dare.heads import HEAD_TYPE, SequenceProof, claimed_head, head_of, sign_head
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import Frame, SequenceFile
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.signing import Signer

PROOF_TYPE = "application/mmm/sequence-proof"
"""The content type of a frame that holds a proof under the head of an older sequence."""
MOST_LINKS = 64
"""Of a store that is compacted once a month, five years."""


def continue_from(
    writer: SequenceWriter,
    old: SequenceFile,
    signers: Sequence[Signer],
    proofs: Sequence[SequenceProof] = (),
) -> None:
    """Begin a sequence that takes the place of `old`: with that one's head, signed once, and the links that
    are in it. Raises what the keys raise."""
    newest = sign_head(head_of(old), signers)
    for link in islice(chain([newest], links(old)), MOST_LINKS):
        writer.append(link.octets(), Outline(content=ContentMeta(content_type=HEAD_TYPE)), in_clear=True)
    for proof in proofs:
        writer.append(proof.octets(), Outline(content=ContentMeta(content_type=PROOF_TYPE)), in_clear=True)


def links(sequence: SequenceFile) -> list[Envelope]:
    """The signed heads of the sequences that this one continues, the newest first; their signatures are not
    looked at. Raises FormatError."""
    return [envelope for _, envelope in _links(sequence)]


def linked_head(sequence: SequenceFile) -> Envelope | None:
    """The signed head of the sequence that this one continues, if it does."""
    return next((envelope for _, envelope in _links(sequence)), None)


def link_to(sequence: SequenceFile, older: bytes) -> tuple[int, Envelope] | None:
    """The frame with the signed head of the older sequence of this SequenceId, and that head."""
    found = ((index, link) for index, link in _links(sequence) if claimed_head(link).sequence_id == older)
    return next(found, None)


def proofs_in(sequence: SequenceFile) -> list[SequenceProof]:
    """The proofs under heads of older sequences, not checked. Raises FormatError."""
    frames = _preamble(sequence)
    return [SequenceProof.parse(_body(sequence, frame)) for frame in frames if _type(frame) == PROOF_TYPE]


def beginning(sequence: SequenceFile) -> int:
    """How many frames after the first are links and proofs."""
    return sum(1 for _ in _preamble(sequence))


def _links(sequence: SequenceFile) -> Iterator[tuple[int, Envelope]]:
    for frame in _preamble(sequence):
        if _type(frame) == HEAD_TYPE:
            yield frame.index, Envelope.parse(_body(sequence, frame))


def _preamble(sequence: SequenceFile) -> Iterator[Frame]:
    """The links and proofs: frames in clear, up to the first that is another's. A head of this very sequence
    seals it, and is no link."""
    for frame in sequence.frames(1):
        kind = _type(frame)
        if kind not in (HEAD_TYPE, PROOF_TYPE):
            return
        if kind == HEAD_TYPE:
            said = claimed_head(Envelope.parse(_body(sequence, frame)))
            if said.sequence_id == sequence.sequence_id:
                return
        yield frame


def _type(frame: Frame) -> str | None:
    return parse_content_meta(frame.header.content_meta).content_type


def _body(sequence: SequenceFile, frame: Frame) -> bytes:
    return b"".join(sequence.body(frame))
