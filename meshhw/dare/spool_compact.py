"""Writing a spool anew: open messages whole, of closed ones what keeps them from coming back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from meshhw.dare.exchange import RecipientKey
from meshhw.dare.links import continue_from
from meshhw.dare.policy import begin_epoch, current_readers, epoch_frames, policy_of, readers_of
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.signing import Signer
from meshhw.dare.spool import (
    MOST_REFERENCES,
    Contents,
    Fate,
    Message,
    MessageState,
    complete_all,
    contents,
    create_spool,
)
from meshhw.udf.message import envelope_id

Keep = Callable[[str], bool]
"""Whether a message of that MessageId stays whole though it is closed."""
_OPEN = Fate(MessageState.OPEN)


def _none(_: str) -> bool:
    return False


def compact_spool(
    reader: SequenceReader,
    target: Path,
    signers: Sequence[Signer] = (),
    *,
    readers: Sequence[RecipientKey] = (),
    keep: Keep = _none,
) -> None:
    """Write a new spool with the messages that are not closed, those that `keep` says, and what has
    become of every message. It begins with the old one's head, signed, and with its epochs, as a compacted
    catalog does. `readers` are whom it is encrypted to now; without them those of the newest epoch.

    Raises StateError when `target` exists, and as `messages`.
    """
    old = reader.sequence
    found = contents(reader)
    create_spool(target, readers_of(old))
    with SequenceWriter(target, list(readers) or current_readers(old)) as writer:
        continue_from(writer, old, signers)
        for frame in reversed(list(epoch_frames(old))):
            begin_epoch(writer, policy_of(frame), b"".join(old.body(frame)))
        if readers:
            writer.end_session(readers)
        for message in reversed(_kept(found, keep)):
            content = reader.content(old.frame(message.index))
            outline = Outline(content=content, envelope_id=envelope_id(message.message_id))
            writer.append(message.payload, outline)
        complete_all(writer, _fates(found))
        writer.flush(sync=True)


def superseded(reader: SequenceReader, keep: Keep = _none) -> int:
    """How many frames `compact_spool` would do without. Raises as `messages`."""
    found = contents(reader)
    completions = -(-len(_fates(found)) // MOST_REFERENCES)
    return len(found.messages) - len(_kept(found, keep)) + found.completions - completions


def _kept(found: Contents, keep: Keep) -> list[Message]:
    return [one for one in found.messages if one.state is not MessageState.CLOSED or keep(one.message_id)]


def _fates(found: Contents) -> dict[str, Fate]:
    """What completions have to say: that a message is open they need not."""
    held = {one.message_id: one.fate for one in reversed(found.messages)}
    return found.gone | {name: fate for name, fate in held.items() if fate != _OPEN}
