"""Catalogs: sequences of New, Update and Delete events of entries with a primary key (DARE section 3.6).

The state is what replaying the events in order gives; the last event of a key counts.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from meshhw.dare.exchange import KeyFinder, RecipientKey
from meshhw.dare.header import ContentMeta, KeyValue, Members
from meshhw.dare.heads import SequenceProof
from meshhw.dare.kdf import hkdf_sha512
from meshhw.dare.key_index import KeyIndex, Place
from meshhw.dare.links import beginning, continue_from
from meshhw.dare.policy import (
    EPOCH_TYPE,
    begin_epoch,
    current_readers,
    epoch_frames,
    policy_of,
    readers_of,
    session_policy,
)
from meshhw.dare.prepare import Cipher, Outline
from meshhw.dare.read import cipher_of
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, KeyNotFound, UsageError
from meshhw.jsonbcd import encode_base64url

CONTENT_TYPE = "application/mmm-catalog"
NEW, UPDATE, DELETE = "New", "Update", "Delete"
DIGESTS = "ObjectDigests"
_INDEX_INFO = b"meshhw/catalog-index/1"
_INDEX_BATCH = 1 << 14
Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """An entry: its primary key, its octets, its attributes, the frame that holds it. One that was deleted
    is not `live` and has no octets."""

    key: str
    payload: bytes
    key_values: tuple[KeyValue, ...]
    index: int
    live: bool = True


def create_catalog(path: Path, readers: Sequence[RecipientKey] = ()) -> None:
    """Make an empty catalog. Raises StateError when it is there."""
    create(path, Creation(content_type=CONTENT_TYPE, policy=session_policy(readers)))


class Catalog:
    """A catalog that is read and, when `writable`, written. Its index is brought up to date on opening."""

    def __init__(
        self,
        path: Path,
        finder: KeyFinder | None = None,
        *,
        writable: bool = True,
        readers: Sequence[RecipientKey] = (),
    ) -> None:
        """`readers`: whom this session's entries are for; without them those that the file names.

        Raises FormatError, KeyNotFound when the entries' names cannot be decrypted, StateError when another
        writer holds the catalog.
        """
        self._sequence = self._opened(path, readers) if writable else SequenceFile(path)
        try:
            self._reader = SequenceReader(self._sequence, finder)
            secret = self._index_secret()
            self._index = KeyIndex(path, self._sequence.sequence_id, secret, self._head_at)
            self._catch_up()
        except BaseException:
            self._sequence.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sequence(self) -> SequenceFile:
        """The sequence beneath."""
        return self._sequence

    def get(self, key: str) -> CatalogEntry:
        """The live entry of that key. Raises KeyNotFound."""
        found = self._live(key)
        if found is not None and found.key != key:  # the index is of another copy of the file
            self._index.clear()
            self._catch_up()
            found = self._live(key)
        if found is None:
            raise KeyNotFound(f"the catalog has no entry {key!r}", hint="list its entries")
        return found

    def entries(self) -> Iterator[CatalogEntry]:
        """All live entries in the order of their last change."""
        for index in self._indexed(lambda: list(self._index.live())):
            yield self._entry(index)

    def latest(self, key: str) -> CatalogEntry | None:
        """The last event of that key, a deletion too; None for a key that never was."""
        place = self._place(key)
        return self._entry(place.last) if place is not None else None

    def events(self, start: int = 1) -> Iterator[CatalogEntry]:
        """The last event of every key, deletions too, in order; those from frame `start` on."""
        for index in self._indexed(lambda: list(self._index.all(start))):
            yield self._entry(index)

    def put(
        self,
        key: str,
        payload: bytes,
        key_values: Sequence[KeyValue] = (),
        *,
        digests: Sequence[bytes] = (),
    ) -> int:
        """Add or replace an entry; the frame's index. `digests` of objects in the entry stand in the frame's
        header in clear, so that a proof of the frame proves them too, to who cannot read the entry.

        Raises UsageError without a key, or opened to read.
        """
        place = self._place(key)
        event = UPDATE if place is not None and place.live else NEW
        extra: Members = {DIGESTS: [encode_base64url(digest) for digest in digests]} if digests else {}
        return self._append(key, payload, event, tuple(key_values), extra)

    def delete(self, key: str, key_values: Sequence[KeyValue] = ()) -> int:
        """Delete an entry; the frame's index. Raises KeyNotFound."""
        self.get(key)
        return self.bury(key, key_values)

    def bury(self, key: str, key_values: Sequence[KeyValue] = ()) -> int:
        """Say that a key is deleted, also one that was not there; the frame's index."""
        return self._append(key, b"", DELETE, tuple(key_values))

    def begin_epoch(self, readers: Sequence[RecipientKey], statement: bytes) -> int:
        """From here on entries are for other readers (`policy.begin_epoch`); the frame's index."""
        index = begin_epoch(self._writer, readers, statement)
        self._index.epoch, self._index.frames = index, index + 1
        return index

    def flush(self, *, sync: bool = False) -> None:
        """Write what was changed, and its index."""
        self._writer.flush(sync=sync)
        self._index.flush()

    def close(self) -> None:
        """Flush and close."""
        try:
            if isinstance(self._sequence, SequenceWriter):
                self._sequence.flush()
            self._index.flush()
        finally:
            self._sequence.close()
            self._index.close()

    def superseded(self) -> int:
        """How many frames hold events that no longer count: what `compact` would leave out."""
        kept = sum(1 for _ in self._lasting())
        epochs = sum(1 for _ in epoch_frames(self._sequence))
        return len(self._sequence) - 1 - beginning(self._sequence) - epochs - kept

    def compact(
        self, target: Path, signers: Sequence[Signer] = (), proofs: Sequence[SequenceProof] = ()
    ) -> None:
        """Write the last event of every key into a new catalog: live entries, and deletions that have
        attributes; before them its epochs, whose statements hold what others know of its keys. It begins with
        the old one's head, signed: who trusts the signer knows what the new catalog stands for; and with the
        `proofs` that shall outlast the old one. Raises StateError when `target` exists."""
        create_catalog(target, readers_of(self._sequence))
        with SequenceWriter(target, self.current_readers()) as writer:
            continue_from(writer, self._sequence, signers, proofs)
            for frame in reversed(list(epoch_frames(self._sequence))):
                begin_epoch(writer, policy_of(frame), b"".join(self._sequence.body(frame)))
            for entry in self._lasting():
                event = NEW if entry.live else DELETE
                meta = ContentMeta(unique_id=entry.key, event=event, key_values=entry.key_values)
                writer.append(entry.payload, Outline(content=meta, extra=self._digests(entry.index)))
            writer.flush(sync=True)

    def current_readers(self) -> list[RecipientKey]:
        """The keys that the newest epoch of the file is encrypted to. Raises FormatError."""
        return policy_of(self._sequence.frame(self._index.epoch))

    def _lasting(self) -> Iterator[CatalogEntry]:
        """The last events that a compacted catalog holds."""
        return (entry for entry in self.events() if entry.live or entry.key_values)

    def _digests(self, index: int) -> Members:
        """The digests that stand in a frame's header in clear, as `put` takes them."""
        members = self._sequence.frame(index).members
        return {DIGESTS: members[DIGESTS]} if DIGESTS in members else {}

    @property
    def _writer(self) -> SequenceWriter:
        if not isinstance(self._sequence, SequenceWriter):
            raise UsageError("the catalog was opened for reading")
        return self._sequence

    def _append(
        self,
        key: str,
        payload: bytes,
        event: str,
        key_values: tuple[KeyValue, ...],
        extra: Members | None = None,
    ) -> int:
        if not key:
            raise UsageError("an entry has a key")
        place = self._place(key)
        content = ContentMeta(
            unique_id=key,
            event=event,
            key_values=key_values,
            first=place.first if place and event != NEW else None,
            previous=place.last if place and event != NEW else None,
        )
        index = self._writer.append(payload, Outline(content=content, extra=extra or {}))
        self._index.put(key, index, live=event != DELETE)
        return index

    def _live(self, key: str) -> CatalogEntry | None:
        place = self._place(key)
        return self._entry(place.last) if place is not None and place.live else None

    def _place(self, key: str) -> Place | None:
        return self._indexed(lambda: self._index.get(key))

    def _indexed(self, ask: Callable[[], Told]) -> Told:
        """What the index tells; one that is damaged is made anew."""
        try:
            return ask()
        except sqlite3.OperationalError:  # it is locked, or the disk is full
            raise
        except sqlite3.DatabaseError:
            self._index.renew()
            self._catch_up()
            return ask()

    def _entry(self, index: int) -> CatalogEntry:
        opened = self._reader.open(index)
        if opened.content.unique_id is None:
            raise FormatError(f"frame {index} is no entry")
        content = opened.content
        live = content.event != DELETE
        return CatalogEntry(opened.content.unique_id, opened.payload, content.key_values, index, live)

    def _catch_up(self) -> None:
        """Read the frames that the index does not know, all of them when it knows more than there are."""
        if self._index.frames > len(self._sequence):
            self._index.clear()
        for frame in self._sequence.frames(max(self._index.frames, 1)):
            content = self._reader.content(frame)
            if content.unique_id is not None:
                self._index.put(content.unique_id, frame.index, live=content.event != DELETE)
            elif content.content_type == EPOCH_TYPE:
                self._index.epoch = frame.index
            if frame.index % _INDEX_BATCH == 0:
                self._index.flush()
        self._index.frames = len(self._sequence)

    def _head_at(self, index: int) -> bytes | None:
        """The digest over the frames up to this one, where it can be read."""
        with suppress(IntegrityError, IndexError):
            return self._sequence.frame(index).trailer.tree_digest
        return None

    def _index_secret(self) -> bytes:
        """From the first session's seed; before its first encrypted frame are links and epochs in clear."""
        if not readers_of(self._sequence):
            return self._sequence.sequence_id.ljust(32, b"\0")
        for frame in self._sequence.frames(1):
            if cipher_of(frame.header) is not Cipher.NONE:
                return hkdf_sha512(self._reader.heading(frame).seed, _INDEX_INFO, 32)
        fresh = isinstance(self._sequence, SequenceWriter)  # a reader finds nothing to index yet
        seed = self._writer.begin_session() if fresh else secrets.token_bytes(32)
        return hkdf_sha512(seed, _INDEX_INFO, 32)

    @staticmethod
    def _opened(path: Path, readers: Sequence[RecipientKey]) -> SequenceWriter:
        if readers:
            return SequenceWriter(path, readers)
        with SequenceFile(path) as existing:
            return SequenceWriter(path, current_readers(existing))
