"""Spools: sequences of messages, whose state is what later completion messages say (DARE section 3.6).

A message that arrived is stored as it came, whole; its state is open until a completion names it. The newest
completion counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import HEAD_TYPE, head_of, sign_head
from meshhw.dare.policy import readers_of, session_policy
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError
from meshhw.jsonbcd import Value, decode, to_json
from meshhw.udf.message import envelope_id
from meshhw.udf.secret import nonce

CONTENT_TYPE = "application/mmm-spool"
MESSAGE_TYPE = "application/mmm/object"
ENVELOPE_TYPE = "application/mmm/envelope"
COMPLETION = "MessageComplete"


class MessageState(StrEnum):
    """What has become of a message; the value is a completion's `Relationship`."""

    OPEN = "Open"
    CLOSED = "Closed"
    READ = "Read"
    UNREAD = "Unread"


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
    cause: dict[str, Value] = {"ResponseId": answered_by} if answered_by else {}
    references: list[Value] = [
        {"MessageId": name, "EnvelopeId": envelope_id(name), "Relationship": state.value} | cause
        for name, state in states.items()
    ]
    message_id = nonce().text
    body: Value = {COMPLETION: {"MessageId": message_id, "References": references}}
    return append_message(spool, message_id, COMPLETION, to_json(body))


def messages(reader: SequenceReader, *, since: int = 1) -> Iterator[Message]:
    """The messages from the newest down to frame `since`, completions themselves left out.

    Raises what opening a frame raises; FormatError for a completion that says nothing.
    """
    states: dict[str, tuple[MessageState, str]] = {}
    for index in range(len(reader.sequence) - 1, max(since, 1) - 1, -1):
        opened = reader.open(index)
        if index == 1 and opened.content.content_type == HEAD_TYPE:  # the link of a compacted spool
            return
        message_id, message_type = opened.content.unique_id, opened.content.message_type
        if message_id is None or message_type is None:
            raise FormatError(f"frame {index} holds no message")
        if message_type == COMPLETION:
            states = _completions(opened.payload) | states
            continue
        state, cause = states.get(message_id, (MessageState.OPEN, ""))
        whole = opened.content.content_type == ENVELOPE_TYPE
        yield Message(index, message_id, message_type, state, opened.payload, whole, cause)


def compact_spool(reader: SequenceReader, target: Path, signers: Sequence[Signer] = ()) -> None:
    """Write the messages that are not closed, and their states, into a new spool for the same readers. Its
    first frame is the old one's head, signed, as in a compacted catalog. Raises StateError when `target`
    exists, and as `messages`."""
    readers = readers_of(reader.sequence)
    kept = [found for found in messages(reader) if found.state is not MessageState.CLOSED][::-1]
    create_spool(target, readers)
    with SequenceWriter(target, readers) as writer:
        link = sign_head(head_of(reader.sequence), signers)
        writer.append(link.octets(), Outline(content=ContentMeta(content_type=HEAD_TYPE)), in_clear=True)
        for found in kept:
            content = reader.content(reader.sequence.frame(found.index))
            writer.append(found.payload, Outline(content=content, envelope_id=envelope_id(found.message_id)))
        for cause in sorted({found.answered_by for found in kept}):
            states = {f.message_id: f.state for f in kept if f.answered_by == cause}
            states = {
                name: state for name, state in states.items() if state is not MessageState.OPEN or cause
            }
            if states:
                complete(writer, states, cause)
        writer.flush(sync=True)


def _completions(payload: bytes) -> dict[str, tuple[MessageState, str]]:
    value = decode(payload, lenient=True)
    members = value.get(COMPLETION) if isinstance(value, Mapping) else None
    references = members.get("References") if isinstance(members, Mapping) else None
    if not isinstance(references, list):
        raise FormatError("a completion message names no messages")
    found: dict[str, tuple[MessageState, str]] = {}
    for reference in references:
        name = reference.get("MessageId") if isinstance(reference, Mapping) else None
        state = reference.get("Relationship") if isinstance(reference, Mapping) else None
        cause = reference.get("ResponseId") if isinstance(reference, Mapping) else None
        if isinstance(name, str) and state in tuple(MessageState):
            found[name] = MessageState(str(state)), cause if isinstance(cause, str) else ""
    return found
