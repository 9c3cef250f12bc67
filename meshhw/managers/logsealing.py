"""Closing the running use log into a Merkle sequence, `log.dcat`, under a signed head.

Each line becomes a frame, so that any entry can be proven to whoever trusts the head. The running file then
begins anew; its first entry is the signing of the head, which is itself the use of a key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.header import ContentMeta, parse_content_meta
from meshhw.dare.heads import HEAD_TYPE, MEMORY, HeadMemory, seal_head, sealed_head
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import Frame, SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.signing import Signer
from meshhw.errors import IntegrityError, StateError
from meshhw.managers import uselog

CONTENT_TYPE = "application/mmm-uselog"
_LINE_TYPE = "application/json"
_LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is sealed: entries, the head's frame, and who signed it (nobody after an interrupted sealing)."""

    entries: int
    head: int
    signers: tuple[PublicKey, ...] = ()


def seal(home: Path, signer: Signer, *, older: bool = False) -> Sealed:
    """Move the running log's entries into the sequence and sign its head.

    An interruption at any point loses no entry and doubles none. Onto a copy that is `older` than what was
    seen here nothing is sealed unasked. Raises IntegrityError for that and for a log whose chain is broken,
    StateError, and what the signer raises.
    """
    path = sequence_path(home)
    if not path.exists():
        files.private_directory(home)
        create(path, Creation(content_type=CONTENT_TYPE))
    with SequenceWriter(path) as writer:
        HeadMemory(home / MEMORY).accept(writer, anew=older)
        _move_lines(writer, home / "log.jsonl")
        seal_head(writer, [signer])
        writer.flush(sync=True)
    return verify(home)


def verify(home: Path, *, older: bool = False) -> Sealed:
    """Check the whole sequence and its signed head, and that nothing is gone that was sealed here before,
    unless an `older` copy is to be taken, which is not remembered.

    Raises IntegrityError, FormatError, SignatureInvalid.
    """
    path = sequence_path(home)
    if not path.exists():
        return Sealed(0, 0)
    with SequenceFile(path) as sequence:
        report = check_sequence(sequence)
        sealed = sealed_head(sequence)
        entries = sum(_is_line(frame) for frame in sequence.frames(1))
        if report.torn_at is not None:
            raise IntegrityError("the sealed log is torn", hint="`meshhw log sign` cuts the torn end off")
        if not older:
            HeadMemory(home / MEMORY).accept(sequence)
    return Sealed(entries, report.frames - 1, sealed[1] if sealed else ())


def entries(home: Path) -> Iterator[uselog.Entry]:
    """All entries, the sealed ones first. Raises IntegrityError."""
    path = sequence_path(home)
    if path.exists():
        with SequenceFile(path) as sequence:
            for frame in sequence.frames(1):
                if _is_line(frame):
                    yield _entry(b"".join(sequence.body(frame)))
    for entry, _ in uselog.entries(home / "log.jsonl"):
        yield entry


def sequence_path(home: Path) -> Path:
    """Where the sealed log is."""
    return home / "log.dcat"


def _move_lines(writer: SequenceWriter, log: Path) -> None:
    """Under the log's lock: copy what is not copied yet, let it last, then empty the log."""
    with suppress(FileNotFoundError):
        descriptor = os.open(log, os.O_RDWR | os.O_CLOEXEC)
        try:
            files.lock(descriptor, log, _LOCK_SECONDS)
            uselog.verify(log)
            lines = [line for _, line in uselog.entries(log)]
            for line in lines[_already_there(writer, lines) :]:
                writer.append(line, Outline(content=ContentMeta(content_type=_LINE_TYPE)))
            writer.flush(sync=True)
            os.ftruncate(descriptor, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _already_there(writer: SequenceWriter, lines: list[bytes]) -> int:
    """How many lines an interrupted sealing has copied: the last frames, back to one that began a log."""
    copied: list[bytes] = []
    for frame in writer.backwards():
        if not _is_line(frame):
            break
        copied.append(b"".join(writer.body(frame)))
        if _entry(copied[-1]).index == 0:
            break
    copied.reverse()
    if not copied or not lines or copied[0] != lines[0]:
        return 0
    if lines[: len(copied)] != copied:
        raise StateError("the running log is not the one whose sealing was interrupted", hint="move it away")
    return len(copied)


def _is_line(frame: Frame) -> bool:
    kind = parse_content_meta(frame.header.content_meta).content_type
    if kind not in (_LINE_TYPE, HEAD_TYPE, CONTENT_TYPE):
        raise IntegrityError(f"frame {frame.index} of the sealed log is no entry")
    return kind == _LINE_TYPE


def _entry(line: bytes) -> uselog.Entry:
    try:
        return msgspec.json.decode(line, type=uselog.Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError("a line of the sealed log is not an entry") from error
