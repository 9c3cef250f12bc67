"""Taking files out of an archive, several at once, and nowhere but below the directory that was named."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from meshhw.dare.ahead import made_ahead
from meshhw.dare.archive_entry import Entry, EntryKind, apply, safe_name, safe_target
from meshhw.dare.archive_progress import Meter, Progress
from meshhw.dare.bodies import SMALLEST
from meshhw.dare.header import ContentMeta
from meshhw.dare.helper import in_two
from meshhw.dare.output import replacing, write_all
from meshhw.dare.read import Heading, Opened, Sink
from meshhw.dare.segments import SEGMENT, STORED
from meshhw.dare.sequence import Frame, SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import IntegrityError, KeyNotFound, MeshError

_NO_FILES = (EntryKind.DIRECTORY, EntryKind.SYMLINK)
_TOGETHER = 32
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_EXTRACTED_AHEAD = 1 << 26
"""Above, a file is told of while it is written, and not afterwards."""


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
    meter = Meter(progress, sum(entry.size for entry, _ in names))
    directories = _make_directories(names, target)
    small = [entry for entry, _ in names if entry.kind not in _NO_FILES and entry.size <= SEGMENT]
    _extract_small(archive, reader, small, target, meter)

    def write(
        place: _Place, over: Callable[[Sink], Sink] = lambda sink: sink, *, beside: bool = False
    ) -> bool:
        with replacing(place.path, private=True) as file:
            opened = reader.stream(place.frame, over(file.write), heading=place.heading, beside=beside)
            _require_same(opened.content, _size_of(place), place.entry)
        apply(place.path, place.entry)
        return True

    with made_ahead(_places(archive, reader, names, target), _is_extracted_ahead, write) as places:
        for place, written in places:
            if written:
                meter.count(place.entry.size)
            elif place.entry.kind == EntryKind.SYMLINK:
                _make_link(place, reader)
            else:
                write(place, meter.over, beside=True)
    for path, entry in reversed(directories):  # last, since what is written in them changes their times
        _require_same(reader.content(archive.frame(_index_in(archive, entry))), 0, entry)
        apply(path, entry)


def _extract_small(
    archive: SequenceFile, reader: SequenceReader, entries: Sequence[Entry], target: Path, meter: Meter
) -> None:
    """Write files of one segment, in two processes."""
    asked = os.getpid()
    parts = [entries[at : at + _TOGETHER] for at in range(0, len(entries), _TOGETHER)]
    if len(parts) > 1:
        reader.learn(_index_in(archive, entry) for entry in entries)

    def write(part: Sequence[Entry]) -> bytes:
        if os.getpid() != asked:
            reader.ask_nobody()  # tokens answer the process that opened them
        for entry in part:
            pieces, opened = _opened(reader, archive.frame(_index_in(archive, entry)), entry)
            _require_same(opened.content, sum(map(len, pieces)), entry)
            _write_whole(f"{target}/{entry.unique_id}", pieces, entry)
        return b""

    with in_two(parts, write) as done:
        for part, _ in zip(parts, done, strict=True):
            meter.count(sum(entry.size for entry in part))


def _opened(reader: SequenceReader, frame: Frame, entry: Entry) -> tuple[list[bytes], Opened]:
    """What a small frame holds. Raises IntegrityError for one that is not."""
    if frame.body_length > STORED:
        raise IntegrityError(f"the archive's index tells another size of {entry.unique_id[:80]!r}")
    pieces: list[bytes] = []
    return pieces, reader.stream(frame, lambda piece: pieces.append(bytes(piece)))


def _write_whole(path: str, octets: Sequence[bytes], entry: Entry) -> None:
    """A small file, whole or not at all, with its mode and times. Raises MeshError."""
    directory, _, name = path.rpartition("/")
    beside = f"{directory}/.{name[:40]}.{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(beside, _NEW, 0o600)
        try:
            for piece in octets:
                write_all(descriptor, piece)
            apply(descriptor, entry)
            os.rename(beside, path)  # noqa: PTH104 - what a Path costs is seen in ten thousand files
        except BaseException:
            os.unlink(beside)  # noqa: PTH108
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MeshError(f"{path} cannot be written: {error.strerror}") from error


class _Place(NamedTuple):
    """Where an entry is extracted to, and from. The frame and its header are found before a thread has it."""

    path: Path
    entry: Entry
    frame: Frame
    heading: Heading


def _size_of(place: _Place) -> int:
    return place.heading.plain_length(place.frame.body_length)


def _make_directories(names: Iterable[tuple[Entry, PurePosixPath]], target: Path) -> list[tuple[Path, Entry]]:
    """Make the directories among the entries, and those that any of them is in."""
    target.mkdir(parents=True, exist_ok=True)
    made: set[Path] = {target}
    known: set[str] = set()
    directories: list[tuple[Path, Entry]] = []
    for entry, name in names:
        parent = entry.unique_id.rpartition("/")[0]
        if parent not in known:
            known.add(parent)
            _make_parents(target / name, made)
        if entry.kind == EntryKind.DIRECTORY:
            _make_directory(target / name)
            directories.append((target / name, entry))
    return directories


def _places(
    archive: SequenceFile,
    reader: SequenceReader,
    names: Iterable[tuple[Entry, PurePosixPath]],
    target: Path,
) -> Iterator[_Place]:
    """All but the directories and the small files."""
    for entry, name in names:
        if entry.kind == EntryKind.SYMLINK or (entry.kind not in _NO_FILES and entry.size > SEGMENT):
            frame = archive.frame(_index_in(archive, entry))
            yield _Place(target / name, entry, frame, reader.heading(frame))


def _is_extracted_ahead(place: _Place) -> bool:
    return place.entry.kind != EntryKind.SYMLINK and SMALLEST <= place.frame.body_length <= _EXTRACTED_AHEAD


def _make_link(place: _Place, reader: SequenceReader) -> None:
    pieces, opened = _opened(reader, place.frame, place.entry)
    _require_same(opened.content, place.entry.size, place.entry)  # a link's is that of its text, or none
    link = b"".join(pieces).decode("utf-8", "replace")
    place.path.unlink(missing_ok=True)
    place.path.symlink_to(safe_target(safe_name(place.entry.unique_id), link))
    apply(place.path, place.entry)


def _index_in(archive: SequenceFile, entry: Entry) -> int:
    if not 0 < entry.index < len(archive):
        raise IntegrityError("the archive's index points outside of it")
    return entry.index


def _require_same(content: ContentMeta, size: int, entry: Entry) -> None:
    """The index may only say of a frame what it says itself."""
    if Entry.of_content(content, size, entry.index) != entry:
        raise IntegrityError(
            f"the archive's index tells another story of {entry.unique_id[:80]!r} than its frame"
        )


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
