"""An envelope file, read once from front to end or written so (DARE section 2).

The binary file form is `[`, the header, `,`, the body as one JSON-B binary or in chunks, `,`, the trailer
and `]`; header and trailer are RFC 8785 JSON. A JSON array is read in any spelling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from meshhw.dare.header import MAX_HEADER, MAX_NESTING, Members
from meshhw.dare.memory import Memory
from meshhw.dare.segments import Octets
from meshhw.errors import FormatError, StateError
from meshhw.jsonbcd import Kind, Limits, Reader, binary_head, canonical

TAG = "DareEnvelope"
_LIMITS = Limits(depth=MAX_NESTING + 2, token=MAX_HEADER, items=1 << 16, total=2 * MAX_HEADER)


class Writes(Protocol):
    """What takes octets."""

    def write(self, octets: Octets, /) -> object:
        """Take all of them."""


class EnvelopeStream:
    """`members` first, then `body()` to its end, then `end()`. Every fault is a FormatError."""

    def __init__(self, octets: bytes | BinaryIO) -> None:
        self._reader = Reader(octets, _LIMITS, lenient=True)
        seen = self._reader.collect()
        self._tagged = self._open()
        members = self._reader.value()
        if not isinstance(members, dict):
            raise FormatError("an envelope begins with its header, an object")
        if self._reader.position > MAX_HEADER:
            raise FormatError("the header is longer than 1 MiB")
        self.members: Members = members
        self._has_body = not self._reader.closes()
        self._start = bytes(seen)
        self._finish = b""
        self.trailer_members: Members | None = None

    def body(self, *, keep: int | None = None) -> Iterator[Octets]:
        """The stored body, piece by piece, of which each is good while `keep` more are taken; nothing when
        there is none."""
        if self._has_body:
            yield from self._reader.chunks(Memory(keep).room)

    def end(self) -> Members | None:
        """The trailer, after which the file must end."""
        seen = self._reader.collect()
        if not self._reader.closes():
            trailer = self._reader.value()
            if not isinstance(trailer, dict):
                raise FormatError("an envelope's trailer is an object")
            self.trailer_members = trailer
        self._reader.expect(Kind.ARRAY_END)
        if self._tagged:
            self._reader.expect(Kind.OBJECT_END)
        self._reader.end()
        self._finish = bytes(seen)
        return self.trailer_members

    @property
    def has_body(self) -> bool:
        """Whether a body stands after the header, be it empty."""
        return self._has_body

    @property
    def is_exact(self) -> bool:
        """Whether everything around the body was spelled as we write it; a JSON text with its body as
        base64url may be spelled freely."""
        exact = self._start == file_start(self.members) and self._finish == file_end(self.trailer_members)
        return exact or not self._reader.chunks_were_binary

    def _open(self) -> bool:
        first = self._reader.next()
        if first.kind is Kind.OBJECT and self._reader.expect(Kind.NAME).value == TAG:
            self._reader.expect(Kind.ARRAY)
            return True
        if first.kind is not Kind.ARRAY:
            raise FormatError("this is not an envelope")
        return False


def file_start(members: Members) -> bytes:
    """What stands before the body's tag in the binary file form."""
    return b"[" + canonical(members) + b","


def file_end(trailer: Members | None) -> bytes:
    """What stands after the body."""
    return b"]" if trailer is None else b"," + canonical(trailer) + b"]"


def write_body(target: Writes, pieces: Iterable[Octets], length: int | None) -> None:
    """The body as one binary of this length; as chunks, the last of them empty, when it is not known.

    Raises StateError when the pieces are not of that length: the source changed meanwhile.
    """
    if length is None:
        for piece in pieces:
            target.write(binary_head(len(piece), final=False))
            target.write(piece)
        target.write(binary_head(0))
        return
    target.write(binary_head(length))
    for piece in pieces:
        length -= len(piece)
        target.write(piece)
    if length:
        raise StateError("the file changed while it was read", hint="repeat when nothing writes to it")
