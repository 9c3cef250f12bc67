"""Taking over what another device has written into the store of this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meshhw.dare.catalog import DELETE, Catalog
from meshhw.dare.exchange import KeyFinder
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import FormatError
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.devices import signed_digests
from meshhw.managers.account.stamp import Stamp, Version, copy_of, merged
from meshhw.schema.codec import decode
from meshhw.schema.entry import (
    CatalogedAccess,
    CatalogedApplication,
    CatalogedBookmark,
    CatalogedContact,
    CatalogedCredential,
    CatalogedDevice,
    CatalogedEntry,
    CatalogedNetwork,
    CatalogedPublication,
    CatalogedTask,
)

ENTRIES: dict[str, type[CatalogedEntry]] = {
    "MMM_Access": CatalogedAccess,
    "MMM_Application": CatalogedApplication,
    "MMM_Bookmark": CatalogedBookmark,
    "MMM_Contact": CatalogedContact,
    "MMM_Credential": CatalogedCredential,
    "MMM_Device": CatalogedDevice,
    "MMM_Network": CatalogedNetwork,
    "MMM_Publication": CatalogedPublication,
    "MMM_Task": CatalogedTask,
}
"""The catalogs that are synchronised, and what they hold."""
RIGHTS = frozenset({"MMM_Access", DEVICES})
"""Catalogs that say who may do what: there a deletion wins over an update, and no copy is kept beside."""


@dataclass(slots=True)
class Tally:
    """What merging has done to one store."""

    taken: int = 0
    deleted: int = 0
    conflicts: list[str] = field(default_factory=list)
    """The keys under which versions that did not win are kept."""
    refused: int = 0
    """Entries that are of another class than the store's."""

    def add(self, other: Tally) -> None:
        """Count what was done to the same store from another device."""
        self.taken += other.taken
        self.deleted += other.deleted
        self.conflicts += other.conflicts
        self.refused += other.refused


def merge(catalog: Catalog, store: str, path: Path, finder: KeyFinder, start: int) -> Tally:
    """Merge the events of the copy at `path`, from frame `start` on, into the catalog of this device.

    Raises DecryptionFailed, KeyNotFound, FormatError for a copy that does not open; what was merged until
    then stays, and merging it again changes nothing.
    """
    tally = Tally()
    with SequenceFile(path) as sequence:
        for key, version in _versions(sequence, finder, start):
            if version.payload is not None and not _fits(version.payload, store):
                tally.refused += 1
                continue
            _take(catalog, store, key, version, tally)
    return tally


def _versions(sequence: SequenceFile, finder: KeyFinder, start: int) -> Iterator[tuple[str, Version]]:
    """The last version of every key in these frames: an author's later one follows its earlier ones."""
    reader = SequenceReader(sequence, finder)
    last: dict[str, int] = {}
    for frame in sequence.frames(max(start, 1)):
        if key := reader.content(frame).unique_id:
            last[key] = frame.index
    for key, index in sorted(last.items(), key=lambda item: item[1]):
        opened = reader.open(index)
        payload = None if opened.content.event == DELETE else opened.payload
        yield key, Version(Stamp.of(opened.content.key_values), payload)


def _take(catalog: Catalog, store: str, key: str, theirs: Version, tally: Tally) -> None:
    ours = _held(catalog, key)
    outcome = merged(ours, theirs, deletions_win=store in RIGHTS)
    if outcome.beside is not None and store not in RIGHTS:
        copy, kept = copy_of(key, outcome.beside)
        before = _held(catalog, copy)
        result = merged(before, kept, deletions_win=False).version
        if result != before:
            _write(catalog, store, copy, result)
            tally.conflicts.append(copy)
    if outcome.version != ours:
        changes = ours is None or ours.payload != outcome.version.payload
        _write(catalog, store, key, outcome.version)
        if outcome.version.payload is None:
            tally.deleted += changes and ours is not None
        else:
            tally.taken += changes


def _held(catalog: Catalog, key: str) -> Version | None:
    entry = catalog.latest(key)
    if entry is None:
        return None
    return Version(Stamp.of(entry.key_values), entry.payload if entry.live else None)


def _write(catalog: Catalog, store: str, key: str, version: Version) -> None:
    attributes = (version.stamp.attribute,)
    if version.payload is None:
        catalog.bury(key, attributes)
        return
    digests = signed_digests(decode(version.payload, CatalogedDevice)) if store == DEVICES else ()
    catalog.put(key, version.payload, attributes, digests=digests)


def _fits(payload: bytes, store: str) -> bool:
    try:
        decode(payload, ENTRIES[store])
    except FormatError:
        return False
    return True
