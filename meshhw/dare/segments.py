"""The body of our form: AES-256-GCM in segments, so that nothing leaves before it was checked, and any
segment can be read alone.

Segment n holds plaintext octets n * 65,536 onwards and starts at stored octet n * 65,552. Its nonce is n in
11 octets and one octet that says whether it is the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshhw.dare.memory import Memory
from meshhw.errors import DecryptionFailed, FormatError
from meshhw.jsonbcd.source import fill

SEGMENT = 1 << 16
TAG = 16
STORED = SEGMENT + TAG
MAX_SEGMENTS = 1 << 32
Octets = bytes | bytearray | memoryview
BATCH = 8
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
    key: bytes,
    source: BinaryIO,
    *,
    keep: int | None = None,
    memory: Memory | None = None,
    at_once: int = BATCH,
) -> Iterator[Octets]:
    """The stored body of everything that `source` gives, in batches of `at_once` segments.

    A batch stays as it is while `keep` more are taken, then its `memory` (that of an earlier stream, where it
    is given) is used again; without, it stays.
    """
    cipher = AESGCM(key)
    memory = memory or Memory(keep)
    batch, following = bytearray(at_once * SEGMENT), bytearray(at_once * SEGMENT)
    index, count = 0, fill(source, memoryview(batch))
    while True:
        plain = memoryview(batch)[:count]
        final = max(count - 1, 0) // SEGMENT
        stored = memory.room(count + TAG * (final + 1))
        for i in range(final):
            _encrypt_segment(cipher, index + i, plain[i * SEGMENT : (i + 1) * SEGMENT], stored[i * STORED :])
        # Only what follows tells whether a segment is the last. It is read when the others are done, while
        # they are still in the processor's cache.
        more = fill(source, memoryview(following)) if count == len(batch) else 0
        rest, place = plain[final * SEGMENT :], stored[final * STORED :]
        _encrypt_segment(cipher, index + final, rest, place, last=not more)
        yield stored
        if not more:
            return
        index += at_once
        if index >= MAX_SEGMENTS:
            raise FormatError("the data is too long for one envelope")
        batch, following, count = following, batch, more


def encrypt_one(key: bytes, plain: bytes) -> bytes:
    """The stored body of at most one segment."""
    return AESGCM(key).encrypt(_ONLY, plain, None)


def decrypt_one(key: bytes, stored: bytes) -> bytes:
    """The plaintext of a stored body of one segment. Raises DecryptionFailed."""
    return decrypt_segment(AESGCM(key), 0, stored, last=True)


def decrypt_stream(key: bytes, pieces: Iterable[Octets], *, keep: int | None = None) -> Iterator[Octets]:
    """The plaintext of a stored body that comes in pieces, none of them empty, each good until the second one
    after it. What was yielded has passed its tag; whether the body is whole is known at the end alone. `keep`
    is as in `encrypt_stream`.

    Raises DecryptionFailed, FormatError for a body that is too long.
    """
    cipher = AESGCM(key)
    memory = Memory(keep)
    index, held = 0, memoryview(b"")
    for piece in pieces:
        octets = memoryview(piece)
        if len(held) % STORED:  # never, where the pieces are of whole segments
            octets, held = memoryview(b"".join((held, octets))), memoryview(b"")
        if not octets:
            continue
        first, whole = bool(held), (len(octets) - 1) // STORED  # none is the last, since something follows
        plain = memory.room((first + whole) * SEGMENT)
        if first:
            _decrypt_into(cipher, index, held, plain[:SEGMENT])
        for i in range(whole):
            place = (first + i) * SEGMENT
            stored = octets[i * STORED : (i + 1) * STORED]
            _decrypt_into(cipher, index + first + i, stored, plain[place : place + SEGMENT])
        index, held = index + first + whole, octets[whole * STORED :]
        if plain:
            yield plain
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


def _encrypt_segment(
    cipher: AESGCM, index: int, plain: memoryview, place: memoryview, *, last: bool = False
) -> None:
    cipher.encrypt_into(nonce(index, last=last), plain, None, place[: len(plain) + TAG])
