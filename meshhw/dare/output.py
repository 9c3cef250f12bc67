"""Files that take their name only when everything in them has been checked."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from meshhw.dare.segments import Octets
from meshhw.errors import MeshError
from meshhw.files import sync_directory


@contextmanager
def replacing(path: Path, *, private: bool = False, sync: bool = False) -> Iterator[BinaryIO]:
    """Write a new file beside `path` that takes its place when the block ends without an error, and is
    removed otherwise. `private` makes it mode 0600; `sync` makes it outlast a loss of power.

    Raises MeshError when the directory or disk refuses.
    """
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb", opener=_private if private else None) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
        if sync:
            sync_directory(path.parent)
    except OSError as error:
        raise MeshError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def write_all(descriptor: int, octets: Octets) -> None:
    """Write all of these octets. Raises OSError."""
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
