"""Writing a store anew with what counts alone: versions that were replaced or deleted are gone from it.

The new file is another sequence, its second frame the old one's head, signed by this device. The account's
other devices take it whole when they synchronise, which changes nothing for them: every entry keeps its
stamp, and every deletion. What they have of older versions in stores of their own is theirs to write anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshhw import files
from meshhw.dare.catalog import Catalog
from meshhw.dare.exchange import KeyRing
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.signing import Signer
from meshhw.errors import UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.standing import Standing
from meshhw.managers.account.stores import store_in, store_path
from meshhw.managers.sync.memory import remembering
from meshhw.managers.sync.merging import ENTRIES

Rings = Mapping[str, Sequence[LocalKey]]


@dataclass(frozen=True, slots=True)
class Compacted:
    """One store that was written anew: its frames and octets before and after."""

    store: str
    frames_before: int
    frames: int
    octets_before: int
    octets: int


def compact(found: Standing, options: OpenOptions, wanted: Sequence[str] = ()) -> list[Compacted]:
    """Write the `wanted` stores anew, all that can be without: those that hold what no longer counts.

    The device catalog is left as it is: the profile names its heads, and proofs lead to them. Raises
    UsageError for a store that is none of this kind, NotSupported for one that no role grants, StateError
    while another process writes to one or synchronises, and what the token raises.
    """
    for store in wanted:
        _require_compactable(store)
    rings = found.store_rings(options)
    for store in wanted:
        if store not in rings:
            raise found.refusal(store)
    with remembering(found.directory.path):
        due = list(_due(found, rings, wanted or sorted(ENTRIES.keys() - {DEVICES})))
        if not due:
            return []
        with found.signers(options) as signers:
            return [_compact(found, store, rings[store], signers) for store in due]


def write_anew(path: Path, keys: Sequence[LocalKey], signers: Sequence[Signer]) -> None:
    """Put a compacted catalog in the place of the one at `path`, which nobody else writes to meanwhile."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with Catalog(path, KeyRing(keys)) as catalog:
        catalog.compact(beside, signers)
        beside.replace(path)
        files.sync_directory(path.parent)
    for place in (beside, path):
        for suffix in (".idx", ".keys"):
            place.with_name(place.name + suffix).unlink(missing_ok=True)


def _require_compactable(store: str) -> None:
    if store == DEVICES:
        raise UsageError(
            f"{DEVICES} stays as it is: the account's profile names its heads, and proofs lead to them"
        )
    if store not in ENTRIES:
        names = ", ".join(sorted(ENTRIES.keys() - {DEVICES}))
        raise UsageError(f"{store!r} is no store that can be compacted", hint=f"one of {names}")


def _due(found: Standing, rings: Rings, stores: Iterable[str]) -> Iterator[str]:
    for store in stores:
        if store in rings and store_path(found.directory.path, store).exists():
            with store_in(found.directory.path, store, rings[store], found.author) as opened:
                if opened.catalog.superseded():
                    yield store


def _compact(found: Standing, store: str, keys: Sequence[LocalKey], signers: Sequence[Signer]) -> Compacted:
    path = store_path(found.directory.path, store)
    before, octets_before = _frames(path), path.stat().st_size
    write_anew(path, keys, signers)
    return Compacted(store, before, _frames(path), octets_before, path.stat().st_size)


def _frames(path: Path) -> int:
    with SequenceFile(path, keeps_positions=False) as sequence:
        return len(sequence)
