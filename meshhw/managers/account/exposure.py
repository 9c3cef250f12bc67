"""What a device that is lost may still read from before: store by store, and key by key.

A device holds every key that its stores had until it is disconnected, and so reads all that was written
under them, in whatever copy it comes by. What was written is counted in this machine's stores and in the
copies that it has of other devices' stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshhw.dare.catalog import DELETE
from meshhw.dare.exchange import KeyRing
from meshhw.dare.local import LocalKey
from meshhw.dare.naming import is_named
from meshhw.dare.prepare import Cipher
from meshhw.dare.read import cipher_of
from meshhw.dare.sequence import Frame, SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.spool import COMPLETION
from meshhw.managers.account.granted import epochs_of, private_key
from meshhw.managers.account.stamp import Stamp
from meshhw.schema.activation import ActivationCommon

Version = tuple[str, str, int]
"""An entry's key, who wrote it, and when: the same in every copy."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """What was written to one store under one of its keys."""

    store: str
    epoch: int
    entries: int
    """Different entries; in a spool messages."""
    versions: int
    """All versions of them that a copy here has."""

    def __str__(self) -> str:
        told = f"{self.entries} {'entry' if self.entries == 1 else 'entries'}"
        return told if self.versions == self.entries else f"{told} in {self.versions} versions"


def exposed(directory: Path, held: ActivationCommon, stores: Iterable[str]) -> list[Exposed]:
    """What was written until now to these stores of an account's directory, under each of their keys. What
    stands under two keys in different copies counts for the earlier. Raises what a damaged store raises."""
    return [item for store in sorted(stores) for item in _in_store(directory, held, store)]


def _in_store(directory: Path, held: ActivationCommon, store: str) -> Iterator[Exposed]:
    first: dict[Version, int] = {}
    for path in copies(directory, store):
        for version, epoch in readable(path, held, store):
            first[version] = min(epoch, first.get(version, epoch))
    for epoch in sorted({item.epoch or 0 for item in epochs_of(held, store)}):
        here = [version for version, found in first.items() if found == epoch]
        yield Exposed(store, epoch, len({key for key, _, _ in here}), len(here))


def copies(directory: Path, store: str) -> list[Path]:
    """This machine's copy of a store or spool, and those that it has of other devices'."""
    found = [*directory.glob(f"stores/{store}.d*"), *directory.glob(f"peers/*/{store}.d*")]
    return sorted(path for path in found if path.suffix in (".dcat", ".dspl"))


def readable(path: Path, held: ActivationCommon, store: str) -> Iterator[tuple[Version, int]]:
    """The versions in one copy that these keys open, each with its key's epoch; the key that an entry was
    deleted under is no version of it."""
    keys = [(item.epoch or 0, private_key(item.key, store)) for item in epochs_of(held, store)]
    with SequenceFile(path) as sequence:
        reader = SequenceReader(sequence, KeyRing([key for _, key in keys]))
        for frame in sequence.frames(1):
            epoch = _epoch(reader, frame, keys)
            if epoch is None:
                continue
            content = reader.content(frame)
            if content.unique_id and content.event != DELETE and content.message_type != COMPLETION:
                stamp = Stamp.of(content.key_values)
                yield (content.unique_id, stamp.author, stamp.time), epoch


def _epoch(reader: SequenceReader, frame: Frame, keys: Sequence[tuple[int, LocalKey]]) -> int | None:
    """Which of these keys opens a frame; None for what is in clear, or for another key."""
    if cipher_of(frame.header) is Cipher.NONE:
        return None
    names = reader.readers(frame)
    for epoch, key in keys:
        if any(is_named(key.public, name) for name in names):
            return epoch
    return None
