"""Spools: sequences of messages, whose state is what completion messages say (DARE section 3.6).

A message that arrived is stored as it came, whole; its state is open until a completion names it. The newest
completion counts. Closed is the last state: of a message that is closed compaction leaves its name, its state
and what closed it, in a completion without its message, so that nobody brings it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import HEAD_TYPE
from meshhw.dare.policy import EPOCH_TYPE, session_policy
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.errors import FormatError, Replayed
from meshhw.jsonbcd import Value, decode, to_json
from meshhw.udf.message import envelope_id
from meshhw.udf.secret import nonce

CONTENT_TYPE = "application/mmm-spool"
MESSAGE_TYPE = "application/mmm/object"
ENVELOPE_TYPE = "application/mmm/envelope"
COMPLETION = "MessageComplete"
MOST_REFERENCES = 1024
"""Messages that one completion names."""
_OTHERS = frozenset((HEAD_TYPE, EPOCH_TYPE))
"""The content types of frames that are about the sequence."""


class MessageState(StrEnum):
    """What has become of a message; the value is a completion's `Relationship`."""

    OPEN = "Open"
    CLOSED = "Closed"
    READ = "Read"
    UNREAD = "Unread"


class Fate(NamedTuple):
    """What a completion says of a message: its state, and which other message brought it about."""

    state: MessageState
    answered_by: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message in a spool. `payload` is its octets, or the file form of its envelope when `is_envelope`."""

    index: int
    message_id: str
    message_type: str
    state: MessageState
    payload: bytes
    is_envelope: bool
    answered_by: str = ""
    """The `ResponseId` of the completion that gave the state: which message brought it about."""

    @property
    def fate(self) -> Fate:
        """Its state and what brought it about."""
        return Fate(self.state, self.answered_by)


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a spool: its messages, the newest first, and what completions say of those that it has not."""

    messages: list[Message]
    gone: dict[str, Fate]
    """By MessageId; those that were compacted away are closed."""
    completions: int
    """How many frames are completions."""

    def fate(self, message_id: str) -> Fate | None:
        """What has become of that message; None when it never was here."""
        if message_id in self.gone:
            return self.gone[message_id]
        return next((found.fate for found in self.messages if found.message_id == message_id), None)

    def require_new(self, message_id: str) -> None:
        """Raise Replayed for a message that is in the spool, or was."""
        if self.fate(message_id) is not None:
            raise Replayed("a message of this name has arrived before")


def create_spool(path: Path, readers: Sequence[RecipientKey] = ()) -> None:
    """Make an empty spool. Raises StateError when it is there."""
    create(path, Creation(content_type=CONTENT_TYPE, policy=session_policy(readers)))


def append_message(
    spool: SequenceWriter, message_id: str, message_type: str, message: bytes | Envelope
) -> int:
    """Store a message, or the envelope that it came in; the frame's index. Raises InvalidName."""
    whole = isinstance(message, Envelope)
    content = ContentMeta(
        unique_id=message_id,
        message_type=message_type,
        content_type=ENVELOPE_TYPE if whole else MESSAGE_TYPE,
        created=datetime.now(UTC).replace(microsecond=0),
    )
    payload = message.octets() if isinstance(message, Envelope) else message
    return spool.append(payload, Outline(content=content, envelope_id=envelope_id(message_id)))


def complete(spool: SequenceWriter, states: Mapping[str, MessageState], answered_by: str = "") -> int:
    """Say what has become of messages, and by which other message; the frame's index. Raises InvalidName."""
    return _complete(spool, [(name, Fate(state, answered_by)) for name, state in states.items()])


def complete_all(spool: SequenceWriter, fates: Mapping[str, Fate]) -> None:
    """The same of any number of messages, each with its own cause. Raises InvalidName."""
    said = list(fates.items())
    for start in range(0, len(said), MOST_REFERENCES):
        _complete(spool, said[start : start + MOST_REFERENCES])


def messages(reader: SequenceReader, *, since: int = 1) -> Iterator[Message]:
    """The messages from the newest down to frame `since`, completions themselves left out.

    Raises what opening a frame raises; FormatError for a completion that says nothing.
    """
    return _walk(reader, since, {}, [])


def contents(reader: SequenceReader) -> Contents:
    """All messages with what has become of each, wherever in the spool that is said. Raises as `messages`."""
    fates: dict[str, Fate] = {}
    completions: list[int] = []
    found = list(_walk(reader, 1, fates, completions))
    here = [_with(fates, one) for one in found]
    names = {one.message_id for one in here}
    gone = {name: fate for name, fate in fates.items() if name not in names}
    return Contents(here, gone, len(completions))


def _walk(
    reader: SequenceReader, since: int, fates: dict[str, Fate], completions: list[int]
) -> Iterator[Message]:
    """As `messages`; what completions said so far is added to `fates`, and where they are."""
    for index in range(len(reader.sequence) - 1, max(since, 1) - 1, -1):
        opened = reader.open(index)
        message_id, message_type = opened.content.unique_id, opened.content.message_type
        if message_id is None and opened.content.content_type in _OTHERS:
            continue
        if message_id is None or message_type is None:
            raise FormatError(f"frame {index} holds no message")
        if message_type == COMPLETION:
            completions.append(index)
            for name, said in _said(opened.payload).items():
                fates.setdefault(name, said)
            continue
        state, cause = fates.get(message_id, Fate(MessageState.OPEN))
        whole = opened.content.content_type == ENVELOPE_TYPE
        yield Message(index, message_id, message_type, state, opened.payload, whole, cause)


def _with(fates: Mapping[str, Fate], message: Message) -> Message:
    """The message with what is said of it, before it or after."""
    fate = fates.get(message.message_id, message.fate)
    return replace(message, state=fate.state, answered_by=fate.answered_by)


def _complete(spool: SequenceWriter, fates: Sequence[tuple[str, Fate]]) -> int:
    references: list[Value] = [
        {"MessageId": name, "EnvelopeId": envelope_id(name), "Relationship": fate.state.value}
        | ({"ResponseId": fate.answered_by} if fate.answered_by else {})
        for name, fate in fates
    ]
    message_id = nonce().text
    body: Value = {COMPLETION: {"MessageId": message_id, "References": references}}
    return append_message(spool, message_id, COMPLETION, to_json(body))


def _said(payload: bytes) -> dict[str, Fate]:
    value = decode(payload, lenient=True)
    members = value.get(COMPLETION) if isinstance(value, Mapping) else None
    references = members.get("References") if isinstance(members, Mapping) else None
    if not isinstance(references, list):
        raise FormatError("a completion message names no messages")
    found: dict[str, Fate] = {}
    for reference in references:
        name = reference.get("MessageId") if isinstance(reference, Mapping) else None
        state = reference.get("Relationship") if isinstance(reference, Mapping) else None
        cause = reference.get("ResponseId") if isinstance(reference, Mapping) else None
        if isinstance(name, str) and state in tuple(MessageState):
            found[name] = Fate(MessageState(str(state)), cause if isinstance(cause, str) else "")
    return found
