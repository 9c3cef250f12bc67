"""Which frame holds a key's latest entry: a small database beside a catalog, derived from it.

Keys are names of accounts and people, encrypted in the catalog; here they stand as MACs under a key that only
the catalog's readers can derive. The database may be deleted, and is rebuilt from the frames.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_VERSION = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS known (id INTEGER PRIMARY KEY, version INTEGER, identity BLOB, frames INTEGER,
    epoch INTEGER);
CREATE TABLE IF NOT EXISTS keys (mac BLOB PRIMARY KEY, first INTEGER, last INTEGER, live INTEGER)
    WITHOUT ROWID;
"""
_UPSERT = """
INSERT INTO keys VALUES (?, ?, ?, ?)
    ON CONFLICT (mac) DO UPDATE SET last = excluded.last, live = excluded.live
"""
_MAC_OCTETS = 16
_CHECKED = 16 << 20


class Place(NamedTuple):
    """Where a key's entries are: the first and the last frame, and whether the last one is no deletion."""

    first: int
    last: int
    live: bool


class KeyIndex:
    """Places by key. `frames` is how many of the sequence's frames it knows, `epoch` where the newest epoch
    begins."""

    def __init__(self, path: Path, identity: bytes, secret: bytes) -> None:
        """Open or make it. One that is foreign, damaged or of another version is made anew."""
        self._path = path.with_name(path.name + ".keys")
        self._identity = hashlib.sha256(identity + secret).digest()
        self._secret = secret
        self._fresh: dict[bytes, Place] = {}
        self.epoch = 0
        try:
            self._database = self._opened()
            self._require_sound()
            self.frames = self._state()
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            self._path.unlink(missing_ok=True)
            self._database = self._opened()
            self.frames = self._state()

    def get(self, key: str) -> Place | None:
        """Where a key is."""
        mac = self._mac(key)
        row = self._database.execute("SELECT first, last, live FROM keys WHERE mac = ?", (mac,)).fetchone()
        fresh = self._fresh.get(mac)
        if row is None:
            return fresh
        return Place(row[0], fresh.last, fresh.live) if fresh else Place(row[0], row[1], bool(row[2]))

    def put(self, key: str, index: int, *, live: bool) -> None:
        """A key's latest entry is this frame."""
        mac = self._mac(key)
        before = self._fresh.get(mac)
        self._fresh[mac] = Place(before.first if before else index, index, live)
        self.frames = index + 1

    def live(self) -> Iterator[int]:
        """The frames of all live entries, in order."""
        self.flush()
        for (last,) in self._database.execute("SELECT last FROM keys WHERE live ORDER BY last"):
            yield last

    def all(self, start: int = 0) -> Iterator[int]:
        """The last frame of every key, deleted ones too, in order; those from `start` on."""
        self.flush()
        query = "SELECT last FROM keys WHERE last >= ? ORDER BY last"
        for (last,) in self._database.execute(query, (start,)):
            yield last

    def flush(self) -> None:
        """Store what is new."""
        rows = [(mac, *self._fresh[mac]) for mac in sorted(self._fresh)]
        with self._database:
            self._database.executemany(_UPSERT, rows)
            self._database.execute(
                "INSERT OR REPLACE INTO known VALUES (1, ?, ?, ?, ?)",
                (_VERSION, self._identity, self.frames, self.epoch),
            )
        self._fresh.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._fresh.clear()
        with self._database:
            self._database.execute("DELETE FROM keys")
        self.frames = self.epoch = 0

    def close(self) -> None:
        """Close the database; what was not flushed is found again in the frames."""
        self._database.close()

    def _opened(self) -> sqlite3.Connection:
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        database = sqlite3.connect(self._path)
        database.execute("PRAGMA synchronous = OFF")  # derived: a crash costs a rebuild, not data
        database.execute("PRAGMA journal_mode = MEMORY")
        database.executescript(_TABLES)
        return database

    def _require_sound(self) -> None:
        """A damaged database is found at once, while looking through all of it is quick."""
        if self._path.stat().st_size <= _CHECKED:
            told = self._database.execute("PRAGMA quick_check(1)").fetchone()
            if told != ("ok",):
                raise sqlite3.DatabaseError("the index is damaged")

    def _state(self) -> int:
        row = self._database.execute("SELECT version, identity, frames, epoch FROM known").fetchone()
        if row is not None and row[0] == _VERSION and hmac.compare_digest(row[1], self._identity):
            self.epoch = int(row[3])
            return int(row[2])
        with self._database:
            self._database.execute("DELETE FROM keys")
        return 0

    def _mac(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(), key=self._secret, digest_size=_MAC_OCTETS).digest()
