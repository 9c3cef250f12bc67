"""Writing a store anew with what counts alone: versions that were replaced or deleted, and messages that are
closed, are gone from it.

The new file is another sequence, its second frame the old one's head, signed by this device. The account's
other devices take it whole when they synchronise, which changes nothing for them: every entry keeps its
stamp, and every deletion; of a closed message its name and what closed it are left. What they have of older
versions in stores of their own is theirs to write anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meshhw import files
from meshhw.dare.catalog import Catalog
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.heads import SequenceProof
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.signing import Signer
from meshhw.dare.spool_compact import Keep, compact_spool, superseded
from meshhw.errors import UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.answering import Answers
from meshhw.managers.account.devices import STORE as DEVICES
from meshhw.managers.account.journal import left_over, profile_in
from meshhw.managers.account.pins import STORE as PINS
from meshhw.managers.account.standing import Standing, standing
from meshhw.managers.account.stores import spool_path, store_in, store_path
from meshhw.managers.account.vouching import statement_proofs
from meshhw.managers.sync.memory import remembering
from meshhw.managers.sync.merging import ENTRIES
from meshhw.managers.sync.spools import SPOOLS

Rings = Mapping[str, Sequence[LocalKey]]
STORES = frozenset({*ENTRIES, *SPOOLS})


@dataclass(frozen=True, slots=True)
class Compacted:
    """One store that was written anew: its frames and octets before and after."""

    store: str
    frames_before: int
    frames: int
    octets_before: int
    octets: int


def compact(found: Standing, options: OpenOptions, wanted: Sequence[str] = ()) -> list[Compacted]:
    """Write the `wanted` stores anew, without any all of them: those that hold what no longer counts.

    Raises UsageError for a store that is none of this kind, NotSupported for one that no role grants,
    StateError while another process writes to one or synchronises, and what the token raises.
    """
    for store in wanted:
        _require_compactable(store)
    rings = found.store_rings(options)
    for store in wanted:
        if store not in rings:
            raise found.refusal(store)
    with remembering(found.directory.path):
        _sweep(found)
        due = list(_due(found, rings, wanted or sorted(STORES)))
        if not due:
            return []
        with found.signers(options) as signers:
            return [_compact(found, store, rings[store], signers) for store in due]


def write_anew(
    found: Standing,
    store: str,
    keys: Sequence[LocalKey],
    signers: Sequence[Signer],
    copies: Sequence[Path] | None = None,
) -> None:
    """Put a compacted store in the place of the one that is here, which stays until the new one is whole.
    Where others know more of it than this device does, their `copies` of it help to prove what was in it, and
    messages that are closed stay. Raises as `compact`."""
    path = path_of(found, store)
    beside = path.with_name(f".{path.name}.new")
    _remove(beside)
    if store in SPOOLS:
        with _needed(found, store) as keep, SequenceWriter(path) as old:
            whole = keep if copies is None else lambda _: True
            reader, readers = SequenceReader(old, KeyRing(keys)), [RecipientKey(keys[0].public)]
            compact_spool(reader, beside, signers, readers=readers, keep=whole)
            _put_in_place(beside, path)
    else:
        with Catalog(path, KeyRing(keys)) as catalog:
            catalog.compact(beside, signers, _proofs(found, path, copies or ()))
            _put_in_place(beside, path)
    _remove_derived(path)


def path_of(found: Standing, store: str) -> Path:
    """Where a catalog or spool of the account is."""
    return (spool_path if store in SPOOLS else store_path)(found.directory.path, store)


def _proofs(found: Standing, path: Path, copies: Sequence[Path]) -> list[SequenceProof]:
    """What the compacted device catalog still has to prove: the profile, or the one that an interrupted
    disconnection will put in its place, names heads of the old one. Asked while nobody can add to it."""
    if path.stem != DEVICES:
        return []
    journal = left_over(found)
    profiles = [standing(found.host, found.udf).profile]
    profiles += [profile_in(journal)] if journal is not None else []
    proofs = (
        proof for profile in profiles for one in (path, *copies) for proof in statement_proofs(profile, one)
    )
    return list({proof.payload_digest: proof for proof in proofs}.values())


@contextmanager
def _needed(found: Standing, store: str) -> Iterator[Keep]:
    """Which messages are needed whole though they are closed: PINs of connections that were interrupted,
    which whoever goes on with them asks for again. No connection begins or ends meanwhile."""
    if store != PINS:
        yield lambda _: False
        return
    answers = Answers(found.directory.path)
    with files.locked(answers.lock):
        yield answers.pins().__contains__


def _sweep(found: Standing) -> None:
    """Remove what a compaction has left that was killed, also of stores that are not compacted now."""
    for pattern in (".MMM_*.new", ".MMM_*.new.*", "..MMM_*.new.*.part"):
        files.clear_away(path_of(found, PINS).parent, pattern)


def _put_in_place(beside: Path, path: Path) -> None:
    _remove_derived(beside)
    beside.replace(path)
    files.sync_directory(path.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _remove_derived(path)


def _remove_derived(path: Path) -> None:
    for suffix in (".idx", ".keys"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _require_compactable(store: str) -> None:
    if store not in STORES:
        raise UsageError(f"{store!r} is no store", hint=f"one of {', '.join(sorted(STORES))}")


def _due(found: Standing, rings: Rings, stores: Iterable[str]) -> Iterator[str]:
    for store in stores:
        if store in rings and path_of(found, store).exists() and _superseded(found, store, rings[store]):
            yield store


def _superseded(found: Standing, store: str, keys: Sequence[LocalKey]) -> int:
    if store not in SPOOLS:
        with store_in(found.directory.path, store, keys, found.author) as opened:
            return opened.catalog.superseded()
    with _needed(found, store) as keep, SequenceFile(path_of(found, store)) as sequence:
        return superseded(SequenceReader(sequence, KeyRing(keys)), keep)


def _compact(found: Standing, store: str, keys: Sequence[LocalKey], signers: Sequence[Signer]) -> Compacted:
    path = path_of(found, store)
    before, octets_before = _frames(path), path.stat().st_size
    write_anew(found, store, keys, signers)
    return Compacted(store, before, _frames(path), octets_before, path.stat().st_size)


def _frames(path: Path) -> int:
    with SequenceFile(path, keeps_positions=False) as sequence:
        return len(sequence)
