"""Frames of a sequence file: readable from either end (JBCD; DARE section 3.1).

    frame  = T records reverse(T)      T = tag F4..F7 and the length of the records
    record = tag F0..F3, length, data  up to three: header, body, trailer

Lengths take the shortest of 1, 2, 4 or 8 octets in what we write.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from meshhw.errors import FormatError
from meshhw.jsonbcd import tags

_WIDTHS = (2, 3, 5, 9)
_LONGEST_TAG = 9
_LEAST = {2: 0, 3: 1 << 8, 5: 1 << 16, 9: 1 << 32}
"""The least length that needs a tag of so many octets."""
_BLOCK = 1 << 15
MAX_RECORDS = 3


class Torn(FormatError):
    """The file ends inside a frame: its writer was interrupted, or is still writing."""


class FileView:
    """Positioned reads of an open file, through one block of read-ahead; safe beside a writer."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._start = 0
        self._block = b""
        self.reads = 0
        """Blocks that were read: what random access costs."""

    def size(self) -> int:
        """Octets in the file now."""
        return os.fstat(self.descriptor).st_size

    def read(self, position: int, count: int) -> bytes:
        """Up to `count` octets, fewer only at the end of the file."""
        offset = position - self._start
        if offset >= 0 and offset + count <= len(self._block):
            return self._block[offset : offset + count]
        self.reads += 1
        if count >= _BLOCK:
            return read_fully(self.descriptor, position, count)
        self._block, self._start = os.pread(self.descriptor, _BLOCK, position), position
        return self._block[:count]


class OctetsView(FileView):
    """The same over octets in memory."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(-1)
        self._octets = octets

    def size(self) -> int:
        """How many octets there are."""
        return len(self._octets)

    def read(self, position: int, count: int) -> bytes:
        """Up to `count` octets, fewer only at the end."""
        return self._octets[position : position + count]


class Span(NamedTuple):
    """Where a frame and its records lie in the file."""

    position: int
    end: int
    records: tuple[tuple[int, int], ...]
    """Position and length of each record's data."""
    shortest: bool
    """Whether every length was written in its shortest form, as ours are."""


def frame_head(length: int) -> bytes:
    """T of a frame whose records have this length."""
    return tags.head(tags.FRAME, length)


def record_head(length: int) -> bytes:
    """The tag and length of a record."""
    return tags.head(tags.RECORD, length)


def record(data: bytes) -> bytes:
    """A record."""
    return record_head(len(data)) + data


def frame(*data: bytes) -> bytes:
    """A frame of these records."""
    parts, length = [b""], 0
    for octets in data:
        start = record_head(len(octets))
        parts += (start, octets)
        length += len(start) + len(octets)
    parts[0] = head = frame_head(length)
    parts.append(head[::-1])
    return b"".join(parts)


def span_at(view: FileView, position: int, size: int) -> Span:
    """The frame at `position` in a file of `size` octets. Raises Torn, FormatError."""
    width, length = _outline(view, position, size)
    start = position + width
    records, shortest = _records(view, start, start + length)
    return Span(position, start + length + width, records, shortest and length >= _LEAST[width])


def end_of(view: FileView, position: int, size: int) -> int:
    """Where the frame at `position` ends, whatever is in it. Raises Torn, FormatError."""
    width, length = _outline(view, position, size)
    return position + length + 2 * width


def span_before(view: FileView, end: int) -> Span:
    """The frame that ends at `end`. Raises FormatError."""
    if end < 1:
        raise FormatError("there is no frame before the first", position=0)
    tag = view.read(end - 1, 1)[0]
    if tag & 0xFC != tags.FRAME:
        raise FormatError(f"no frame ends here (tag {tag:02x})", position=end - 1)
    width = 1 + tags.length_octets(tag)
    if width > end:
        raise FormatError("a frame is cut at its beginning", position=0)
    length = int.from_bytes(view.read(end - width, width - 1)[::-1], "big")
    position = end - 2 * width - length
    if position < 0:
        raise FormatError("a frame is longer than what is before it", position=end - width)
    found = span_at(view, position, end)
    if found.end != end:
        raise FormatError("a frame's two lengths differ", position=position)
    return found


def read_fully(descriptor: int, position: int, count: int) -> bytes:
    """`count` octets from a position, fewer only at the end of the file."""
    parts = []
    while count and (part := os.pread(descriptor, min(count, 1 << 30), position)):
        parts.append(part)
        position += len(part)
        count -= len(part)
    return b"".join(parts)


def _outline(view: FileView, position: int, size: int) -> tuple[int, int]:
    """Octets of T, and of the records, of a frame that ends as it begins."""
    width, length = _tag(view, position, size, tags.FRAME)
    stop = position + width + length
    if stop + width > size:
        raise Torn("the file ends inside a frame", position=position)
    if view.read(stop, width) != view.read(position, width)[::-1]:
        raise FormatError("a frame does not end as it begins", position=stop)
    return width, length


def _tag(view: FileView, position: int, limit: int, family: int) -> tuple[int, int]:
    """Octets of a tag with its length, and that length."""
    octets = view.read(position, min(_LONGEST_TAG, limit - position))
    if not octets:
        raise Torn("the file ends before a frame", position=position)
    if octets[0] & 0xFC != family:
        raise FormatError(f"no frame or record begins here (tag {octets[0]:02x})", position=position)
    width = _WIDTHS[octets[0] & 3]
    if width > len(octets):
        raise Torn("the file ends inside a tag", position=position)
    return width, int.from_bytes(octets[1:width], "big")


def _records(view: FileView, position: int, stop: int) -> tuple[tuple[tuple[int, int], ...], bool]:
    found: list[tuple[int, int]] = []
    shortest = True
    while position < stop:
        try:
            width, length = _tag(view, position, stop, tags.RECORD)
        except Torn as error:
            raise FormatError("a record is longer than its frame", position=position) from error
        shortest = shortest and length >= _LEAST[width]
        position += width
        found.append((position, length))
        position += length
    if position != stop or len(found) > MAX_RECORDS:
        raise FormatError("the records do not fill their frame", position=stop)
    return tuple(found), shortest
