"""The one reader of JSON, JSON-B, JSON-C and JSON-D: a pull parser that never holds more than one value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import BinaryIO, NamedTuple

from meshhw.jsonbcd import tags
from meshhw.jsonbcd.binary import Room, Scalar, read_token, stream_token
from meshhw.jsonbcd.limits import DEFAULT_LIMITS, Limits
from meshhw.jsonbcd.source import Source
from meshhw.jsonbcd.text import read_string, read_word, stream_base64url

Value = str | bytes | int | float | Decimal | bool | None | Sequence["Value"] | Mapping[str, "Value"]

_OPEN_ARRAY, _OPEN_OBJECT, _CLOSE_ARRAY, _CLOSE_OBJECT = b"[{]}"
_COMMA, _COLON, _QUOTE = b',:"'


class Kind(Enum):
    """What an event tells."""

    ARRAY = "array"
    ARRAY_END = "end of array"
    OBJECT = "object"
    OBJECT_END = "end of object"
    NAME = "name"
    VALUE = "value"


class Event(NamedTuple):
    """One step through a document. `value` is the scalar, or the member's name."""

    kind: Kind
    value: Scalar = None


@dataclass(slots=True)
class _Container:
    is_object: bool
    awaits_value: bool = False
    """In an object: a name was read and its value was not."""
    separator: int = 0
    """The separator that must come next; 0 when none may."""


class Reader:
    """Reads one document from octets or a binary stream.

    `lenient` takes what the 2022 reference and the drafts' examples wrote against their own grammar: raw line
    breaks in text strings, wrapped and padded base64url, bignum tags A5 and AD. Separators may be absent next
    to a binary token in either case. Every fault is a FormatError with its position.
    """

    def __init__(
        self, octets: bytes | BinaryIO, limits: Limits = DEFAULT_LIMITS, *, lenient: bool = False
    ) -> None:
        self._source = Source(octets, limits.total)
        self._limits = limits
        self._lenient = lenient
        self._stack: list[_Container] = []
        self._codes: dict[int, Scalar] = {}
        self._items = limits.items
        self._after_binary = False
        self.chunks_were_binary = False
        """Whether what `chunks` gave was written as a binary token, not as base64url."""

    @property
    def position(self) -> int:
        """The octet that is read next, from 0."""
        return self._source.position

    def collect(self) -> bytearray:
        """From here on, gather the octets that are read, but for those of `chunks`; into a new bytearray."""
        self._source.seen = bytearray()
        return self._source.seen

    def next(self) -> Event:
        """The next event."""
        octet = self._advance()
        if octet in (_CLOSE_ARRAY, _CLOSE_OBJECT):
            return self._close(octet)
        self._items -= 1
        if self._items < 0:
            raise self._source.fail("the document holds more values than its limit")
        container = self._stack[-1] if self._stack else None
        if container and container.is_object and not container.awaits_value:
            return self._name(container, octet)
        if octet in (_OPEN_ARRAY, _OPEN_OBJECT):
            return self._open(octet)
        value = self._scalar(octet)
        self._finished(binary=octet >= 0x80)
        return Event(Kind.VALUE, value)

    def value(self) -> Value:
        """The next value, whole."""
        return self._built(self.next())

    def chunks(self, room: Room | None = None) -> Iterator[bytes | memoryview]:
        """The octets of the next value, a binary or a base64url string, piece by piece and of any length. A
        binary's pieces lie in memory that `room` gives, where it is given."""
        octet = self._advance()
        self._source.seen = None
        self.chunks_were_binary = octet != _QUOTE
        if octet == _QUOTE:
            yield from stream_base64url(self._source, lenient=self._lenient)
        elif octet & 0xF8 == tags.BINARY:
            yield from stream_token(self._source, room)
        else:
            raise self._source.fail("a binary was expected")
        self._finished(binary=octet >= 0x80)

    def expect(self, kind: Kind) -> Event:
        """The next event, which must be of this kind."""
        event = self.next()
        if event.kind is not kind:
            raise self._source.fail(f"{kind.value} was expected, not {event.kind.value}")
        return event

    def closes(self) -> bool:
        """Whether the innermost array or object ends here."""
        return self._advance() in (_CLOSE_ARRAY, _CLOSE_OBJECT)

    def at_end(self) -> bool:
        """Whether nothing but white space follows."""
        return self._source.space() < 0

    def end(self) -> None:
        """Check that nothing but white space follows."""
        if self._stack or not self.at_end():
            raise self._source.fail("data follows the end of the document")

    def _advance(self) -> int:
        """Pass separators and code definitions; the first octet of what comes next, still in the source."""
        octet = self._source.space()
        if self._stack and self._stack[-1].separator:
            octet = self._separated(self._stack[-1], octet)
        while octet >= 0 and octet & 0xFC == tags.DEFINE:
            self._define(_read_code(self._source))
            octet = self._source.space()
        if octet < 0:
            raise self._source.fail("the data ends too early")
        return octet

    def _separated(self, container: _Container, octet: int) -> int:
        if octet == container.separator:
            self._source.take(1)
            octet = self._source.space()
            if octet in (_CLOSE_ARRAY, _CLOSE_OBJECT):
                raise self._source.fail("a separator is followed by nothing")
        elif octet in (_CLOSE_ARRAY, _CLOSE_OBJECT):
            return octet
        elif not self._after_binary and octet < 0x80:
            raise self._source.fail("a separator is missing")
        container.separator = 0
        return octet

    def _open(self, octet: int) -> Event:
        if len(self._stack) >= self._limits.depth:
            raise self._source.fail("the document is nested deeper than its limit")
        self._source.take(1)
        is_object = octet == _OPEN_OBJECT
        self._stack.append(_Container(is_object))
        return Event(Kind.OBJECT if is_object else Kind.ARRAY)

    def _close(self, octet: int) -> Event:
        is_object = octet == _CLOSE_OBJECT
        if not self._stack or self._stack[-1].is_object != is_object or self._stack[-1].awaits_value:
            raise self._source.fail("a bracket closes nothing")
        self._source.take(1)
        self._stack.pop()
        self._finished(binary=False)
        return Event(Kind.OBJECT_END if is_object else Kind.ARRAY_END)

    def _name(self, container: _Container, octet: int) -> Event:
        name = self._scalar(octet) if octet == _QUOTE or octet >= 0x80 else None
        if not isinstance(name, str):
            raise self._source.fail("a member's name was expected")
        container.awaits_value = True
        container.separator = _COLON
        self._after_binary = octet >= 0x80
        return Event(Kind.NAME, name)

    def _scalar(self, octet: int) -> Scalar:
        if octet == _QUOTE:
            return read_string(self._source, self._limits, lenient=self._lenient)
        if octet < 0x80:
            return read_word(self._source)
        family = octet & 0xFC
        if family == tags.DEFINE_AND_USE:
            return self._define(_read_code(self._source))
        if family == tags.CODE:
            return self._coded(_read_code(self._source))
        return read_token(self._source, self._limits, lenient=self._lenient)

    def _define(self, code: int) -> Scalar:
        """JSON-C definitions hold scalars only: a code inside a code could grow without bound."""
        octet = self._source.space()
        if octet in (_OPEN_ARRAY, _OPEN_OBJECT) or octet & 0xF0 == 0xC0 or octet < 0:
            raise self._source.fail("a code can only be defined as a plain value")
        if len(self._codes) >= self._limits.codes and code not in self._codes:
            raise self._source.fail("more codes are defined than the limit")
        self._codes[code] = self._scalar(octet)
        return self._codes[code]

    def _coded(self, code: int) -> Scalar:
        if code not in self._codes:
            raise self._source.fail(f"code {code:#x} is not defined")
        value = self._codes[code]
        if isinstance(value, (str, bytes)):
            self._source.spend(len(value))
        return value

    def _finished(self, *, binary: bool) -> None:
        self._after_binary = binary
        if self._stack:
            self._stack[-1].awaits_value = False
            self._stack[-1].separator = _COMMA

    def _built(self, event: Event) -> Value:
        if event.kind is Kind.VALUE:
            return event.value
        if event.kind is Kind.ARRAY:
            return self._array()
        if event.kind is Kind.OBJECT:
            return self._object()
        raise self._source.fail(f"a value was expected, not {event.kind.value}")

    def _array(self) -> list[Value]:
        items = []
        while (event := self.next()).kind is not Kind.ARRAY_END:
            items.append(self._built(event))
        return items

    def _object(self) -> dict[str, Value]:
        members: dict[str, Value] = {}
        while (event := self.next()).kind is not Kind.OBJECT_END:
            name = str(event.value)
            if name in members:
                raise self._source.fail(f"the name {name[:40]!r} occurs twice in one object")
            members[name] = self.value()
        return members


def _read_code(source: Source) -> int:
    """The code (1, 2 or 4 octets) of a JSON-C token."""
    tag = source.take(1)[0]
    if tag & 3 == 3:
        raise source.fail(f"an undefined token (tag {tag:02x})")
    return int.from_bytes(source.take(tags.length_octets(tag)), "big")


def decode(octets: bytes, limits: Limits = DEFAULT_LIMITS, *, lenient: bool = False) -> Value:
    """The one value that these octets hold. Raises FormatError."""
    reader = Reader(octets, limits, lenient=lenient)
    value = reader.value()
    reader.end()
    return value
