"""Taking over the messages that another device has in a spool, and what has become of them.

Messages are never changed, so all devices come to have all of them. A state is said by completions, and the
one that says most counts, wherever it was said: a PIN that was used on one administrator's device is used on
all. Of a message that was compacted away its state alone is left, and that is taken over like any other: it
closes the message where it is still whole, and keeps it from being taken where it is not.
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
from meshhw.dare.spool import (
    Contents,
    Fate,
    MessageState,
    append_message,
    complete_all,
    contents,
    create_spool,
)
from meshhw.managers.sync.merging import Tally

SPOOLS = frozenset({"MMM_Inbound", "MMM_Outbound", "MMM_Local", "MMM_Archive"})
_SAYS = (MessageState.OPEN, MessageState.UNREAD, MessageState.READ, MessageState.CLOSED)


def merge_spool(ours: Path, theirs: Path, ring: Sequence[LocalKey]) -> Tally:
    """Merge the messages of the copy at `theirs` into the spool at `ours`, which is made when it is not
    there; the first key is written to. In conflict are messages that were used on two devices at once.

    Raises DecryptionFailed, KeyNotFound, FormatError for a copy that does not open.
    """
    tally, finder, readers = Tally(), KeyRing(ring), [RecipientKey(ring[0].public)]
    offered = _contents(theirs, finder)
    if not ours.exists():
        files.private_directory(ours.parent)
        create_spool(ours, readers)
    with SequenceWriter(ours, readers) as spool:
        held = contents(SequenceReader(spool, finder))
        here = {one.message_id for one in held.messages}
        for message in reversed(offered.messages):
            if message.message_id not in here and not _was_closed(held, message.message_id):
                whole = Envelope.parse(message.payload) if message.is_envelope else message.payload
                append_message(spool, message.message_id, message.message_type, whole)
                tally.taken += 1
        before, said = _fates(held), _fates(offered)
        tally.conflicts += (name for name, fate in said.items() if _used_twice(before.get(name), fate))
        complete_all(spool, {name: fate for name, fate in said.items() if _says_more(fate, before.get(name))})
        spool.flush(sync=True)
    return tally


def _contents(path: Path, finder: KeyFinder) -> Contents:
    with SequenceFile(path) as sequence:
        return contents(SequenceReader(sequence, finder))


def _fates(found: Contents) -> dict[str, Fate]:
    """What has become of each, the oldest message first."""
    return {one.message_id: one.fate for one in reversed(found.messages)} | found.gone


def _was_closed(held: Contents, name: str) -> bool:
    """Whether a message that is not here was closed, and compacted away."""
    gone = held.gone.get(name)
    return gone is not None and gone.state is MessageState.CLOSED


def _says_more(fate: Fate, before: Fate | None) -> bool:
    """Whether that state takes the place of the one before; of two causes for it one, the same everywhere."""
    if before is None:
        return fate.state is not MessageState.OPEN
    if fate.state is before.state:
        known = before.answered_by
        return bool(fate.answered_by) and (not known or fate.answered_by < known)
    return _SAYS.index(fate.state) > _SAYS.index(before.state)


def _used_twice(one: Fate | None, other: Fate) -> bool:
    """Whether two devices, which did not know of each other, have each answered another message by it."""
    if one is None or "" in (one.answered_by, other.answered_by):
        return False
    return one.answered_by != other.answered_by
