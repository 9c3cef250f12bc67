"""Synchronising an account's stores through a shared directory (docs/formats.md, Synchronised stores).

First what others have written is verified and merged here, author by author; then this device's stores are
written there, and last the signed statement that covers them. Whatever interrupts it, the next run goes on:
what is in place is verified or ignored, and merging twice changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from meshhw import files
from meshhw.dare.exchange import KeyRing
from meshhw.dare.heads import SequenceHead, head_of
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.errors import IntegrityError, KeyNotFound, MeshError, NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.granted import doubled
from meshhw.managers.account.rekeying import statements_in
from meshhw.managers.account.standing import Standing, rings_of, standing
from meshhw.managers.account.stores import store_in
from meshhw.managers.sync.compacting import path_of, write_anew
from meshhw.managers.sync.folder import SUFFIX, Folder, read_from
from meshhw.managers.sync.leaving import left, own_removal
from meshhw.managers.sync.memory import Author, Memory, Position, remember, remembering
from meshhw.managers.sync.merging import ENTRIES, Tally, merge
from meshhw.managers.sync.mirror import LARGEST, Mirror, State
from meshhw.managers.sync.profiles import exchange_profile
from meshhw.managers.sync.spools import SPOOLS, merge_spool
from meshhw.managers.sync.statement import LIMIT, Statement, Stranger, read_statement, sign_statement
from meshhw.managers.sync.updates import take_updates, write_updates
from meshhw.schema.activation import ActivationCommon
from meshhw.udf import fingerprint

HEADS = "heads"
Keys = Mapping[str, Sequence[LocalKey]]


@dataclass(slots=True)
class AuthorReport:
    """What was found of one other device."""

    author: str
    state: State | None = None
    """None for an author that does not belong to the account: it was passed over."""
    unverified: int = 0
    """Frames in the directory that no signed head covers: they were not taken."""
    problem: str = ""


@dataclass(slots=True)
class Report:
    """What a synchronisation has done."""

    udf: str
    stores: dict[str, Tally] = field(default_factory=dict)
    authors: list[AuthorReport] = field(default_factory=list)
    profile: str = ""
    """`taken` or `written` where the profile was newer there or here."""
    updated: bool = False
    """Whether an administrator's update was installed."""
    updates_written: int = 0
    refused: list[str] = field(default_factory=list)
    """Updates for this device that were not installed, and why."""
    published: list[str] = field(default_factory=list)
    """The stores that were written to the directory."""

    @property
    def problems(self) -> list[str]:
        """What was refused, one line each."""
        authors = [f"{item.author}: {item.problem}" for item in self.authors if item.problem and item.state]
        return self.refused + authors


class Synchroniser:
    """One account of this home and one shared directory. `older`: go on when the directory holds less than
    was seen before, as a second stick does; nothing is lost by that."""

    def __init__(
        self, found: Standing, directory: Path, options: OpenOptions, *, older: bool = False
    ) -> None:
        """Raises KeyNotFound when the directory is not there."""
        self._found = found
        self._options = options
        self._older = older
        self._folder = Folder(directory, found.udf, found.author)
        self._report = Report(found.udf)

    def run(self) -> Report:
        """Take what others have written, then write what is here.

        What one author has wrong keeps no other from being taken; it is in the report. Raises what the token
        raises, IntegrityError for another profile of the account, StateError when the disk refuses.
        """
        with remembering(self._found.directory.path) as (memory, path):
            self._refresh(memory)
            remember(memory, path)
            held = self._found.keys(self._options)
            self._tell_doubled(held)
            rings = rings_of(held)
            keys = {store: ring for store, ring in rings.items() if store in {*ENTRIES, *SPOOLS}}
            names = self._ordered(self._folder.names(HEADS))
            for done, name in enumerate(names):
                self._options.interaction.progress("synchronising", done, len(names))
                self._take_author(name, keys, memory)
                remember(memory, path)
            self._tell_removal()
            self._publish(keys, memory)
            remember(memory, path)
        return self._report

    def _refresh(self, memory: Memory) -> None:
        """What an administrator has changed for this device, and the newest profile."""
        found, folder = self._found, self._folder
        seen = len(memory.updates)
        self._report.refused += take_updates(found, folder, memory, self._options)
        if len(memory.updates) > seen:
            self._found = found = standing(found.host, found.udf)
            self._report.updated = True
        self._report.profile = exchange_profile(found, folder)
        if self._report.profile:
            self._found = standing(found.host, found.udf)
        self._report.updates_written = write_updates(self._found, folder)

    def _tell_removal(self) -> None:
        """Say that this device was disconnected, where it has come to see so: else it could only wonder."""
        when = own_removal(self._found, self._peers)
        if when is not None:
            self._report.refused.append(
                f"this device was disconnected on {when:%Y-%m-%d %H:%M}: it has no key of what came after"
            )

    def _tell_doubled(self, held: ActivationCommon) -> None:
        """Say that two administrators disconnected devices at the same time: each gave its new keys to the
        device that the other one disconnected."""
        stores = doubled(held)
        if stores:
            self._report.refused.append(
                f"two administrators disconnected devices without having met, and what is written to "
                f"{', '.join(stores)} may be read by these devices still: "
                "`meshhw account rekey` on an administrator's device ends that"
            )

    def _ordered(self, names: Sequence[str]) -> list[str]:
        """Administrators first: they say who has left."""
        listed = {fingerprint(key) for key in administrators(self._found.profile)}
        return sorted(names, key=lambda name: _author(name) not in listed)

    def _take_author(self, name: str, keys: Keys, memory: Memory) -> None:
        author = _author(name)
        if "." in author:  # a synchroniser's conflict copy: each author writes its own file alone, and again
            return
        report = AuthorReport(author, State.SAME)
        try:
            octets = self._folder.read(name, LIMIT) or b""
            statement = self._read(octets, author, memory)
            seen = memory.author(author)
            self._require_newer(statement, octets, seen)
            report.state = self._take_stores(statement, keys, seen, report)
            if report.state is not State.INCOMPLETE and statement.number >= seen.number:
                seen.number, seen.digest = statement.number, hashlib.sha256(octets).digest()
        except Stranger as error:
            report.state, report.problem = None, error.message
        except MeshError as error:
            report.problem = error.message
        if author != self._found.author or report.problem:
            self._report.authors.append(report)

    def _read(self, octets: bytes, author: str, memory: Memory) -> Statement:
        """The author's statement. Raises Stranger for one that left after it was connected."""
        for name, said in left(self._found, self._peers).items():
            memory.left[name] = max(said, memory.left.get(name, said))
        when = memory.left.get(author) if author != self._found.author else None
        gone = Stranger(f"{author} was disconnected: nothing that it writes counts any more")
        try:
            statement = read_statement(octets, author, self._found)
        except MeshError:
            if when is not None:
                raise gone from None
            raise
        if when is not None and (statement.connected is None or statement.connected <= when):
            raise gone
        return statement

    def _require_newer(self, statement: Statement, octets: bytes, seen: Author) -> None:
        if statement.number < seen.number and not self._older:
            raise IntegrityError(
                f"the directory is older than what was seen of this device ({_time(statement.number)}, seen "
                f"{_time(seen.number)}): an older copy was put back, or this is another directory; "
                "--older goes on with it"
            )
        if statement.number == seen.number and hashlib.sha256(octets).digest() != seen.digest:
            raise IntegrityError("two different statements of this device have the same number")

    def _take_stores(self, statement: Statement, keys: Keys, seen: Author, report: AuthorReport) -> State:
        states = set()
        own = statement.author == self._found.author
        for store, head in statement.heads.items():
            if store not in keys or (own and self._holds(store, head)):
                continue
            mirror = Mirror(self._peers / statement.author / self._local(store).name)
            readers = [key.public for key in keys[store]]
            progress = mirror.advance(self._folder, self._name(store, statement.author), head, readers)
            report.unverified += progress.unverified
            states.add(progress.state)
            if progress.state is State.OLDER and not self._older:
                raise IntegrityError(f"the directory holds less of {store} than was seen before")
            if mirror.path.exists():
                self._merge(store, mirror, keys[store], seen)
            if own:
                self._begin_anew(store, head, keys[store], mirror)
                self._leave(store, mirror)
        return next(
            (state for state in (State.INCOMPLETE, State.OLDER, State.NEW) if state in states), State.SAME
        )

    def _merge(self, store: str, mirror: Mirror, keys: Sequence[LocalKey], seen: Author) -> None:
        with SequenceFile(mirror.path) as sequence:
            sequence_id, frames = sequence.sequence_id, len(sequence)
        before = seen.stores.get(store, Position())
        start = before.frames if before.sequence == sequence_id else 0
        if start >= frames:
            return
        try:
            tally = self._merged(store, mirror, keys, start)
        except KeyNotFound as error:
            raise NotSupported(
                f"{store} has newer keys than were given here: it waits for an administrator's update"
            ) from error
        self._report.stores.setdefault(store, Tally()).add(tally)
        seen.stores[store] = Position(sequence=bytes(sequence_id), frames=frames)

    def _merged(self, store: str, mirror: Mirror, keys: Sequence[LocalKey], start: int) -> Tally:
        if store in SPOOLS:
            return merge_spool(self._local(store), mirror.path, keys)
        found = self._found
        with store_in(found.directory.path, store, keys, found.author, writable=True) as ours:
            return merge(ours.catalog, store, mirror.path, KeyRing(keys), start)

    def _holds(self, store: str, head: SequenceHead) -> bool:
        """Whether what this device has said of its store before is the beginning of what is here."""
        path = self._local(store)
        if not path.exists():
            return False
        with SequenceFile(path) as sequence:
            same = sequence.sequence_id == head.sequence_id and head.head.index < len(sequence)
            return same and sequence.frame(head.head.index).tree_digest == head.head.digest

    def _begin_anew(self, store: str, head: SequenceHead, keys: Sequence[LocalKey], mirror: Mirror) -> None:
        """Go on in a new sequence: what stood in the old one is merged, but others know more of it than this
        device does (an older copy of its home was put back), and would refuse it."""
        with SequenceFile(self._local(store)) as sequence:
            if sequence.sequence_id != head.sequence_id:
                return
        copies = [path for path in (mirror.path,) if path.exists()]
        with self._found.signers(self._options) as signers:
            write_anew(self._found, store, keys, signers, copies)

    def _leave(self, store: str, mirror: Mirror) -> None:
        """What stood here before was merged: its copy goes, unless it says more of the store's keys."""
        if mirror.path.exists() and _statements(mirror.path) <= _statements(self._local(store)):
            mirror.forget()

    def _publish(self, keys: Keys, memory: Memory) -> None:
        """Write the stores of this device, and then what it says of them."""
        heads = {}
        for done, store in enumerate(sorted(keys)):
            self._options.interaction.progress("writing", done, len(keys))
            if self._local(store).exists():
                heads[store] = self._write_store(store)
        name = f"{HEADS}/{self._found.author}{SUFFIX}"
        seen = memory.author(self._found.author)
        if not heads or self._is_said(name, heads, seen):
            return
        number = max(seen.number + 1, int(datetime.now(UTC).timestamp() * 1000))
        with self._found.signers(self._options) as signers:
            octets = sign_statement(self._found, number, heads, signers).octets()
        self._folder.write(name, octets)
        seen.number, seen.digest = number, hashlib.sha256(octets).digest()

    def _write_store(self, store: str) -> SequenceHead:
        name = self._name(store, self._found.author)
        with SequenceFile(self._local(store)) as sequence:
            head, end = head_of(sequence), sequence.end
        octets = self._local(store).read_bytes()[:end]
        with self._folder.opened(name) as descriptor:
            there = None if descriptor is None else read_from(descriptor, 0, LARGEST)
        if there != octets:
            self._folder.write(name, octets)
            self._report.published.append(store)
        return head

    def _is_said(self, name: str, heads: Mapping[str, SequenceHead], seen: Author) -> bool:
        """Whether the statement that lies there is this device's last one, and says just this."""
        octets = self._folder.read(name, LIMIT)
        if octets is None or hashlib.sha256(octets).digest() != seen.digest:
            return False
        try:
            return read_statement(octets, self._found.author, self._found).heads == heads
        except Stranger:  # it was made before the administrator who had connected this device was removed
            return False

    def _local(self, store: str) -> Path:
        return path_of(self._found, store)

    def _name(self, store: str, author: str) -> str:
        """The file of that author's copy in the directory."""
        return f"{store}/{author}{self._local(store).suffix}"

    @property
    def _peers(self) -> Path:
        return files.private_directory(self._found.directory.path / "peers")


def _statements(path: Path) -> set[bytes]:
    return {said.octets() for said in statements_in(path)}


def _author(name: str) -> str:
    return name.removeprefix(f"{HEADS}/").removesuffix(SUFFIX)


def _time(number: int) -> str:
    return datetime.fromtimestamp(number / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if number else "never"
