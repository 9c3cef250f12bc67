"""The body of our form: AES-256-GCM in segments, so that nothing leaves before it was checked, and any
segment can be read alone.

Segment n holds plaintext octets n * 65,536 onwards and starts at stored octet n * 65,552. Its nonce is n in
11 octets and one octet that says whether it is the last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshhw.errors import DecryptionFailed, FormatError

SEGMENT = 1 << 16
TAG = 16
STORED = SEGMENT + TAG
MAX_SEGMENTS = 1 << 32
Octets = bytes | bytearray | memoryview
BATCH = 16
"""Segments that are read and written at once."""


def stored_length(plain: int) -> int:
    """Octets of the body of a plaintext of this length."""
    return plain + TAG * max(1, -(-plain // SEGMENT))


def plain_length(stored: int) -> int:
    """Octets of the plaintext of a body of this length. Raises FormatError for a length no body has."""
    plain = stored - TAG * max(1, -(-stored // STORED))
    if plain < 0 or stored_length(plain) != stored:
        raise FormatError("no body of this form has this length")
    return plain


def nonce(index: int, *, last: bool) -> bytes:
    """The nonce of a segment."""
    return index.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


_ONLY = nonce(0, last=True)


def encrypt_stream(
    key: bytes, source: BinaryIO, *, keep: int | None = None, memory: Memory | None = None
) -> Iterator[Octets]:
    """The stored body of everything that `source` gives, in batches.

    A batch stays as it is while `keep` more are taken, then its `memory` (that of an earlier stream, where it
    is given) is used again; without, it stays.
    """
    cipher = AESGCM(key)
    memory = memory or Memory(keep)
    index = 0
    batch = _read_fully(source, BATCH * SEGMENT)
    while True:
        plain = memoryview(batch)
        final = max(len(plain) - 1, 0) // SEGMENT
        stored = memory.room(len(plain) + TAG * (final + 1))
        for i in range(final):
            _encrypt_segment(cipher, index + i, plain[i * SEGMENT : (i + 1) * SEGMENT], stored[i * STORED :])
        # Only what follows tells whether a segment is the last. It is read when the others are done, while
        # they are still in the processor's cache.
        following = _read_fully(source, BATCH * SEGMENT) if len(batch) == BATCH * SEGMENT else b""
        rest, place = plain[final * SEGMENT :], stored[final * STORED :]
        _encrypt_segment(cipher, index + final, rest, place, last=not following)
        yield stored
        if not following:
            return
        index += BATCH
        if index >= MAX_SEGMENTS:
            raise FormatError("the data is too long for one envelope")
        batch = following


def encrypt_one(key: bytes, plain: bytes) -> bytes:
    """The stored body of at most one segment."""
    return AESGCM(key).encrypt(_ONLY, plain, None)


def decrypt_stream(key: bytes, pieces: Iterable[bytes], *, keep: int | None = None) -> Iterator[Octets]:
    """The plaintext of a stored body that comes in pieces of any length. What was yielded has passed its
    tag; whether the body is whole is known at the end alone. `keep` is as in `encrypt_stream`.

    Raises DecryptionFailed, FormatError for a body that is too long.
    """
    cipher = AESGCM(key)
    memory = Memory(keep)
    index = 0
    held = b""
    for piece in pieces:
        held = held + piece if held else piece
        whole = max(len(held) - 1, 0) // STORED  # none of them is the last, since something follows
        if not whole:
            continue
        plain = memory.room(whole * SEGMENT)
        for i in range(whole):
            stored = memoryview(held)[i * STORED : (i + 1) * STORED]
            _decrypt_into(cipher, index + i, stored, plain[i * SEGMENT : (i + 1) * SEGMENT])
        yield plain
        index, held = index + whole, held[whole * STORED :]
    if index >= MAX_SEGMENTS:
        raise FormatError("the body has more segments than an envelope may")
    last = decrypt_segment(cipher, index, held, last=True)
    if index and not last:
        raise DecryptionFailed("the body ends in an empty segment")
    yield last


def decrypt_segment(cipher: AESGCM, index: int, stored: bytes | memoryview, *, last: bool) -> bytes:
    """One segment. Raises DecryptionFailed."""
    try:
        return cipher.decrypt(nonce(index, last=last), stored, None)
    except (InvalidTag, ValueError) as error:
        raise _damaged(index) from error


def _decrypt_into(cipher: AESGCM, index: int, stored: memoryview, place: memoryview) -> None:
    try:
        cipher.decrypt_into(nonce(index, last=False), stored, None, place)
    except InvalidTag as error:
        raise _damaged(index) from error


def _damaged(index: int) -> DecryptionFailed:
    return DecryptionFailed(f"the body was changed or cut short (segment {index})")


class Memory:
    """Room for batches: new, or that of the batch `keep` + 1 before."""

    def __init__(self, keep: int | None) -> None:
        self._keep = keep
        self._used: deque[bytearray] = deque()

    def room(self, length: int) -> memoryview:
        """Room for that many octets."""
        if self._keep is None:
            return memoryview(bytearray(length))
        used = self._used.popleft() if len(self._used) > self._keep else b""
        octets = used if isinstance(used, bytearray) and len(used) >= length else bytearray(length)
        self._used.append(octets)
        return memoryview(octets)[:length]


def _encrypt_segment(
    cipher: AESGCM, index: int, plain: memoryview, place: memoryview, *, last: bool = False
) -> None:
    cipher.encrypt_into(nonce(index, last=last), plain, None, place[: len(plain) + TAG])


def _read_fully(source: BinaryIO, count: int) -> bytes:
    """`count` octets, fewer only at the end: pipes give what they have."""
    first = source.read(count)
    if len(first) == count or not first:
        return first
    parts = [first]
    missing = count - len(first)
    while missing and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
