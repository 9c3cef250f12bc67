"""Files that hold a person's state: private modes that are checked, atomic replacement, locks.

Directories are 0700 and files 0600. A file is replaced by writing a new one beside it, syncing it and
renaming it, so that a reader, or a machine that loses power, finds the old or the new one, whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from meshhw.errors import DiskFull, InsecurePermissions, StateError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_POLL = 0.02
_FEW = 8
NONE_LEFT = "this process has no file descriptor left"
MORE = "raise the limit (`ulimit -n`) and repeat"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_named(word: str) -> bool:
    """Whether a word that may be a file's name or another's is a file's: there is one, or it is spelled as a
    path and nothing else."""
    return word.startswith(("/", "./", "../")) or Path(word).is_file()


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

    Raises DiskFull, StateError when the disk refuses; the old file is then untouched.
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
        raise _refusal(path, error) from error


def append(descriptor: int, path: Path, data: bytes) -> None:
    """Add `data` to the end of an open file so that it stays. Raises DiskFull, StateError."""
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError as error:
        raise _refusal(path, error) from error


def sync_directory(path: Path) -> None:
    """Make renames and removals in a directory last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file so that it stays away; absent is fine. Raises StateError."""
    try:
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise StateError(f"{path} cannot be removed: {error.strerror}") from error


@contextmanager
def locked(path: Path, timeout: float = 10.0) -> Iterator[None]:
    """Hold the lock of `path` (a file beside it), and clear away what an interrupted `replace` left.

    The lock ends with the process, however that ends. Raises StateError after `timeout` seconds, and where
    the lock's file cannot be opened.
    """
    with _lock_file(path) as file:
        lock(file.fileno(), path, timeout)
        clear_away(path.parent, f".{path.name}.*.new")
        yield


def names(directory: Path, pattern: str) -> list[str]:
    """The sorted names in a directory that fit; none where there is no directory. Raises StateError."""
    try:
        return sorted(name for name in _listed(directory) if fnmatchcase(name, pattern))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(f"{directory} cannot be listed: {error.strerror}") from error


def _listed(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def clear_away(directory: Path, pattern: str) -> None:
    """Remove the files that fit; what cannot be removed now is in nobody's way. Raises StateError."""
    for name in names(directory, pattern):
        with suppress(OSError):
            (directory / name).unlink()


def _lock_file(path: Path) -> IO[bytes]:
    beside = path.with_name(path.name + ".lock")
    try:
        return open(beside, "ab", opener=_private_opener)
    except OSError as error:
        raise _refusal(beside, error) from error


def _refusal(path: Path, error: OSError) -> StateError:
    kind = DiskFull if error.errno in _NO_ROOM else StateError
    return kind(f"{path} cannot be written: {error.strerror}")


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


def descriptors_left() -> bool:
    """Whether this process may open the few files more that any use of a token takes."""
    opened: list[int] = []
    try:
        opened += (os.open(os.devnull, os.O_RDONLY) for _ in range(_FEW))
    except OSError:
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True


def unlock(descriptor: int) -> None:
    """Give up the lock of an open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
