"""The use log: every private-key operation in one hash-chained file, `log.jsonl`.

A line is a JSON object: index, time, key, operation, caller, result, and the SHA-256 of the line before it
(newline included), so that no line can be changed, dropped or moved without all later ones showing it. What
the chain cannot show by itself, a cut-off end, a signed head does (`meshhw log sign`).

An append is one write under the file's lock and is not synced by itself: it survives the death of the
process, and `close` syncs it against the loss of power. That keeps a token's signature as fast as it is.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import Operation
from meshhw.errors import IntegrityError, StateError
from meshhw.keystore.uri import KeyURI

MAX_LINE = 16_384
"""Octets of a line; a key URI has at most 4096 characters."""
START = "0" * 64
_LOCK_SECONDS = 10.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    index: int
    time: str
    key: str
    """The key's URI without its query; empty for what the log says of itself."""
    operation: str
    caller: str
    result: str
    """`ok` or the name of the error's class."""
    previous: str


class Head(msgspec.Struct, frozen=True):
    """How far a verified log goes: the number of entries and the digest of the last line."""

    count: int
    digest: str


class UseLog:
    """The recorder that is handed to drivers. One per process and home; usable from any thread."""

    def __init__(self, path: Path, caller: str) -> None:
        """`caller` is what the person started, as `meshhw key sign`. The file is made at the first entry."""
        self._path = path
        self._caller = caller
        self._mutex = threading.Lock()
        self._descriptor: int | None = None
        self._end = -1
        self._head = Head(0, START)

    def record(self, key: KeyURI, operation: Operation, result: str) -> None:
        """Append one entry. Raises StateError when it cannot be written: then the result of the operation
        must not be released either."""
        self._append(str(KeyURI(key.scheme, key.path)), operation.value, result)

    def close(self) -> None:
        """Make what was written last, and let go of the file."""
        with self._mutex:
            if self._descriptor is not None:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = None

    def _append(self, key: str, operation: str, result: str) -> None:
        with self._mutex:
            descriptor = self._open()
            files.lock(descriptor, self._path, _LOCK_SECONDS)
            try:
                if os.fstat(descriptor).st_size != self._end:
                    self._catch_up(descriptor)
                self._write(descriptor, key, operation, result)
            finally:
                files.unlock(descriptor)

    def _open(self) -> int:
        if self._descriptor is None:
            files.private_directory(self._path.parent)
            files.check_private(self._path)
            try:
                self._descriptor = os.open(
                    self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
                )
            except OSError as error:
                raise StateError(f"the use log {self._path} cannot be opened: {error.strerror}") from error
            self._end = -1
        return self._descriptor

    def _catch_up(self, descriptor: int) -> None:
        """Go on after what other processes wrote, and mend a last line that a crash tore."""
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, 2 * MAX_LINE, max(0, size - 2 * MAX_LINE))
        torn = len(tail) - (tail.rfind(b"\n") + 1)
        if torn > MAX_LINE:
            raise self._damaged()
        whole = tail[: len(tail) - torn]
        self._end = size - torn
        self._head = self._head_of(whole[whole[:-1].rfind(b"\n") + 1 :])
        if torn:
            os.ftruncate(descriptor, self._end)
            self._write(descriptor, "", "repair", f"dropped {torn} octets of a torn line")

    def _head_of(self, line: bytes) -> Head:
        if not line:
            return Head(0, START)
        try:
            return Head(_parse(line).index + 1, _digest(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged() from error

    def _write(self, descriptor: int, key: str, operation: str, result: str) -> None:
        entry = Entry(
            index=self._head.count,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            key=key,
            operation=operation,
            caller=self._caller,
            result=result,
            previous=self._head.digest,
        )
        line = msgspec.json.encode(entry) + b"\n"
        try:
            written = os.write(descriptor, line)
        except OSError as error:
            raise StateError(f"the use log {self._path} cannot be written: {error.strerror}") from error
        if written != len(line):  # a full disk took a part
            os.ftruncate(descriptor, self._end)
            raise StateError(f"the use log {self._path} cannot be written: no space is left")
        self._end += written
        self._head = Head(entry.index + 1, _digest(line))

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            f"the last line of the use log {self._path} is damaged",
            hint=f"see `meshhw log verify`, then move it away: mv '{self._path}' '{self._path}.damaged'",
        )


def entries(path: Path) -> Iterator[tuple[Entry, bytes]]:
    """Each entry with its line. Raises IntegrityError at a line that is no entry."""
    files.check_private(path)
    if not path.exists():
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if not line.endswith(b"\n"):
                raise IntegrityError(
                    f"line {number} of the use log is torn",
                    hint="the next operation mends it and says so in the log",
                )
            try:
                yield _parse(line), line
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise IntegrityError(f"line {number} of the use log is not an entry") from error


def verify(path: Path) -> Head:
    """Check the whole chain. Raises IntegrityError that names the first line where it breaks."""
    head = Head(0, START)
    for entry, line in entries(path):
        if entry.index != head.count or entry.previous != head.digest:
            raise IntegrityError(
                f"the use log's chain breaks at line {head.count + 1}",
                hint="that line or the one before it was changed, moved or removed",
            )
        head = Head(head.count + 1, _digest(line))
    return head


_DECODER = msgspec.json.Decoder(Entry)


def _parse(line: bytes) -> Entry:
    return _DECODER.decode(line)


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
