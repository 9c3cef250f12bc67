"""What this device remembers between two synchronisations: `sync.json` in the account's directory.

Of every author the number of its last statement and that statement's digest, so that an older directory is
noticed; of every copy how far it was merged. Without it all is merged again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.errors import FormatError, NewerVersion

VERSION = 1
_LIMIT = 4 << 20


class Position(msgspec.Struct, kw_only=True):
    """How far the copy of one store was merged."""

    sequence: bytes = b""
    frames: int = 0


class Author(msgspec.Struct, kw_only=True):
    """What was seen of one author."""

    number: int = 0
    digest: bytes = b""
    stores: dict[str, Position] = {}


class Memory(msgspec.Struct, kw_only=True):
    """All of it."""

    version: int = VERSION
    authors: dict[str, Author] = {}
    updates: list[bytes] = []
    """The digests of administrators' updates that were installed or found to be older."""
    left: dict[str, datetime] = {}
    """The authors that have left the account, and when."""

    def author(self, name: str) -> Author:
        """What was seen of this author, to be changed."""
        return self.authors.setdefault(name, Author())


@contextmanager
def remembering(directory: Path) -> Iterator[tuple[Memory, Path]]:
    """The memory of one account, locked: one synchronisation at a time. Raises StateError when another one
    runs, FormatError, NewerVersion."""
    path = directory / "sync.json"
    with files.locked(path):
        data = files.read_private(path, _LIMIT)
        try:
            memory = msgspec.json.decode(data, type=Memory) if data else Memory()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(
                f"{path} is damaged: {error}", hint="remove it: older directories are then not noticed"
            ) from error
        if memory.version > VERSION:
            raise NewerVersion(f"{path} was written by a later version")
        yield memory, path


def remember(memory: Memory, path: Path) -> None:
    """Keep it."""
    files.replace(path, msgspec.json.encode(memory) + b"\n")
