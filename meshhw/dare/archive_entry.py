"""Entries of an archive: what is kept of a file, and the names that are refused."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath

import msgspec

from meshhw.dare.header import ContentMeta
from meshhw.errors import FormatError, IntegrityError, UsageError

_MODES = 0o7777
_KEPT_MODES = 0o777
_TIME = re.compile(r"-?[0-9]{1,11}\.[0-9]{1,9}")


class EntryKind(StrEnum):
    """What an entry is; the value is its content type."""

    FILE = "application/octet-stream"
    DIRECTORY = "inode/directory"
    SYMLINK = "inode/symlink"


_KINDS = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.DIRECTORY, stat.S_IFLNK: EntryKind.SYMLINK}


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """One name in an archive. Its frame's body is the file's octets, or a symbolic link's target."""

    unique_id: str = msgspec.field(name="UniqueId")
    """The name: relative, with `/`."""
    kind: str = msgspec.field(default=EntryKind.FILE.value, name="cty")
    size: int = 0
    mode: int = 0o644
    last_write_time: str = ""
    """Seconds and nanoseconds since 1970, joined by a dot."""
    index: int = 0
    """The frame that holds it."""

    def content(self, event: str) -> ContentMeta:
        """The frame's content metadata."""
        entry = {"Mode": self.mode, "LastWriteTime": self.last_write_time}
        return ContentMeta(filename=self.unique_id, content_type=self.kind, event=event, file_entry=entry)

    def is_same(self, other: Entry | None) -> bool:
        """Whether nothing about the file has changed but perhaps the frame that holds it."""
        return other is not None and msgspec.structs.replace(self, index=other.index) == other

    @classmethod
    def of_content(cls, content: ContentMeta, size: int, index: int) -> Entry:
        """The entry of a frame. Raises FormatError."""
        kept = content.file_entry or {}
        mode, time = kept.get("Mode", 0o644), kept.get("LastWriteTime", "")
        if not content.filename or not isinstance(mode, int) or not isinstance(time, str):
            raise FormatError(f"frame {index} holds no file")
        kind = content.content_type or EntryKind.FILE.value
        return cls(
            unique_id=content.filename, kind=kind, size=size, mode=mode, last_write_time=time, index=index
        )


def scan(root: Path) -> Iterator[tuple[str, Entry]]:
    """Everything below a directory, its path and entry, in a stable order, links not followed. Raises
    UsageError for sockets and the like, OSError."""
    directories = [(str(root), "")]
    while directories:
        directory, below = directories.pop()
        with os.scandir(directory) as found:
            ordered = sorted(found, key=lambda child: (child.is_dir(follow_symlinks=False), child.name))
        inner = []
        for child in ordered:
            entry = _entry_of(child, below + child.name)
            if entry.kind == EntryKind.DIRECTORY:
                inner.append((child.path, entry.unique_id + "/"))
            yield child.path, entry
        directories += reversed(inner)


def _entry_of(found: os.DirEntry[str], name: str) -> Entry:
    """What is kept of one file under this name. Raises UsageError, OSError."""
    status = found.stat(follow_symlinks=False)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise UsageError(f"{found.path} is neither a file, a directory nor a link", hint="leave it out")
    if not name.isascii():
        _utf8(name)
    size = status.st_size if kind is EntryKind.FILE else 0
    time = f"{status.st_mtime_ns // 10**9}.{status.st_mtime_ns % 10**9:09}"
    return Entry(name, kind.value, size, status.st_mode & _MODES, time)


def link_target(path: str) -> bytes:
    """Where a link leads, as it stands. Raises UsageError, OSError."""
    return _utf8(str(Path(path).readlink()))


def _utf8(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name {name!r} is not UTF-8", hint="rename it") from error


def safe_name(name: str) -> PurePosixPath:
    """A name that stays inside the directory that it is extracted to. Raises IntegrityError."""
    parts = name.split("/")
    wrong = not name or "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts)
    if wrong or (len(parts[0]) > 1 and parts[0][1] == ":"):
        raise IntegrityError(f"the name {name[:80]!r} would leave the directory")
    return PurePosixPath(name)


def safe_target(name: PurePosixPath, target: str) -> str:
    """A symbolic link's target that stays inside. Raises IntegrityError."""
    depth = len(name.parts) - 1
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            break
    if not target or depth < 0 or target.startswith("/") or "\0" in target or "\\" in target:
        raise IntegrityError(f"the link {str(name)[:80]!r} would lead out of the directory")
    return target


def apply(place: Path | int, entry: Entry) -> None:
    """Give a file, by its path or open, its mode (without set-user-ID and the like) and times."""
    is_link = entry.kind == EntryKind.SYMLINK
    if not is_link:
        os.chmod(place, entry.mode & _KEPT_MODES)  # noqa: PTH101 - it may be open
    if _TIME.fullmatch(entry.last_write_time):  # what is no time of a file is left out
        seconds, _, fraction = entry.last_write_time.partition(".")
        at = int(seconds) * 10**9 + int(fraction)
        os.utime(place, ns=(at, at), follow_symlinks=not is_link)
