"""Work beside the cipher: in order, with pieces whose memory is used again, and with its faults told."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.background import KEEP, BackgroundDigest, BackgroundWriter
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.memory import Memory
from meshhw.dare.output import replacing
from meshhw.dare.prepare import Outline
from meshhw.dare.read import read_stream
from meshhw.dare.segments import BATCH, SEGMENT, STORED, decrypt_stream, encrypt_stream
from meshhw.dare.write import write_stream
from meshhw.errors import DecryptionFailed, MeshError

KEY = bytes(range(32))
MANY = os.urandom(24 * BATCH * SEGMENT)


def test_a_digest_beside_sees_pieces_before_their_memory_is_used_again() -> None:
    expected = b"".join(encrypt_stream(KEY, io.BytesIO(MANY)))
    written = io.BytesIO()
    with BackgroundDigest() as digest, BackgroundWriter(written) as writer:
        for piece in digest.through(encrypt_stream(KEY, io.BytesIO(MANY), keep=KEEP)):
            writer.write(piece)
        writer.join()
        assert digest.digest() == hashlib.sha512(expected).digest()
    assert written.getvalue() == expected


@pytest.mark.parametrize("length", [0, 1, SEGMENT, SEGMENT + 1, BATCH * SEGMENT, BATCH * SEGMENT + 1])
def test_pieces_stay_when_none_may_be_used_again(length: int) -> None:
    plain = MANY[:length]
    pieces = list(encrypt_stream(KEY, io.BytesIO(plain)))
    again = b"".join(bytes(piece) for piece in encrypt_stream(KEY, io.BytesIO(plain), keep=0))
    assert b"".join(pieces) == again


STORED_BODY = b"".join(encrypt_stream(KEY, io.BytesIO(MANY[: 5 * SEGMENT + 77])))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from((1, 15, 16, 17, STORED - 1, STORED, STORED + 1, 2 * STORED, 3 * STORED + 5)),
        max_size=12,
    )
)
def test_a_body_decrypts_from_pieces_of_any_length_in_memory_that_is_used_again(lengths: list[int]) -> None:
    def pieces() -> Iterator[memoryview]:
        memory, rest = Memory(1), STORED_BODY
        for length in (*lengths, len(STORED_BODY)):
            if not rest:
                return
            piece = memory.room(min(length, len(rest)))
            piece[:] = rest[: len(piece)]
            rest = rest[len(piece) :]
            yield piece

    plain = b"".join(bytes(piece) for piece in decrypt_stream(KEY, pieces(), keep=0))
    assert plain == MANY[: 5 * SEGMENT + 77]


@pytest.mark.parametrize("cut", [0, 1, 16, STORED - 1, STORED, STORED + 1, 5 * STORED, len(STORED_BODY) - 1])
def test_a_body_that_is_cut_short_does_not_decrypt(cut: int) -> None:
    with pytest.raises(DecryptionFailed):
        list(decrypt_stream(KEY, [STORED_BODY[:cut]]))


class _Dripping(io.RawIOBase):
    """A pipe that gives a few octets at a time."""

    def __init__(self, octets: bytes) -> None:
        self._octets = io.BytesIO(octets)

    def readinto(self, room: memoryview) -> int:  # type: ignore[override]
        return self._octets.readinto(room[:7001])


def test_a_slow_pipe_gives_the_same_as_a_file() -> None:
    plain = MANY[: 5 * SEGMENT + 77]
    assert b"".join(encrypt_stream(KEY, cast("BinaryIO", _Dripping(plain)))) == STORED_BODY


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    reader = RecipientKey(LocalKey(PrivateKey(Algorithm.X25519, KEY)).public)
    outline = Outline(readers=[reader])
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        write_stream(io.BytesIO(MANY), full, outline, length=len(MANY))
    with pytest.raises(MeshError, match="No space"):
        _encrypt_to_a_full_disk(tmp_path / "out", outline)
    assert list(tmp_path.iterdir()) == []


def _encrypt_to_a_full_disk(out: Path, outline: Outline) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with replacing(out) as target:
        os.dup2(full, target.fileno())
        os.close(full)
        write_stream(io.BytesIO(MANY), target, outline, length=len(MANY))


def test_a_sink_that_fails_ends_the_reading(tmp_path: Path) -> None:
    key = LocalKey(PrivateKey(Algorithm.X25519, KEY))
    envelope = io.BytesIO()
    write_stream(io.BytesIO(MANY), envelope, Outline(readers=[RecipientKey(key.public)]), length=len(MANY))
    envelope.seek(0)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        read_stream(envelope, full.write, KeyRing([key]))
