"""An envelope held in memory, and its two spellings: the JSON array and the binary file form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from meshhw.dare.header import Header, Members, Trailer, parse_header, view
from meshhw.dare.stream import TAG, EnvelopeStream, file_end, file_start
from meshhw.errors import FormatError
from meshhw.jsonbcd import Value, binary_head, decode_base64url, encode_base64url


@dataclass(frozen=True)
class Envelope:
    """`[header, body, trailer]`: the header's and trailer's objects as they stand, and the stored body."""

    members: Members
    body: bytes
    trailer_members: Members | None = None

    @cached_property
    def header(self) -> Header:
        """The typed header. Raises FormatError."""
        return parse_header(self.members)

    @cached_property
    def trailer(self) -> Trailer:
        """The typed trailer. Raises FormatError."""
        return view(self.trailer_members or {}, Trailer)

    def array(self) -> list[Value]:
        """The JSON array, its body as base64url."""
        head: list[Value] = [self.members, encode_base64url(self.body)]
        return head if self.trailer_members is None else [*head, self.trailer_members]

    def octets(self) -> bytes:
        """The binary file form."""
        body = binary_head(len(self.body)) + self.body
        return file_start(self.members) + body + file_end(self.trailer_members)

    @classmethod
    def from_array(cls, value: Value) -> Envelope:
        """The envelope in a decoded JSON array, tagged `DareEnvelope` or not. Raises FormatError."""
        if isinstance(value, Mapping) and set(value) == {TAG}:
            value = value[TAG]
        if not isinstance(value, list) or not 2 <= len(value) <= 3 or not isinstance(value[0], dict):
            raise FormatError("an envelope is [header, body] or [header, body, trailer]")
        trailer = value[2] if len(value) == 3 else None
        if trailer is not None and not isinstance(trailer, dict):
            raise FormatError("an envelope's trailer is an object")
        return cls(value[0], _body_octets(value[1]), trailer)

    @classmethod
    def parse(cls, octets: bytes | BinaryIO) -> Envelope:
        """The envelope in a file of either form, read whole. Raises FormatError."""
        stream = EnvelopeStream(octets)
        body = b"".join(stream.body())
        return cls(stream.members, body, stream.end())


def _body_octets(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return decode_base64url(value, lenient=True)
    raise FormatError("an envelope's body is binary")
