"""Bodies that are made before their header: read, encrypted and digested by threads, several at once."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from io import FileIO
from typing import BinaryIO, NamedTuple, cast

from meshhw.dare.kdf import SALT_OCTETS, body_key
from meshhw.dare.memory import Memory
from meshhw.dare.segments import SEGMENT, Octets, encrypt_stream, stored_length
from meshhw.errors import StateError

LARGEST = 12 << 20
"""Octets of a payload that is made so: three of these are in memory at once."""
SMALLEST = 1 << 17
"""Below, handing it to a thread costs more than its digest."""
_AT_ONCE = 4
"""Segments: few, so that they are in the processor's cache yet when the same thread digests them."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class MadeBody(NamedTuple):
    """A stored body in memory, and what its header and trailer must say."""

    pieces: Sequence[Octets]
    digest: bytes
    salt: bytes
    memory: Memory


class BodyMaker:
    """Makes bodies under one session's seed, or in clear without one. Safe in several threads."""

    def __init__(self, seed: bytes, digest: str = "sha512") -> None:
        self._seed, self._digest = seed, digest
        self._spare: list[Memory] = []

    def make(self, path: str, length: int) -> MadeBody:
        """The body of a file of this length. Raises OSError, StateError when it has another."""
        memory = self._spare.pop() if self._spare else Memory(LARGEST // (_AT_ONCE * SEGMENT))
        salt = secrets.token_bytes(SALT_OCTETS)
        digest, pieces, rest = hashlib.new(self._digest), list[Octets](), self._stored(length)
        with open_plain(path) as file:
            for piece in self._pieces(file, salt, memory):
                rest -= len(piece)
                if rest < 0:
                    break
                digest.update(piece)
                pieces.append(piece)
        if rest:
            raise changed(path)
        return MadeBody(pieces, digest.digest(), salt, memory)

    def leave(self, made: MadeBody) -> None:
        """Use its memory again."""
        self._spare.append(made.memory)

    def _stored(self, length: int) -> int:
        return stored_length(length) if self._seed else length

    def _pieces(self, file: FileIO, salt: bytes, memory: Memory) -> Iterator[Octets]:
        if self._seed:
            return encrypt_stream(
                body_key(self._seed, salt), cast("BinaryIO", file), memory=memory, at_once=_AT_ONCE
            )
        return iter(lambda: file.read(_AT_ONCE * SEGMENT), b"")


def open_plain(path: str) -> FileIO:
    """A file that was seen to be plain: should it be something else now, it is neither followed nor waited
    for."""
    return FileIO(os.open(path, _FLAGS), "rb")


def read_plain(path: str, length: int) -> bytes:
    """The octets of a small plain file. Raises OSError, StateError when it has not this length."""
    descriptor = os.open(path, _FLAGS)
    try:
        octets = os.read(descriptor, length + 1)
    finally:
        os.close(descriptor)
    if len(octets) != length:
        raise changed(path)
    return octets


def changed(path: str) -> StateError:
    """That a file has another length than when it was seen first."""
    return StateError(f"{path} changed while it was read", hint="repeat when nothing writes to it")
