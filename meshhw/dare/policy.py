"""Who the frames of a sequence are for: kept in its first frame, so that whoever appends need not know.

Readers change with an epoch: a frame in clear whose policy holds from there on. Frames before it stay as they
are, for who holds the older key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshhw.dare.exchange import RecipientKey
from meshhw.dare.header import ContentMeta, spelled
from meshhw.dare.keys import public_from_jose, public_to_jose
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import Frame, SequenceFile
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.errors import FormatError
from meshhw.jsonbcd import Value

EPOCH_TYPE = "application/mmm/sequence-epoch"
"""The content type of a frame with which a new epoch begins."""


def session_policy(readers: Sequence[RecipientKey]) -> dict[str, Value]:
    """The policy of a sequence that is encrypted to these keys, once a session; empty for none."""
    if not readers:
        return {}
    return {
        "Encryption": "Session",
        "EncryptKeys": [spelled(public_to_jose(reader.public)) for reader in readers],
    }


def readers_of(sequence: SequenceFile) -> list[RecipientKey]:
    """The keys that a sequence of ours was encrypted to at first. Raises FormatError."""
    if not sequence.is_ours:
        raise FormatError("only sequences that this program made are appended to")
    return policy_of(sequence.first)


def policy_of(frame: Frame) -> list[RecipientKey]:
    """The keys in the policy of a first frame, or of one that begins an epoch. Raises FormatError."""
    keys = (frame.header.policy or {}).get("EncryptKeys", [])
    if not isinstance(keys, list):
        raise FormatError("the sequence's policy is damaged")
    return [RecipientKey(public_from_jose(key)) for key in keys]


def begin_epoch(writer: SequenceWriter, readers: Sequence[RecipientKey], statement: bytes) -> int:
    """Append the frame from which on a sequence is encrypted to other keys, and end the session; the frame's
    index. `statement` says who wants that. Raises as SequenceWriter.append."""
    content = ContentMeta(content_type=EPOCH_TYPE)
    outline = Outline(content=content, extra={"policy": session_policy(readers)})
    index = writer.append(statement, outline, in_clear=True)
    writer.flush(sync=True)
    writer.end_session(readers)
    return index


def epoch_frames(sequence: SequenceFile) -> Iterator[Frame]:
    """The frames with which epochs begin, newest first, found without any key."""
    for frame in sequence.backwards():
        if frame.header.policy and frame.index:
            yield frame


def current_readers(sequence: SequenceFile) -> list[RecipientKey]:
    """The keys that what is appended now is encrypted to. Raises FormatError."""
    first = readers_of(sequence)
    newest = next(epoch_frames(sequence), None)
    return first if newest is None else policy_of(newest)
