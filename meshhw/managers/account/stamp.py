"""What every entry says of its origin, and the rule by which two versions of one entry become one.

A stamp counts, author by author, the writes of the entry that its writer had seen. One version follows
another when it has seen all of its writes; otherwise the two were written without knowledge of each other,
and one rule decides, the same on every device (docs/formats.md, Synchronised stores).
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from meshhw.dare.header import KeyValue
from meshhw.errors import FormatError

NAME = "Stamp"
_MOST = 1 << 53
_AUTHORS = 1024
_COPY = " (conflict "


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who wrote a version and when, in milliseconds since 1970, and the writes that it follows, its own
    counted."""

    author: str = ""
    time: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def attribute(self) -> KeyValue:
        """The stamp as an attribute of its entry."""
        counts = (f"{author}={count}" for author, count in sorted(self.counts.items()))
        return KeyValue(NAME, " ".join([str(self.time), self.author, *counts]))

    @classmethod
    def of(cls, attributes: Iterable[KeyValue]) -> Stamp:
        """The stamp among an entry's attributes; an empty one where there is none. Raises FormatError."""
        for attribute in attributes:
            if attribute.key == NAME:
                return cls._parse(attribute.value)
        return cls()

    @classmethod
    def _parse(cls, text: str) -> Stamp:
        time, author, *rest = [*text.split(" "), "", ""][: _AUTHORS + 2]
        counts = {name: _number(count) for name, _, count in (item.partition("=") for item in rest if item)}
        return cls(author, _number(time), counts)

    def follows(self, other: Stamp) -> bool:
        """Whether everything that `other` has seen was seen here, too."""
        return all(self.counts.get(author, 0) >= count for author, count in other.counts.items())

    def joined(self, other: Stamp) -> Stamp:
        """This author's version, after both were seen."""
        authors = {*self.counts, *other.counts}
        counts = {name: max(self.counts.get(name, 0), other.counts.get(name, 0)) for name in authors}
        return Stamp(self.author, self.time, counts)


def next_stamp(author: str, before: Stamp | None) -> Stamp:
    """The stamp of a new version by this author; later in time than what it follows, whatever the clock
    says."""
    before = before or Stamp()
    now = int(datetime.now(UTC).timestamp() * 1000)
    counts = {**before.counts, author: before.counts.get(author, 0) + 1}
    return Stamp(author, max(now, before.time + 1), counts)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an entry; `payload` is None where it was deleted."""

    stamp: Stamp
    payload: bytes | None = field(repr=False)

    @property
    def _rank(self) -> tuple[int, str, bytes]:
        return self.stamp.time, self.stamp.author, hashlib.sha256(self.payload or b"").digest()


@dataclass(frozen=True, slots=True)
class Merged:
    """What two versions become: the one that counts, and the one to keep beside it as a copy."""

    version: Version
    beside: Version | None = None


def merged(ours: Version | None, theirs: Version, *, deletions_win: bool) -> Merged:
    """The version that follows from both. The outcome is the same whichever of them is called ours.

    A version that follows the other takes its place. Of two that were written apart, an update wins over a
    deletion, or the deletion where `deletions_win`; of two updates the later one wins, and the other is kept
    beside it.
    """
    if ours is None or ours == theirs:
        return Merged(theirs)
    if ours.stamp.counts != theirs.stamp.counts:
        if ours.stamp.follows(theirs.stamp):
            return Merged(ours)
        if theirs.stamp.follows(ours.stamp):
            return Merged(theirs)
    winner, loser = _ranked(ours, theirs, deletions_win)
    version = Version(winner.stamp.joined(loser.stamp), winner.payload)
    if winner.payload is None or loser.payload in (None, winner.payload):
        return Merged(version)
    return Merged(version, loser)


def copy_of(key: str, version: Version) -> tuple[str, Version]:
    """The key and the version under which the one that did not win is kept, the same on every device."""
    tag = b32encode(hashlib.sha256(version.payload or b"").digest())[:8].decode()
    stamp = Stamp(version.stamp.author, version.stamp.time, {version.stamp.author: 1})
    return f"{key}{_COPY}{tag})", Version(stamp, version.payload)


def is_copy(key: str) -> bool:
    """Whether an entry's key is that of a version that did not win."""
    return _COPY in key and key.endswith(")")


def _ranked(ours: Version, theirs: Version, deletions_win: bool) -> tuple[Version, Version]:
    if (ours.payload is None) != (theirs.payload is None):
        ours_first = (ours.payload is None) is deletions_win
    else:
        ours_first = ours._rank >= theirs._rank
    return (ours, theirs) if ours_first else (theirs, ours)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) < _MOST):
        raise FormatError("an entry's stamp is damaged")
    return int(text)
