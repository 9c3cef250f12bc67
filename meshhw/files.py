"""Files that hold a person's state: private modes that are checked, atomic replacement, locks.

Directories are 0700 and files 0600. A file is replaced by writing a new one beside it, syncing it and
renaming it, so that a reader, or a machine that loses power, finds the old or the new one, whole.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from meshhw.errors import InsecurePermissions, StateError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_POLL = 0.02


def private_directory(path: Path) -> Path:
    """Make a directory (and its parents) that only its owner may enter, or check the one that is there.

    Raises InsecurePermissions, StateError when it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"the directory {path} cannot be made: {error.strerror}") from error
    check_private(path)
    return path


def check_private(path: Path) -> None:
    """Raise InsecurePermissions when others can read or write `path`, or when it belongs to somebody else.

    A path that does not exist is fine.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"{path} cannot be looked at: {error.strerror}") from error
    if found.st_uid != os.geteuid():
        raise InsecurePermissions(
            f"{path} belongs to another user", hint="use another directory with --home or MESHHW_HOME"
        )
    if found.st_mode & _OTHERS:
        mode = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise InsecurePermissions(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):03o})",
            hint=f"chmod {mode} '{path}'",
        )


def read_private(path: Path, limit: int) -> bytes | None:
    """The octets of a private file, None if there is none.

    Raises InsecurePermissions, and StateError for a file above `limit` octets or that cannot be read.
    """
    check_private(path)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise StateError(f"{path} is larger than the {limit} octets that it may have")
    return data


def replace(path: Path, data: bytes) -> None:
    """Put `data` into `path` (mode 0600) so that it is there whole or not at all, and stays.

    Raises StateError when the disk refuses; the old file is then untouched.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        with open(beside, "xb", opener=_private_opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise StateError(f"{path} cannot be written: {error.strerror}") from error


def append(descriptor: int, path: Path, data: bytes) -> None:
    """Add `data` to the end of an open file so that it stays. Raises StateError when the disk refuses."""
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Make renames and removals in a directory last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, timeout: float = 10.0) -> Iterator[None]:
    """Hold the lock of `path` (a file beside it), and clear away what an interrupted `replace` left.

    The lock ends with the process, however that ends. Raises StateError after `timeout` seconds.
    """
    with open(path.with_name(path.name + ".lock"), "ab", opener=_private_opener) as file:
        lock(file.fileno(), path, timeout)
        for left in path.parent.glob(f".{path.name}.*.new"):
            left.unlink(missing_ok=True)
        yield


def lock(descriptor: int, path: Path, timeout: float) -> None:
    """Take the exclusive lock of an open file. Raises StateError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise StateError(
                    f"{path} is in use by another meshhw", hint="wait for it to end and repeat"
                ) from error
        time.sleep(_POLL)


def unlock(descriptor: int) -> None:
    """Give up the lock of an open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
