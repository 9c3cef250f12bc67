"""One process appends to a sequence while others read it, and never to another file than is there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter, create
from meshhw.errors import StateError
from tests.patience import until


def made(path: Path, *payloads: bytes) -> Path:
    create(path)
    with SequenceWriter(path) as writer:
        for payload in payloads:
            writer.append(payload)
    return path


def test_readers_see_whole_frames_while_a_writer_appends(tmp_path: Path) -> None:
    path = made(tmp_path / "s", b"first")
    with SequenceFile(path) as sequence, SequenceWriter(path) as writer:
        assert len(sequence) == 2
        writer.append(b"second")
        sequence.refresh()
        assert len(sequence) == 2
        writer.flush()
        sequence.refresh()
        assert SequenceReader(sequence).open(2).payload == b"second"


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = made(tmp_path / "s")
    with SequenceWriter(path), pytest.raises(StateError, match="in use"):
        SequenceWriter(path, lock_timeout=0.05)
    SequenceWriter(path).close()


def test_a_writer_that_waited_does_not_write_to_a_file_that_was_replaced(tmp_path: Path) -> None:
    """What it appended would be gone with the old file."""
    path, other = made(tmp_path / "s"), made(tmp_path / "other")
    told: list[str] = []

    def append() -> None:
        try:
            SequenceWriter(path, lock_timeout=60).close()
        except StateError as error:
            told.append(error.message)

    late = threading.Thread(target=append)
    with SequenceWriter(path):
        before = opened(path)
        late.start()
        until(lambda: opened(path) > before)
        other.replace(path)
    late.join()
    assert told == [f"{path} was replaced by another writer"]


def opened(path: Path) -> int:
    """How many descriptors this process has of a file."""
    return sum(os.path.realpath(found) == str(path) for found in Path("/proc/self/fd").iterdir())
