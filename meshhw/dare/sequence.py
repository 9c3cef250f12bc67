"""Sequences: files of envelopes, each in a frame, that grow at their end (DARE section 3).

`SequenceFile` reads one, ours or a published one, also while somebody writes to it: a frame that is not whole
yet is not there yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from meshhw.dare.frame import FileView, Span, Torn, end_of, span_at
from meshhw.dare.header import MAX_HEADER, MAX_NESTING, Header, Members, Trailer, parse_header
from meshhw.dare.header import view as typed
from meshhw.dare.legacy import today
from meshhw.dare.memory import Memory
from meshhw.dare.positions import Positions
from meshhw.dare.trees import TREES, Tree
from meshhw.errors import FormatError, IntegrityError
from meshhw.jsonbcd import Limits, Value, canonical, decode, decode_base64url

_LIMITS = Limits(depth=MAX_NESTING + 1, token=MAX_HEADER, items=1 << 16, total=MAX_HEADER)
_PIECE = 4 * 65_552


class SequenceKind(StrEnum):
    """What a sequence says of its frames, beyond their order."""

    LIST = "List"
    DIGEST = "Digest"
    CHAIN = "Chain"
    TREE = "Tree"
    MERKLE = "Merkle"

    @property
    def has_digest(self) -> bool:
        """Whether trailers hold PayloadDigest."""
        return self in (SequenceKind.DIGEST, SequenceKind.CHAIN, SequenceKind.MERKLE)

    @property
    def has_pointers(self) -> bool:
        """Whether headers hold TreePosition."""
        return self in (SequenceKind.TREE, SequenceKind.MERKLE)


@dataclass(frozen=True)
class Frame:
    """One frame: where it lies, its header and trailer as they stand."""

    index: int
    span: Span
    members: Members
    header: Header
    exact_header: bool
    """Whether all before the trailer is spelled in the one way that ours are."""
    stored_trailer: bytes

    @property
    def trailer_members(self) -> Members:
        """The trailer as it stands. Raises FormatError."""
        return self._trailer[0]

    @property
    def exact(self) -> bool:
        """Whether the whole frame is spelled in the one way that ours are. Raises FormatError."""
        return self.exact_header and self._trailer[1]

    @cached_property
    def _trailer(self) -> tuple[Members, bool]:
        return _object(self.stored_trailer) if self.stored_trailer else ({}, False)

    @cached_property
    def trailer(self) -> Trailer:
        """The typed trailer. Raises FormatError."""
        return typed(self.trailer_members, Trailer)

    @property
    def body_length(self) -> int:
        """Octets of the stored body."""
        return self.span.records[1][1] if len(self.span.records) > 1 else 0

    @property
    def tree_digest(self) -> bytes:
        """The head's digest when this frame was the last, as it says. Raises FormatError without one."""
        digest = self.trailer.tree_digest or self.header.tree_digest
        if digest is None:
            raise FormatError(f"frame {self.index} has no TreeDigest")
        return digest


class SequenceFile:
    """A sequence file that is read. Close it, or use it as a context."""

    def __init__(self, path: Path, *, flags: int = os.O_RDONLY, keeps_positions: bool = True) -> None:
        """`keeps_positions`: whether `NAME.idx` beside the file is used. Raises FormatError for what is no
        sequence, OSError."""
        self.path = path
        self._descriptor = -1
        self._descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            self._view = FileView(self._descriptor)
            self.first = frame_at(self._view, 0, span_at(self._view, 0, self._view.size()))
            self._understand()
            self.positions = Positions(path if keeps_positions else None, self.sequence_id)
            self.positions.load()
            self.end = 0
            self.torn_at: int | None = None
            self._adopt_positions()
            self.refresh()
        except BaseException as error:
            SequenceFile.close(self)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # reading by a descriptor, the system does not say
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __len__(self) -> int:
        """How many whole frames there are, frame 0 counted."""
        return len(self.positions)

    @property
    def reads(self) -> int:
        """Blocks read so far: what random access costs."""
        return self._view.reads

    def refresh(self) -> None:
        """Take in what was appended since. `torn_at` tells where the file ends inside a frame. Raises
        FormatError for octets that are no frame."""
        size = self._view.size()
        self._view = FileView(self._descriptor)
        self.torn_at = None
        while self.end < size:
            try:
                end = end_of(self._view, self.end, size)
            except Torn:
                self.torn_at = self.end
                return
            self.positions.append(self.end)
            self.end = end

    def frame(self, index: int) -> Frame:
        """The frame of that index. Raises FormatError, IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return frame_at(self._view, index, span_at(self._view, self.positions[index], self.end))

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames from `start` to before `stop`, in order."""
        for index in range(start, len(self) if stop is None else min(stop, len(self))):
            yield self.frame(index)

    def backwards(self, start: int | None = None) -> Iterator[Frame]:
        """Frames from the last (or `start`) down to 0."""
        for index in range(len(self) - 1 if start is None else start, -1, -1):
            yield self.frame(index)

    def body(self, frame: Frame, *, keep: int | None = None) -> Iterator[memoryview]:
        """The stored body of a frame, piece by piece, of which each is good while `keep` more are taken."""
        if len(frame.span.records) < 2:
            return
        memory = Memory(keep)
        position, length = frame.span.records[1]
        while length:
            piece = memory.room(min(length, _PIECE))
            piece = piece[: os.preadv(self._descriptor, [piece], position)]
            if not piece:
                raise FormatError("the file was cut while it was read", position=position)
            yield piece
            position += len(piece)
            length -= len(piece)

    def _understand(self) -> None:
        info = self.first.header.sequence_info
        if info is None or info.container_type is None:
            raise FormatError("this is not a sequence: its first frame has no ContainerType", position=0)
        try:
            self.kind = SequenceKind(info.container_type)
        except ValueError:
            raise FormatError(f"a sequence of type {info.container_type[:20]!r} is not known here") from None
        self.sequence_id: bytes = self.first.header.sequence_id or b""
        self.is_ours = self.first.header.sequence_id is not None
        name = self.first.header.tree
        if name is not None and name not in TREES:
            raise FormatError(f"the tree {name[:20]!r} is not known here")
        if (name is not None) != (self.is_ours and self.kind is SequenceKind.MERKLE):
            raise FormatError("the first frame's tree and type do not fit")
        self.tree: Tree | None = TREES[name] if name is not None and self.is_ours else None

    def _adopt_positions(self) -> None:
        """Believe the positions beside the file only as far as the last of them leads to its frame."""
        count = len(self.positions)
        if count and self.positions[0] == 0:
            try:
                last = frame_at(
                    self._view, count - 1, span_at(self._view, self.positions[count - 1], self._view.size())
                )
                if last.header.sequence_info is not None and last.header.sequence_info.index == count - 1:
                    self.end = last.span.end
                    return
            except IntegrityError:
                pass
        self.rescan()

    def rescan(self) -> None:
        """Forget the positions and find the frames again, from the first on."""
        self.positions.truncate(0)
        self.end = 0


def _object(octets: bytes) -> tuple[Members, bool]:
    """A header or trailer, and whether it is canonical: quickly when it is, leniently when it is not."""
    if octets.count(b"{") + octets.count(b"[") <= MAX_NESTING:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, FormatError):
            quick = _DECODER.decode(octets)
            if canonical(quick) == octets:  # so no name occurs twice, either
                return quick, True
    value = decode(octets, _LIMITS, lenient=True)
    if not isinstance(value, dict):
        raise FormatError("a frame's header or trailer is not an object")
    return value, canonical(value) == octets


_DECODER = msgspec.json.Decoder(dict[str, Any])


def frame_at(view: FileView, index: int, span: Span) -> Frame:
    """The frame of a span, which must be of this index. Raises FormatError, IntegrityError."""
    records = [view.read(position, length) for position, length in span.records[0:3:2]]
    if sum(map(len, records)) > MAX_HEADER:
        raise FormatError("the header is longer than 1 MiB", position=span.position)
    members, exact = _object(records[0]) if records else ({}, False)
    exact = exact and span.shortest and len(span.records) == 3
    header = parse_header(members if exact else today(members)[0])
    info = header.sequence_info
    if info is not None and info.index is not None and info.index != index:
        raise IntegrityError(f"where frame {index} must be there is frame {info.index}")
    return Frame(index, span, members, header, exact, records[1] if len(records) > 1 else b"")


def octets_in(members: Mapping[str, Value], name: str) -> bytes | None:
    """A binary member of a header or trailer, None if it is absent. Raises FormatError."""
    value = members.get(name)
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return decode_base64url(value, lenient=True)
    raise FormatError(f"{name} is not binary")
