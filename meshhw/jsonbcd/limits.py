"""What a reader is willing to spend on a document that it does not trust."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one reading; streamed chunks (`Reader.chunks`) are outside all but `depth`."""

    depth: int = 64
    """Arrays and objects inside each other."""
    token: int = 1 << 20
    """Octets of one string, binary or number."""
    items: int = 1 << 16
    """Values and names together: an empty array costs two octets to send and sixty to hold."""
    total: int = 1 << 24
    """Octets of the document, counted again each time a JSON-C code stands for them."""
    codes: int = 256
    """Entries of the JSON-C dictionary."""


DEFAULT_LIMITS = Limits()
