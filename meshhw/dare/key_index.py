"""Which frame holds a key's latest entry: a small database beside a catalog, derived from it.

Keys are names of accounts and people, encrypted in the catalog; here they stand as MACs under a key that only
the catalog's readers can derive, and each row has a seal under it, so that a damaged one is noticed. The
database may be deleted, and is rebuilt from the frames.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

_VERSION = 4
_TABLES = """
CREATE TABLE IF NOT EXISTS known (id INTEGER PRIMARY KEY, version INTEGER, identity BLOB, frames INTEGER,
    epoch INTEGER, head BLOB, seal BLOB);
CREATE TABLE IF NOT EXISTS keys (mac BLOB PRIMARY KEY, first INTEGER, last INTEGER, live INTEGER, seal BLOB)
    WITHOUT ROWID;
"""
_UPSERT = """
INSERT INTO keys
    SELECT mac, first, last, live, seal(mac, first, last, live)
    FROM (SELECT ? AS mac, ? AS first, ? AS last, ? AS live) WHERE true
    ON CONFLICT (mac) DO UPDATE SET last = excluded.last, live = excluded.live,
        seal = resealed(mac, first, last, live, seal, excluded.last, excluded.live)
"""
_MAC_OCTETS = 16
_SEAL_OCTETS = 8
_CHECKED = 16 << 20


class Place(NamedTuple):
    """Where a key's entries are: the first and the last frame, and whether the last one is no deletion."""

    first: int
    last: int
    live: bool


class DamagedIndex(sqlite3.DatabaseError):
    """The index does not hold what was stored in it: `renew` it."""


class KeyIndex:
    """Places by key. `frames` is how many of the sequence's frames it knows, `epoch` where the newest epoch
    begins."""

    def __init__(
        self, path: Path, identity: bytes, secret: bytes, head: Callable[[int], bytes | None]
    ) -> None:
        """Open or make it. One that is foreign, damaged or of another version is made anew; so is one whose
        last frame has not the `head` that the sequence tells: it is of another copy, which has diverged."""
        self._path = path.with_name(path.name + ".keys")
        self._identity = hashlib.sha256(identity + secret).digest()
        self._secret = secret
        self._head = head
        self._fresh: dict[bytes, Place] = {}
        self._all_seen = False
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
        """Where a key is. Raises DamagedIndex."""
        mac = self._mac(key)
        query = "SELECT mac, first, last, live, seal FROM keys WHERE mac = ?"
        sealed = self._database.execute(query, (mac,)).fetchone()
        fresh = self._fresh.get(mac)
        if sealed is None:
            if fresh is None and not self._all_seen and self._is_quickly_read():
                self._last_frames(0)  # perhaps it is there, under another name
                self._all_seen = True
            return fresh
        row = self._unsealed(sealed)
        return Place(row[0], fresh.last, fresh.live) if fresh else Place(row[0], row[1], bool(row[2]))

    def put(self, key: str, index: int, *, live: bool) -> None:
        """A key's latest entry is this frame."""
        mac = self._mac(key)
        before = self._fresh.get(mac)
        self._fresh[mac] = Place(before.first if before else index, index, live)
        self.frames = index + 1

    def live(self) -> Iterator[int]:
        """The frames of all live entries, in order. Raises DamagedIndex before the first."""
        self.flush()
        yield from self._last_frames(0, live=True)

    def all(self, start: int = 0) -> Iterator[int]:
        """The last frame of every key, deleted ones too, in order; those from `start` on. Raises DamagedIndex
        before the first."""
        self.flush()
        yield from self._last_frames(start)

    def flush(self) -> None:
        """Store what is new."""
        rows = [(mac, *self._fresh[mac]) for mac in sorted(self._fresh)]
        with self._database:
            self._database.executemany(_UPSERT, rows)
            self._database.execute(
                "INSERT OR REPLACE INTO known SELECT 1, a, b, c, d, e, seal(a, b, c, d, e)"
                " FROM (SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e)",
                (_VERSION, self._identity, self.frames, self.epoch, self._head(self.frames - 1)),
            )
        self._fresh.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._fresh.clear()
        with self._database:
            self._database.execute("DELETE FROM keys")
        self.frames = self.epoch = 0

    def renew(self) -> None:
        """Make it anew, when it is damaged."""
        self._database.close()
        self._path.unlink(missing_ok=True)
        self._database = self._opened()
        self._fresh.clear()
        self._all_seen = True
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
        database.text_factory = lambda octets: octets.decode("latin-1")  # there is none but by damage
        database.create_function("seal", -1, self._seal, deterministic=True)
        database.create_function("resealed", 7, self._resealed, deterministic=True)
        database.executescript(_TABLES)
        return database

    def _require_sound(self) -> None:
        """A damaged database is found at once, while looking through all of it is quick."""
        with closing(sqlite3.connect(":memory:")) as sound:
            sound.executescript(_TABLES)
            if _schema(self._database) != _schema(sound):
                raise DamagedIndex("the index has other tables")
        if self._is_quickly_read():
            told = self._database.execute("PRAGMA quick_check(1)").fetchone()
            if told != ("ok",):
                raise sqlite3.DatabaseError("the index is damaged")

    def _is_quickly_read(self) -> bool:
        return self._path.stat().st_size <= _CHECKED

    def _last_frames(self, start: int, *, live: bool = False) -> array[int]:
        """All rows are looked at, since a damaged one may say anything of itself."""
        rows = map(self._unsealed, self._database.execute("SELECT mac, first, last, live, seal FROM keys"))
        return array("Q", sorted(last for _, last, alive in rows if last >= start and (alive or not live)))

    def _seal(self, *row: object) -> bytes:
        return hashlib.blake2b(repr(row).encode(), key=self._secret, digest_size=_SEAL_OCTETS).digest()

    def _is_seal(self, seal: object, *row: object) -> bool:
        return isinstance(seal, bytes) and hmac.compare_digest(seal, self._seal(*row))

    def _resealed(self, mac: object, first: object, *rest: object) -> bytes | None:
        """The seal of a row that is changed: none, which is no seal, where it was damaged before."""
        last, live, seal, new_last, new_live = rest
        sound = self._is_seal(seal, mac, first, last, live)
        return self._seal(mac, first, new_last, new_live) if sound else None

    def _unsealed(self, row: tuple[object, ...]) -> tuple[int, int, int]:
        mac, first, last, live, seal = row
        if not self._is_seal(seal, mac, first, last, live):
            raise DamagedIndex("a row of the index is damaged")
        return first, last, live  # type: ignore[return-value]  # as they were stored

    def _state(self) -> int:
        query = "SELECT version, identity, frames, epoch, head, seal FROM known"
        row = self._database.execute(query).fetchone()
        if row is not None and not self._is_seal(row[5], *row[:5]):
            raise DamagedIndex("what the index knows is damaged")
        ours = row is not None and row[0] == _VERSION and hmac.compare_digest(row[1], self._identity)
        if ours and row[4] == self._head(row[2] - 1):
            self.epoch = int(row[3])
            return int(row[2])
        with self._database:
            self._database.execute("DELETE FROM keys")
        return 0

    def _mac(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(), key=self._secret, digest_size=_MAC_OCTETS).digest()


def _schema(database: sqlite3.Connection) -> list[tuple[object, ...]]:
    return database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
