"""Archives: a directory as one encrypted, signed sequence, read at any place, that grows by what changed.

A frame a file; at the end of each session an index frame with every name, and the signed head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from meshhw import files
from meshhw.dare.archive_entry import Entry, EntryKind, apply, entry_members, safe_name, safe_target, scan
from meshhw.dare.exchange import KeyFinder, RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import HEAD_TYPE, seal_head
from meshhw.dare.output import replacing
from meshhw.dare.policy import readers_of, session_policy
from meshhw.dare.prepare import Outline
from meshhw.dare.read import Sink
from meshhw.dare.segments import Octets
from meshhw.dare.sequence import Frame, SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, IntegrityError, KeyNotFound, MeshError, StateError
from meshhw.jsonbcd import Value, to_json

CONTENT_TYPE = "application/mmm-archive"
INDEX_TYPE = "application/mmm/sequence-index"
_STREAMED = 1 << 20
_TOLD_EVERY = 1 << 22
Told = Callable[[str], object]
"""Hears the name of each entry that is written."""
Progress = Callable[[int, int], object]
"""Hears how many octets are done, of how many."""


def make_archive(
    root: Path,
    path: Path,
    readers: Sequence[RecipientKey] = (),
    signers: Sequence[Signer] = (),
    told: Told = str,
    *,
    progress: Progress = max,
    sync: bool = False,
) -> int:
    """Archive a directory into a new file, which is there whole or not at all, and with `sync` outlasts a
    loss of power; the number of entries.

    Raises StateError when the file exists, UsageError for what cannot be archived, and what signers raise.
    """
    if path.exists():
        raise StateError(f"{path} is there already", hint="--update adds to it what has changed")
    beside = path.with_name(f".{path.name}.part")
    beside.unlink(missing_ok=True)
    create(beside, Creation(content_type=CONTENT_TYPE, policy=session_policy(readers)))
    try:
        with SequenceWriter(beside, readers, keeps_positions=False) as writer:
            count = _add(writer, scan(root), {}, told, progress)
            _seal(writer, signers, sync=sync)
        beside.rename(path)
        if sync:
            files.sync_directory(path.parent)
    finally:
        beside.unlink(missing_ok=True)
    return count


def update_archive(
    root: Path,
    path: Path,
    finder: KeyFinder,
    signers: Sequence[Signer] = (),
    told: Told = str,
    *,
    progress: Progress = max,
    sync: bool = False,
) -> int:
    """Append what changed since: new and changed files, and the deletion of those that are gone.

    It is encrypted to the keys of the archive. Raises KeyNotFound and the like when the names in it cannot be
    decrypted, FormatError, IntegrityError.
    """
    with SequenceFile(path, keeps_positions=False) as archive:
        readers = readers_of(archive)
    with SequenceWriter(path, readers, keeps_positions=False) as writer:
        known = read_index(writer, SequenceReader(writer, finder))
        count = _add(writer, scan(root), known, told, progress)
        if count:
            _seal(writer, signers, sync=sync)
    return count


def read_index(archive: SequenceFile, reader: SequenceReader) -> dict[str, Entry]:
    """Every name with its entry: from the index frame at the end, else by reading every header."""
    last = len(archive) - 1
    for index in range(last, max(last - 2, 0), -1):
        frame = archive.frame(index)
        content, _ = reader.heading(frame).texts()
        if content.content_type == INDEX_TYPE:
            return _parse_index(reader.open(index).payload)
        if content.content_type != HEAD_TYPE:
            break
    return _scan_headers(archive, reader)


def extract(
    archive: SequenceFile,
    reader: SequenceReader,
    entries: Iterable[Entry],
    target: Path,
    progress: Progress = max,
) -> None:
    """Write entries below `target`, each file whole or not at all, links last.

    Raises IntegrityError for names and links that would leave the directory, and for what does not decrypt.
    """
    ordered = sorted(entries, key=lambda entry: (entry.kind == EntryKind.SYMLINK, entry.unique_id))
    names = [(entry, safe_name(entry.unique_id)) for entry in ordered]
    target.mkdir(parents=True, exist_ok=True)
    directories, made = [], {target}
    meter = _Meter(progress, sum(entry.size for entry, _ in names))
    for entry, name in names:
        place = target / name
        _make_parents(place, made)
        if entry.kind == EntryKind.DIRECTORY:
            _make_directory(place)
            directories.append((place, entry))
            continue
        frame = _frame_of(archive, entry)
        if entry.kind == EntryKind.SYMLINK:
            opened = reader.open(entry.index)
            _require_named(opened.content, entry)
            link = opened.payload.decode("utf-8", "replace")
            place.unlink(missing_ok=True)
            place.symlink_to(safe_target(name, link))
        else:
            with replacing(place, private=True) as file:
                _require_named(reader.stream(frame, meter.over(file.write)).content, entry)
        apply(place, entry)
    for place, entry in reversed(directories):  # last, since what is written in them changes their times
        apply(place, entry)


def _add(
    writer: SequenceWriter,
    found: Iterable[tuple[Path, Entry]],
    known: Mapping[str, Entry],
    told: Told,
    progress: Progress,
) -> int:
    """Append what differs from what is known, and the index; the number of changes."""
    entries: dict[str, Entry] = {}
    changed: list[tuple[Path, Entry]] = []
    for path, entry in found:
        before = known.get(entry.unique_id)
        same = before is not None and entry.is_same(before)
        entries[entry.unique_id] = before if before is not None and same else entry
        if not same:
            changed.append((path, entry))
    meter = _Meter(progress, sum(entry.size for _, entry in changed))
    for path, entry in changed:
        told(entry.unique_id)
        index = _append(writer, path, entry, "Update" if entry.unique_id in known else "New", meter)
        entries[entry.unique_id] = _at(entry, index)
    gone = known.keys() - entries.keys()
    for name in gone:
        writer.append(b"", Outline(content=ContentMeta(filename=name, event="Delete")))
    if changed or gone or not known:
        _append_index(writer, entries)
    return len(changed) + len(gone)


def _seal(writer: SequenceWriter, signers: Sequence[Signer], *, sync: bool) -> None:
    if signers:
        seal_head(writer, signers)
    writer.flush(sync=sync)


def _append(writer: SequenceWriter, path: Path, entry: Entry, event: str, meter: _Meter) -> int:
    outline = Outline(content=entry.content(event))
    if entry.kind == EntryKind.DIRECTORY:
        return writer.append(b"", outline)
    if entry.kind == EntryKind.SYMLINK:
        return writer.append(str(path.readlink()).encode(), outline)
    with path.open("rb", buffering=0) as file:
        if entry.size >= _STREAMED:
            return writer.append_stream(cast("BinaryIO", _Watched(file, meter)), entry.size, outline)
        payload = file.readall()
    if len(payload) != entry.size:
        raise StateError(f"{path} changed while it was read", hint="repeat when nothing writes to it")
    meter.count(len(payload))
    return writer.append(payload, outline)


class _Meter:
    """Counts octets that are done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done, self._told = progress, total, 0, 0

    def count(self, octets: int) -> None:
        self._done += octets
        if self._done - self._told >= _TOLD_EVERY or self._done == self._total:
            self._told = self._done
            self._progress(self._done, self._total)

    def over(self, sink: Sink) -> Sink:
        """A sink that counts what goes through it."""

        def counting(piece: Octets) -> None:
            sink(piece)
            self.count(len(piece))

        return counting


class _Watched:
    """A file whose reading is counted."""

    def __init__(self, file: RawIOBase, meter: _Meter) -> None:
        self._file, self._meter = file, meter

    def read(self, count: int) -> bytes:
        octets = self._file.read(count) or b""
        self._meter.count(len(octets))
        return octets


def _append_index(writer: SequenceWriter, entries: Mapping[str, Entry]) -> None:
    held = [entry_members(entry) for entry in entries.values()]
    value: dict[str, Value] = {"SequenceIndex": {"Full": True, "Positions": held}}
    content = ContentMeta(content_type=INDEX_TYPE)
    payload = to_json(value)
    writer.append_stream(BytesIO(payload), len(payload), Outline(content=content))


def _parse_index(octets: bytes) -> dict[str, Entry]:
    """What a reader of the archive wrote: plain JSON, of which a million entries may come."""
    try:
        index = msgspec.json.decode(octets, type=_Index).index
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError("the archive's index is damaged") from error
    return {entry.unique_id: entry for entry in index.positions}


class _Positions(msgspec.Struct, rename="pascal"):
    positions: list[Entry]


class _Index(msgspec.Struct):
    index: _Positions = msgspec.field(name="SequenceIndex")


def _scan_headers(archive: SequenceFile, reader: SequenceReader) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for frame in archive.frames(1):
        heading = reader.heading(frame)
        content, _ = heading.texts()
        if content.event == "Delete" and content.filename:
            entries.pop(content.filename, None)
        elif content.filename:
            entry = Entry.of_content(content, heading.plain_length(frame.body_length), frame.index)
            entries[entry.unique_id] = entry
    return entries


def _frame_of(archive: SequenceFile, entry: Entry) -> Frame:
    if not 0 < entry.index < len(archive):
        raise IntegrityError("the archive's index points outside of it")
    return archive.frame(entry.index)


def _require_named(content: ContentMeta, entry: Entry) -> None:
    """The index may only point to the frame that has the name itself."""
    if content.filename != entry.unique_id or (content.content_type or "") != entry.kind:
        raise IntegrityError(f"the archive's index leads to another file than {entry.unique_id[:80]!r}")


def _make_parents(place: Path, made: set[Path]) -> None:
    """The directories between the target, which is in `made`, and a place in it."""
    if place.parent not in made:
        _make_parents(place.parent, made)
        _make_directory(place.parent)
        made.add(place.parent)


def _make_directory(place: Path) -> None:
    """A real directory: a link in its place would lead writing elsewhere."""
    if place.is_symlink():
        raise IntegrityError(f"{place} is a link", hint="extract to an empty directory")
    with suppress(FileExistsError):
        place.mkdir()
    if not place.is_dir():
        raise MeshError(f"{place} is in the way", hint="extract to an empty directory")


def _at(entry: Entry, index: int) -> Entry:
    return msgspec.structs.replace(entry, index=index)


def choose(entries: Mapping[str, Entry], names: Sequence[str]) -> list[Entry]:
    """The entries of these names and below them; all without names. Raises KeyNotFound."""
    if not names:
        return list(entries.values())
    chosen: dict[str, Entry] = {}
    for name in names:
        plain = name.rstrip("/")
        fitting = [entry for key, entry in entries.items() if key == plain or key.startswith(plain + "/")]
        if not fitting:
            raise KeyNotFound(f"the archive holds no {name!r}", hint="`meshhw dare list --names` shows them")
        chosen |= {entry.unique_id: entry for entry in fitting}
    return list(chosen.values())
