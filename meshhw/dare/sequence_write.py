"""Appending to a sequence: one writer under a lock, each frame whole or not there.

One session, from opening to closing, has one key exchange: its first encrypted frame carries the recipients,
the later ones point to it, so that a reader's token is asked once a session.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from meshhw import files
from meshhw.dare import merkle
from meshhw.dare.background import KEEP, BackgroundDigest
from meshhw.dare.bodies import MadeBody
from meshhw.dare.digests import SHA512, digest_function, digest_name
from meshhw.dare.ending import Ending, ending_of
from meshhw.dare.exchange import Readers
from meshhw.dare.frame import OctetsView, frame, frame_head, record, record_head, span_at
from meshhw.dare.header import ContentMeta, Members, authenticated_octets, parse_header
from meshhw.dare.output import write_all
from meshhw.dare.prepare import Exchange, Outline, Prepared, prepare
from meshhw.dare.running import RunningSession, Sealed
from meshhw.dare.segments import Octets
from meshhw.dare.sequence import Frame, SequenceFile, SequenceKind, frame_at
from meshhw.dare.trees import CURRENT, Tree
from meshhw.errors import FormatError, IntegrityError, StateError, UsageError
from meshhw.jsonbcd import Value, canonical, encode_base64url
from meshhw.jsonbcd.canonical import quickly

_BUFFER = 1 << 20
_LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Creation:
    """What a new sequence shall be."""

    kind: SequenceKind = SequenceKind.MERKLE
    content_type: str = ""
    policy: dict[str, Value] = field(default_factory=dict)
    """Kept in the first frame for whoever appends; it decides nothing on reading."""
    dig: str = SHA512
    """The digest of its bodies, where the kind has one."""
    merkle: Tree = CURRENT
    """How the frames of type Merkle are hashed."""

    @property
    def tree(self) -> Tree | None:
        """The tree, where the kind has one."""
        return self.merkle if self.kind is SequenceKind.MERKLE else None


def create(path: Path, creation: Creation | None = None) -> None:
    """Make the file with its first frame; it is there whole or not at all. Raises StateError if it exists."""
    creation = creation or Creation()
    members = _first_members(creation)
    empty = digest_function(parse_header(members))().digest()
    _, trailer = Ending(creation.kind, creation.tree).after(authenticated_octets(members), empty)
    octets = frame(canonical(members), b"", canonical(trailer))
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb", opener=_private) as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
        files.sync_directory(path.parent)
    except FileExistsError as error:
        raise StateError(f"{path} is there already") from error
    except OSError as error:
        raise StateError(f"{path} cannot be made: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


class SequenceWriter(SequenceFile):
    """A sequence of ours that is appended to. It holds the file's lock from opening to closing."""

    def __init__(
        self,
        path: Path,
        readers: Readers = (),
        *,
        lock_timeout: float = _LOCK_SECONDS,
        keeps_positions: bool = True,
    ) -> None:
        """`readers` are those of this session. A torn tail is cut away: `repaired` tells how many octets.

        Raises StateError when another writer holds the lock, FormatError, IntegrityError for a tail that is
        damaged and not merely torn.
        """
        self._readers = readers
        self._exchange: Exchange | None = None
        self._exchange_index = -1
        self._running: RunningSession | None = None
        self._pending = bytearray()
        self._broken = False
        self._ending: Ending
        self.repaired = 0
        self._gate = _locked(path, lock_timeout)
        try:
            super().__init__(path, flags=os.O_RDWR, keeps_positions=keeps_positions)
            self._prepare_to_append()
        except BaseException:
            self._release()
            raise

    def append(self, payload: bytes, outline: Outline | None = None, *, in_clear: bool = False) -> int:
        """Add a frame and return its index. It reaches the file with `flush`, at the latest with `close`.

        With readers in the session it is encrypted, unless it shall be `in_clear`. Raises StateError when the
        disk refuses, and what signers raise; nothing is added then.
        """
        index, outline = self._next_index(), outline or Outline()
        running = None if in_clear else self.running_session(index)
        if running is not None and running.takes(outline, payload):
            return self.append_sealed(running.seal(index, outline.content, payload))
        prepared = self._prepared(outline, index, in_clear=in_clear)
        body = prepared.small_body(payload)
        ending, trailer = self._after(prepared, self._digest(body).digest())
        return self._append_octets(frame(canonical(prepared.members), body, canonical(trailer)), ending)

    def append_sealed(self, sealed: Sealed) -> int:
        """The same for the next frame of a running session, which was sealed before. Raises as that."""
        index = self._next_index()
        if sealed.number != index:
            raise StateError(f"frame {sealed.number} is not the next one")
        header = sealed.header(self.positions[merkle.previous(index)])
        ending, trailer = self._ending.after_leaf(sealed.leaf, sealed.payload_digest)
        return self._append_octets(frame(header, sealed.body, quickly(trailer) or canonical(trailer)), ending)

    def append_stream(self, source: BinaryIO, length: int, outline: Outline | None = None) -> int:
        """The same for a payload of any size, in constant memory. Raises StateError when `source` does not
        have `length` octets; UsageError with signers, whose signatures would have to be known before."""
        prepared = self._prepared(_unsigned(outline), self._next_index())
        stored = prepared.body_length(length) or 0
        return self._append_large(
            prepared, stored, lambda: self._write_body(prepared.body(source, keep=KEEP), stored)
        )

    def append_made(self, made: MadeBody, outline: Outline | None = None) -> int:
        """The same for a body that was made before, with the seed of this session. Raises as that."""
        prepared = self._prepared(_unsigned(outline), self._next_index(), salt=made.salt)

        def write() -> bytes:
            for piece in made.pieces:
                write_all(self._descriptor, piece)
            return made.digest

        return self._append_large(prepared, sum(map(len, made.pieces)), write)

    def append_frames(self, octets: bytes, expected: merkle.Head | None = None) -> None:
        """Add frames as another copy of this sequence has them, after checking that they continue this one
        and lead to the `expected` head.

        Raises FormatError, IntegrityError: then nothing is added.
        """
        self.flush()
        start, ending = len(self), self._ending
        try:
            self._check_continuation(octets, expected)
        except BaseException:
            self.positions.truncate(start)
            self._ending = ending
            raise
        self._pending = bytearray(octets)
        self.flush()

    def flush(self, *, sync: bool = False) -> None:
        """Write what was appended; with `sync` it also outlasts a loss of power. Raises StateError: the file
        then ends as it did after the last flush, and this writer is done."""
        if self._pending:
            with self._undone_on_error():
                write_all(self._descriptor, self._pending)
            self.end += len(self._pending)
            self._pending = bytearray()
        if sync:
            os.fsync(self._descriptor)
        if not self._broken:
            self.positions.store()

    def begin_session(self) -> bytes:
        """The seed of this session, which begins with the next frame if it has not begun. Raises UsageError
        without readers."""
        exchange = self._session_exchange(len(self))
        if exchange is None:
            raise UsageError("a session without readers has no seed")
        return exchange.seed

    @property
    def is_encrypting(self) -> bool:
        """Whether the session has readers."""
        return bool(self._readers)

    def end_session(self, readers: Readers | None = None) -> None:
        """Begin a new key exchange with the next frame, for other readers if they are given."""
        self._exchange = self._running = None
        if readers is not None:
            self._readers = readers

    def frame(self, index: int) -> Frame:
        """The frame of that index; what was appended is flushed first. Raises as SequenceFile.frame."""
        if self._pending:
            self.flush()
        return super().frame(index)

    def close(self) -> None:
        """Flush, and release the lock."""
        if self._descriptor >= 0:
            try:
                if not self._broken:
                    self.flush()
            finally:
                self._release()

    def running_session(self, index: int) -> RunningSession | None:
        """The session under way, if frame `index` will be one of those whose headers are all alike."""
        if self._exchange is None or index <= self._exchange_index or self.tree is None:
            return None
        if self._running is None:
            exchange = self._exchange.continued()
            self._running = RunningSession(exchange, self._exchange_index, self.tree, self._digest, self.dig)
        return self._running

    def _append_octets(self, octets: bytes, ending: Ending) -> int:
        self.positions.append(self.end + len(self._pending))
        self._pending += octets
        self._ending = ending
        if len(self._pending) >= _BUFFER:
            self.flush()
        return len(self) - 1

    def _append_large(self, prepared: Prepared, stored: int, body: Callable[[], bytes]) -> int:
        """Add a frame whose body of this length `body` writes; it gives the digest."""
        self.flush()
        index = len(self)
        before = record(canonical(prepared.members)) + record_head(stored)
        after = len(record(canonical(self._after(prepared, bytes(self._digest().digest_size))[1])))
        head = frame_head(len(before) + stored + after)
        with self._undone_on_error():
            write_all(self._descriptor, head + before)
            ending, trailer = self._after(prepared, body())
            write_all(self._descriptor, record(canonical(trailer)) + head[::-1])
        self.positions.append(self.end)
        self.end += len(before) + stored + after + 2 * len(head)
        self._ending = ending
        return index

    def _write_body(self, pieces: Iterable[Octets], length: int) -> bytes:
        """Write a body of this length and tell its digest. Raises StateError when it has another."""
        with BackgroundDigest(digest_name(self.first.header)) as digest:
            for piece in digest.through(pieces):
                length -= len(piece)
                if length < 0:
                    break
                write_all(self._descriptor, piece)
            if length:
                raise StateError(
                    "the file changed while it was read", hint="repeat when nothing writes to it"
                )
            return digest.digest()

    def _next_index(self) -> int:
        if self._broken:
            raise StateError("an earlier write failed", hint="make room on the disk and open the file anew")
        return len(self)

    def _prepare_to_append(self) -> None:
        if not os.path.samestat(os.fstat(self._gate), os.fstat(self._descriptor)):
            raise StateError(f"{self.path} was replaced by another writer", hint="repeat")
        if not self.is_ours:
            raise FormatError("only sequences that this program made are appended to")
        if self.torn_at is not None:
            self.repaired = cut_torn_tail(self._descriptor, self.torn_at)
            self.torn_at = None
        os.lseek(self._descriptor, self.end, os.SEEK_SET)
        self._ending = ending_of(self)
        self.dig = self.first.header.dig or SHA512
        self._digest = digest_function(self.first.header)

    def _prepared(
        self, outline: Outline, index: int, *, in_clear: bool = False, salt: bytes = b""
    ) -> Prepared:
        info: dict[str, Value] = {"Index": index}
        if self.kind.has_pointers:
            info["TreePosition"] = self.positions[merkle.previous(index)]
        exchange = None if in_clear else self._session_exchange(index)
        if exchange is not None and not exchange.recipients:
            info["ExchangePosition"] = self._exchange_index
        extra: dict[str, Value] = {**outline.extra, "SequenceInfo": info}
        if self.kind.has_digest:
            extra["dig"] = self.dig
        fitted = Outline(
            (), outline.signers, outline.content, outline.annotations, outline.envelope_id, extra=extra
        )
        return prepare(fitted, exchange, salt=salt)

    def _check_continuation(self, octets: bytes, expected_head: merkle.Head | None) -> None:
        view, at = OctetsView(octets), 0
        while at < len(octets):
            index = len(self)
            span = span_at(view, at, len(octets))
            found = frame_at(view, index, span)
            position, length = span.records[1] if len(span.records) > 1 else (0, 0)
            payload_digest = self._digest(octets[position : position + length]).digest()
            ending, expected = self._ending.after(authenticated_octets(found.members), payload_digest)
            info = found.header.sequence_info
            pointer = self.positions[merkle.previous(index)] if self.kind.has_pointers else None
            fits = found.exact and found.header.dig == self.first.header.dig
            if not fits or info is None or info.index != index or info.tree_position != pointer:
                raise IntegrityError(f"frame {index} as it was sent does not continue this sequence")
            if {name: found.trailer_members.get(name) for name in expected} != expected:
                raise IntegrityError(f"frame {index} as it was sent has the wrong digests")
            self.positions.append(self.end + at)
            self._ending = ending
            at = span.end
        if expected_head not in (None, self._ending.head):
            raise IntegrityError("the frames that were sent do not lead to the head that was promised")

    def _session_exchange(self, index: int) -> Exchange | None:
        if not self._readers:
            return None
        if self._exchange is None:
            self._exchange, self._exchange_index = Exchange.fresh(self._readers), index
            return self._exchange
        return self._exchange if index == self._exchange_index else self._exchange.continued()

    def _after(self, prepared: Prepared, payload_digest: bytes) -> tuple[Ending, Members]:
        """What the sequence ends with after this frame, and the frame's trailer."""
        signed = prepared.trailer(payload_digest) or {}
        authenticated = prepared.authenticated or authenticated_octets(prepared.members)
        ending, digests = self._ending.after(authenticated, payload_digest)
        return ending, signed | digests

    @contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._broken = True
            self._pending = bytearray()
            os.ftruncate(self._descriptor, self.end)
            if isinstance(error, OSError):
                raise StateError(f"{self.path} cannot be written: {error.strerror}") from error
            raise

    def _release(self) -> None:
        super().close()
        os.close(self._gate)


def cut_torn_tail(descriptor: int, position: int) -> int:
    """Remove what an interrupted write left from `position` on, and tell how many octets that was.

    Raises FormatError when the file's last octets close the frame that begins there: then it is not torn, its
    beginning is damaged.
    """
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 9, max(position, size - 9))
    for width in (2, 3, 5, 9):
        head = tail[-width:][::-1]
        length = int.from_bytes(head[1:], "big")
        if head == frame_head(length) and position + length + 2 * width == size:
            raise FormatError("the last frame is damaged, not torn", position=position)
    os.ftruncate(descriptor, position)
    os.fsync(descriptor)
    return size - position


def _first_members(creation: Creation) -> Members:
    members: Members = {
        "SequenceId": encode_base64url(secrets.token_bytes(16)),
        "SequenceInfo": {"DataEncoding": "JSON", "ContainerType": creation.kind.value, "Index": 0},
        "policy": creation.policy,
    }
    if creation.tree is not None:
        members["tree"] = creation.tree.NAME
    if creation.kind.has_digest:
        members["dig"] = creation.dig
    if creation.content_type:
        content = ContentMeta(content_type=creation.content_type)
        members["ContentMetaData"] = encode_base64url(content.octets())
    return members


def _locked(path: Path, timeout: float) -> int:
    gate = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        files.lock(gate, path, timeout)
    except BaseException:
        os.close(gate)
        raise
    return gate


def _unsigned(outline: Outline | None) -> Outline:
    if outline is not None and outline.signers:
        raise UsageError("a streamed frame is not signed itself: sign the sequence's head")
    return outline or Outline()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
