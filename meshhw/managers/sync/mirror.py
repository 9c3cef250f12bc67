"""A copy of another device's store: what was verified of it, and what this device remembers of its head.

Frames are taken only as far as a signed head covers them, and only if they continue what is here already.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare import catalog, spool
from meshhw.dare.frame import OctetsView, Torn, span_at
from meshhw.dare.header import parse_content_meta
from meshhw.dare.heads import SequenceHead, head_of
from meshhw.dare.policy import readers_of
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.errors import FormatError, IntegrityError
from meshhw.managers.sync.folder import Folder, read_from

_CONTENT = {".dcat": catalog.CONTENT_TYPE, ".dspl": spool.CONTENT_TYPE}
LARGEST = 256 << 20
"""Octets of one store that are taken at a time."""


class State(StrEnum):
    """How another device's store stands to what is known of it."""

    SAME = "same"
    NEW = "new"
    INCOMPLETE = "incomplete"
    """The directory does not hold yet what the head covers."""
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class Progress:
    """What was found of one store of another device."""

    state: State
    unverified: int = 0
    """Whole frames that no signed head covers."""


class Mirror:
    """The copy of one store of one author."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def advance(
        self, folder: Folder, name: str, head: SequenceHead, readers: Sequence[PublicKey]
    ) -> Progress:
        """Take what leads to this head. `readers` are the keys that the store may be encrypted to.

        Raises IntegrityError for a store that has diverged from what was seen, FormatError.
        """
        if held := self._held(head.sequence_id):
            if head.head.index <= held.head.index:
                return Progress(self._standing(head, held), self._beyond(folder, name))
            start = self._end()
        else:
            start = 0
        with folder.opened(name) as descriptor:
            octets = b"" if descriptor is None else read_from(descriptor, start, LARGEST)
        have = held.head.index + 1 if held else 0
        spans = list(_spans(octets))
        wanted = head.head.index + 1 - have
        if len(spans) < wanted:
            return Progress(State.INCOMPLETE)
        covered = octets[: spans[wanted - 1]]
        if held:
            with SequenceWriter(self.path) as writer:
                writer.append_frames(covered, head.head)
                writer.flush(sync=True)
        else:
            self._begin(covered, spans[0], head, readers)
        return Progress(State.NEW, len(spans) - wanted)

    def forget(self) -> None:
        """Remove the copy."""
        _remove(self.path)

    def _held(self, sequence_id: bytes) -> SequenceHead | None:
        """The head of the copy, if it is of this sequence."""
        if not self.path.exists():
            return None
        with SequenceFile(self.path) as sequence:
            return head_of(sequence) if sequence.sequence_id == sequence_id else None

    def _end(self) -> int:
        with SequenceFile(self.path) as sequence:
            return sequence.end

    def _standing(self, head: SequenceHead, held: SequenceHead) -> State:
        with SequenceFile(self.path) as sequence:
            if sequence.frame(head.head.index).tree_digest != head.head.digest:
                raise IntegrityError("the store has diverged from what was seen of it")
        return State.SAME if head.head.index == held.head.index else State.OLDER

    def _beyond(self, folder: Folder, name: str) -> int:
        with folder.opened(name) as descriptor:
            octets = b"" if descriptor is None else read_from(descriptor, self._end(), LARGEST)
        return len(list(_spans(octets)))

    def _begin(self, octets: bytes, first: int, head: SequenceHead, readers: Sequence[PublicKey]) -> None:
        """A new copy; it takes its place when all of it was verified."""
        files.private_directory(self.path.parent)
        beside = self.path.with_name(f".{self.path.name}.new")
        _remove(beside)
        try:
            files.replace(beside, octets[:first])
            with SequenceWriter(beside, keeps_positions=False) as writer:
                check_sequence(writer)
                _require_store(writer, head, readers, _CONTENT[self.path.suffix])
                writer.append_frames(octets[first:], head.head)
                writer.flush(sync=True)
            _remove_beside(self.path)
            beside.replace(self.path)
            files.sync_directory(self.path.parent)
        finally:
            _remove(beside)


def _spans(octets: bytes) -> list[int]:
    """Where each whole frame ends. What is no frame ends the list: nothing there is covered by a head."""
    view, ends, at = OctetsView(octets), [], 0
    with suppress(Torn, FormatError):
        while at < len(octets):
            at = span_at(view, at, len(octets)).end
            ends.append(at)
    return ends


def _require_store(
    sequence: SequenceFile, head: SequenceHead, readers: Sequence[PublicKey], wanted: str
) -> None:
    content = parse_content_meta(sequence.first.header.content_meta).content_type
    if sequence.sequence_id != head.sequence_id or content != wanted:
        raise IntegrityError("the file is not the store that its author has signed")
    if [reader.public for reader in readers_of(sequence) if reader.public not in readers]:
        raise IntegrityError("the store is encrypted to a key that is not one of this account's")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _remove_beside(path)


def _remove_beside(path: Path) -> None:
    """What is derived from a sequence."""
    for suffix in (".idx", ".keys"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
