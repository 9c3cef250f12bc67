"""The shared directory of one account: a USB stick, a network drive, what a folder synchroniser copies.

Whoever can write to it can put anything there. Only plain files are read, each within a limit; a file is
written under a name of its own and renamed. Every file has one author, apart from profile and device
updates, which are the same whoever writes them; so no two devices ever write to one file at once, and what a
synchroniser calls a conflict copy (the name with something added) is read beside the file.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from meshhw.errors import FormatError, KeyNotFound, StateError
from meshhw.files import sync_directory

SUFFIX = ".dare"
_MOST_FILES = 4096
_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """`DIR/UDF`, as one author uses it."""

    def __init__(self, directory: Path, udf: str, author: str) -> None:
        """Raises KeyNotFound when the shared directory is not there, StateError for a link in its place."""
        if not directory.is_dir():
            raise KeyNotFound(
                f"the directory {directory} is not there", hint="plug in what it is on, or make it first"
            )
        self.path = directory / udf
        self._author = author
        self._made(self.path)
        for left in self.path.glob(f"**/.{author}.*.part"):
            with suppress(OSError):
                left.unlink()

    def read(self, name: str, limit: int) -> bytes | None:
        """The octets of a file, None where there is none. Raises FormatError for one that is no plain file or
        longer than `limit`."""
        with self.opened(name) as descriptor:
            if descriptor is None:
                return None
            octets = read_from(descriptor, 0, limit + 1)
        if len(octets) > limit:
            raise FormatError(f"{self.path / name} is longer than {limit} octets")
        return octets

    @contextmanager
    def opened(self, name: str) -> Iterator[int | None]:
        """The descriptor of a plain file, None where there is none. Raises FormatError for anything else."""
        path = self.path / name
        try:
            descriptor = os.open(path, _NO_LINK)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise FormatError(f"{path} cannot be read: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FormatError(f"{path} is no plain file")
            yield descriptor
        finally:
            os.close(descriptor)

    def names(self, beneath: str, stem: str = "") -> list[str]:
        """The `.dare` files beneath a sub-directory whose names begin with `stem`, conflict copies too."""
        try:
            with os.scandir(self.path / beneath) as entries:
                found = [entry.name for entry, _ in zip(entries, range(_MOST_FILES), strict=False)]
        except OSError:
            return []
        fitting = (
            name
            for name in found
            if name.startswith(stem) and name.endswith(SUFFIX) and not name.startswith(".")
        )
        return sorted(f"{beneath}/{name}" if beneath else name for name in fitting)

    def write(self, name: str, octets: bytes) -> None:
        """Put a file in place, whole or not at all. Raises StateError when the directory refuses."""
        path = self.path / name
        self._made(path.parent)
        beside = path.with_name(f".{self._author}.{secrets.token_hex(8)}.part")
        try:
            with beside.open("xb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            with suppress(OSError):  # file systems of sticks and networks may not know how
                sync_directory(path.parent)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise StateError(f"{path} cannot be written: {error.strerror}") from error

    def _made(self, path: Path) -> None:
        if path.is_symlink():
            raise StateError(f"{path} is a link", hint="remove it: it may lead out of the shared directory")
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise StateError(f"{path} cannot be made: {error.strerror}") from error


def read_from(descriptor: int, position: int, most: int) -> bytes:
    """The octets from a position on, `most` of them."""
    parts = []
    while most and (part := os.pread(descriptor, min(most, 1 << 24), position)):
        parts.append(part)
        position += len(part)
        most -= len(part)
    return b"".join(parts)
