"""Taking over the messages that another device has in a spool, and what has become of them.

Messages are never changed, so all devices come to have all of them. A state is said by completions, and the
one that says most counts, wherever it was said: a PIN that was used on one administrator's device is used on
all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meshhw import files
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyFinder, KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.spool import Message, MessageState, append_message, complete, create_spool, messages
from meshhw.managers.sync.merging import Tally

SPOOLS = frozenset({"MMM_Inbound", "MMM_Outbound", "MMM_Local", "MMM_Archive"})
_SAYS = (MessageState.OPEN, MessageState.UNREAD, MessageState.READ, MessageState.CLOSED)


def merge_spool(ours: Path, theirs: Path, ring: Sequence[LocalKey]) -> Tally:
    """Merge the messages of the copy at `theirs` into the spool at `ours`, which is made when it is not
    there; the first key is written to. In conflict are messages that were used on two devices at once.

    Raises DecryptionFailed, KeyNotFound, FormatError for a copy that does not open.
    """
    tally, finder, readers = Tally(), KeyRing(ring), [RecipientKey(ring[0].public)]
    offered = _messages(theirs, finder)
    if not ours.exists():
        files.private_directory(ours.parent)
        create_spool(ours, readers)
    held = {found.message_id: found for found in _messages(ours, finder)}
    with SequenceWriter(ours, readers) as spool:
        for message in reversed(offered):
            before = held.get(message.message_id)
            if before is None:
                whole = Envelope.parse(message.payload) if message.is_envelope else message.payload
                append_message(spool, message.message_id, message.message_type, whole)
                tally.taken += 1
            elif _used_twice(before, message):
                tally.conflicts.append(message.message_id)
            if _says_more(message, before):
                complete(spool, {message.message_id: message.state}, message.answered_by)
        spool.flush(sync=True)
    return tally


def _messages(path: Path, finder: KeyFinder) -> list[Message]:
    """Newest first."""
    with SequenceFile(path) as sequence:
        return list(messages(SequenceReader(sequence, finder)))


def _says_more(message: Message, before: Message | None) -> bool:
    """Whether that state takes the place of the one before; of two causes for it one, the same everywhere."""
    if before is None:
        return message.state is not MessageState.OPEN
    if message.state is before.state:
        known = before.answered_by
        return bool(message.answered_by) and (not known or message.answered_by < known)
    return _SAYS.index(message.state) > _SAYS.index(before.state)


def _used_twice(one: Message, other: Message) -> bool:
    """Whether two devices, which did not know of each other, have each answered another message by it."""
    return "" not in (one.answered_by, other.answered_by) and one.answered_by != other.answered_by
