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


def encrypt_stream(key: bytes, source: BinaryIO, *, keep: int | None = None) -> Iterator[Octets]:
    """The stored body of everything that `source` gives, in batches.

    A batch stays as it is while `keep` more are taken, then its memory is used again; without, it stays.
    """
    cipher = AESGCM(key)
    kept: list[bytearray] = []
    index = 0
    batch = _read_fully(source, BATCH * SEGMENT)
    while True:
        plain = memoryview(batch)
        final = max(len(plain) - 1, 0) // SEGMENT
        stored = memoryview(_memory(kept, keep, index // BATCH, len(plain) + TAG * (final + 1)))
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


def decrypt_stream(key: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The plaintext of a stored body that comes in pieces of any length. What was yielded has passed its
    tag; whether the body is whole is known at the end alone. Raises DecryptionFailed."""
    cipher = AESGCM(key)
    index = 0
    held = b""
    for piece in pieces:
        if not piece:
            continue
        whole = len(held) // STORED  # none of them is the last, since something follows
        if whole:
            yield _decrypt_batch(cipher, index, memoryview(held)[: whole * STORED])
            index += whole
        rest = held[whole * STORED :]
        held = rest + piece if rest else piece
    whole = max(len(held) - 1, 0) // STORED
    if whole:
        yield _decrypt_batch(cipher, index, memoryview(held)[: whole * STORED])
        index += whole
    if index >= MAX_SEGMENTS:
        raise FormatError("the body has more segments than an envelope may")
    plain = decrypt_segment(cipher, index, held[whole * STORED :], last=True)
    if index and not plain:
        raise DecryptionFailed("the body ends in an empty segment")
    yield plain


def decrypt_segment(cipher: AESGCM, index: int, stored: bytes | memoryview, *, last: bool) -> bytes:
    """One segment. Raises DecryptionFailed."""
    try:
        return cipher.decrypt(nonce(index, last=last), stored, None)
    except (InvalidTag, ValueError) as error:
        raise DecryptionFailed(f"the body was changed or cut short (segment {index})") from error


def _memory(kept: list[bytearray], keep: int | None, turn: int, length: int) -> bytearray:
    """Room for a batch: new, or that of `keep` + 1 turns ago."""
    if keep is None or length < BATCH * STORED:
        return bytearray(length)
    if turn <= keep:
        kept.append(bytearray(length))
    return kept[turn % (keep + 1)]


def _encrypt_segment(
    cipher: AESGCM, index: int, plain: memoryview, place: memoryview, *, last: bool = False
) -> None:
    cipher.encrypt_into(nonce(index, last=last), plain, None, place[: len(plain) + TAG])


def _decrypt_batch(cipher: AESGCM, index: int, stored: memoryview) -> bytes:
    """Whole segments, none of them the last."""
    return b"".join(
        decrypt_segment(cipher, index + i, stored[i * STORED : (i + 1) * STORED], last=False)
        for i in range(len(stored) // STORED)
    )


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
