"""Archives: a directory as one encrypted, signed sequence, read at any place, that grows by what changed.

A frame a file; at the end of each session an index frame with every name, and the signed head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from meshhw import files
from meshhw.dare.ahead import made_ahead
from meshhw.dare.archive_entry import Entry, EntryKind, link_target, scan
from meshhw.dare.archive_progress import Meter, Progress, Watched
from meshhw.dare.bodies import LARGEST, SMALLEST, BodyMaker, open_plain, read_plain
from meshhw.dare.digests import SHA256, digest_name
from meshhw.dare.exchange import KeyFinder, RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import HEAD_TYPE, seal_head
from meshhw.dare.helper import in_two
from meshhw.dare.policy import readers_of, session_policy
from meshhw.dare.prepare import Outline
from meshhw.dare.running import Sealed, pack, unpack
from meshhw.dare.segments import SEGMENT
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.signing import Signer
from meshhw.errors import FormatError, StateError

CONTENT_TYPE = "application/mmm-archive"
INDEX_TYPE = "application/mmm/sequence-index"
_TOGETHER = 32
"""Small entries that are handed between two processes at once."""
Told = Callable[[str], object]
"""Hears the name of each entry that is written."""


def make_archive(
    root: Path,
    path: Path,
    readers: Sequence[RecipientKey] = (),
    signers: Sequence[Signer] = (),
    told: Told = str,
    *,
    progress: Progress = max,
    sync: bool = False,
    sealed: Callable[[SequenceFile], object] = id,
) -> int:
    """Archive a directory into a new file, which is there whole or not at all, and with `sync` outlasts a
    loss of power; the number of entries. Whoever keeps heads is shown what was `sealed`.

    Raises StateError when the file exists, UsageError for what cannot be archived, and what signers raise.
    """
    if path.exists():
        raise StateError(f"{path} is there already", hint="--update adds to it what has changed")
    beside = path.with_name(f".{path.name}.part")
    beside.unlink(missing_ok=True)
    create(beside, Creation(content_type=CONTENT_TYPE, policy=session_policy(readers), dig=SHA256))
    try:
        with SequenceWriter(beside, readers, keeps_positions=False) as writer:
            count = _add(writer, scan(root), {}, told, progress)
            _seal(writer, signers, sync=sync)
            sealed(writer)
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


def _add(
    writer: SequenceWriter,
    found: Iterable[tuple[str, Entry]],
    known: Mapping[str, Entry],
    told: Told,
    progress: Progress,
) -> int:
    """Append what differs from what is known, and the index; the number of changes."""
    entries: dict[str, Entry] = {}
    changed: list[tuple[str, Entry]] = []
    for path, entry in found:
        before = known.get(entry.unique_id)
        same = before is not None and entry.is_same(before)
        entries[entry.unique_id] = before if before is not None and same else entry
        if not same:
            changed.append((path, entry))
    meter = Meter(progress, sum(entry.size for _, entry in changed))
    first = len(writer)
    seed = writer.begin_session() if changed and writer.is_encrypting else b""
    bodies = BodyMaker(seed, digest_name(writer.first.header))

    def content(entry: Entry) -> ContentMeta:
        return entry.content("Update" if entry.unique_id in known else "New")

    def seal(numbers: Sequence[int]) -> bytes:
        return pack([_sealed(writer, first + number, *changed[number], content) for number in numbers])

    small = _sealed_apart(writer, changed)
    with (
        in_two([small[at : at + _TOGETHER] for at in range(0, len(small), _TOGETHER)], seal) as packed,
        made_ahead(changed, _is_made_ahead, lambda item: bodies.make(item[0], item[1].size)) as pairs,
    ):
        sealed = chain.from_iterable(map(unpack, packed))
        for (path, entry), made in pairs:
            told(entry.unique_id)
            number = len(writer) - first
            if made is not None:
                index = writer.append_made(made, Outline(content=content(entry)))
                bodies.leave(made)
            elif number and small and entry.size <= SEGMENT:
                index = writer.append_sealed(next(sealed))
            else:
                index = _append(writer, path, entry, Outline(content=content(entry)), meter)
            meter.count(entry.size if entry.size <= LARGEST else 0)  # more is counted while it is read
            entries[entry.unique_id] = _at(entry, index)
    gone = known.keys() - entries.keys()
    for name in gone:
        writer.append(b"", Outline(content=ContentMeta(filename=name, event="Delete")))
    if changed or gone or not known:
        _append_index(writer, entries)
    return len(changed) + len(gone)


def _sealed_apart(writer: SequenceWriter, changed: Sequence[tuple[str, Entry]]) -> list[int]:
    """The entries, by their number, that are sealed before their turn: all small ones of a session that is
    encrypted, but for its first frame, which has the recipients."""
    if not writer.is_encrypting:
        return []
    return [number for number, (_, entry) in enumerate(changed) if number and entry.size <= SEGMENT]


def _sealed(
    writer: SequenceWriter, index: int, path: str, entry: Entry, content: Callable[[Entry], ContentMeta]
) -> Sealed:
    session = writer.running_session(index)
    assert session is not None
    return session.seal(index, content(entry), _payload(path, entry))


def _is_made_ahead(item: tuple[str, Entry]) -> bool:
    return SMALLEST <= item[1].size <= LARGEST  # only files have a size


def _seal(writer: SequenceWriter, signers: Sequence[Signer], *, sync: bool) -> None:
    if signers:
        seal_head(writer, signers)
    writer.flush(sync=sync)


def _append(writer: SequenceWriter, path: str, entry: Entry, outline: Outline, meter: Meter) -> int:
    if entry.size > LARGEST:
        with open_plain(path) as file:
            return writer.append_stream(cast("BinaryIO", Watched(file, meter)), entry.size, outline)
    return writer.append(_payload(path, entry), outline)


def _payload(path: str, entry: Entry) -> bytes:
    """What a frame of a small entry holds."""
    if entry.kind == EntryKind.DIRECTORY:
        return b""
    return link_target(path) if entry.kind == EntryKind.SYMLINK else read_plain(path, entry.size)


def _append_index(writer: SequenceWriter, entries: Mapping[str, Entry]) -> None:
    payload = msgspec.json.encode(_Index(_Positions(True, list(entries.values()))))
    writer.append_stream(
        BytesIO(payload), len(payload), Outline(content=ContentMeta(content_type=INDEX_TYPE))
    )


def _parse_index(octets: bytes) -> dict[str, Entry]:
    """What a reader of the archive wrote: plain JSON, of which a million entries may come."""
    try:
        index = msgspec.json.decode(octets, type=_Index).index
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError("the archive's index is damaged") from error
    return {entry.unique_id: entry for entry in index.positions}


class _Positions(msgspec.Struct, rename="pascal"):
    full: bool
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


def _at(entry: Entry, index: int) -> Entry:
    return msgspec.structs.replace(entry, index=index)
