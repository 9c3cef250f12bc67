"""Work ahead of its turn: in order, never too much of it, and its faults at their item; the bodies that are
made so, and the headers of a session that is under way."""

from __future__ import annotations

import hashlib
import os
import threading
from io import BytesIO
from pathlib import Path

import pytest

from meshhw.dare import merkle
from meshhw.dare.ahead import made_ahead
from meshhw.dare.archive import make_archive, read_index
from meshhw.dare.bodies import LARGEST, SMALLEST, BodyMaker, read_plain
from meshhw.dare.digests import SHA256
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.kdf import body_key
from meshhw.dare.prepare import Exchange, Outline, prepare
from meshhw.dare.running import RunningSession
from meshhw.dare.segments import decrypt_stream
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.errors import StateError
from meshhw.jsonbcd import canonical
from tests.dare.test_archive import KEY, READERS, RING, contents, unpack

_SEED = bytes(range(32))


def test_what_is_made_ahead_comes_in_order_and_three_at_most() -> None:
    running, most, lock = 0, 0, threading.Lock()
    left = 0

    def make(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running - left)
        return item * item

    seen = []
    with made_ahead(range(40), lambda item: item % 3 != 0, make) as pairs:
        for item, made in pairs:
            seen.append((item, made))
            with lock:
                left += made is not None
    assert seen == [(item, None if item % 3 == 0 else item * item) for item in range(40)]
    assert 1 <= most <= 4  # one that is in the consumer's hands is counted, too


def test_a_fault_comes_at_its_item_and_nothing_runs_afterwards() -> None:
    def make(item: int) -> int:
        if item == 5:
            raise StateError("five")
        return item

    seen = []

    def consume() -> None:
        with made_ahead(range(100), lambda _: True, make) as pairs:
            for item, _ in pairs:
                seen.append(item)

    with pytest.raises(StateError, match="five"):
        consume()
    assert seen == list(range(5))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("meshhw-ahead")]


@pytest.mark.parametrize("length", [SMALLEST, 65_536 * 16, 65_536 * 16 + 1, 3_000_000])
def test_a_body_made_ahead_is_the_body_of_the_file(tmp_path: Path, length: int) -> None:
    payload = os.urandom(length)
    (tmp_path / "file").write_bytes(payload)
    maker = BodyMaker(_SEED)
    for _ in range(2):  # the second time in the memory of the first
        made = maker.make(str(tmp_path / "file"), length)
        stored = b"".join(made.pieces)
        assert b"".join(decrypt_stream(body_key(_SEED, made.salt), [stored])) == payload
        maker.leave(made)
    assert b"".join(BodyMaker(b"").make(str(tmp_path / "file"), length).pieces) == payload


@pytest.mark.parametrize("change", [-1, 1, 5 << 20, -SMALLEST])
@pytest.mark.parametrize("seed", [_SEED, b""])
def test_a_file_that_is_longer_or_shorter_than_it_was_is_refused(
    tmp_path: Path, change: int, seed: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(SMALLEST + change))
    with pytest.raises(StateError, match="changed while it was read"):
        BodyMaker(seed).make(str(path), SMALLEST)
    with pytest.raises(StateError, match="changed while it was read"):
        read_plain(str(path), SMALLEST)


def test_what_became_a_link_or_a_pipe_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(bytes(SMALLEST))
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="symbolic link"):
        BodyMaker(_SEED).make(str(tmp_path / "link"), SMALLEST)
    with pytest.raises(StateError, match="changed"):
        BodyMaker(_SEED).make(str(tmp_path / "pipe"), SMALLEST)


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_archive_of_files_of_every_size(tmp_path: Path, encrypted: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    sizes = (0, 1, 65_536, SMALLEST - 1, SMALLEST, SMALLEST + 1, 1 << 20, 2_500_000, LARGEST, LARGEST + 1)
    for number, size in enumerate(sizes * 2):
        (root / f"{number:02}").write_bytes(os.urandom(min(size, 4096)) + bytes(max(0, size - 4096)))
    path = tmp_path / "archive"
    make_archive(root, path, READERS if encrypted else [])
    assert unpack(path, tmp_path / "out") == contents(root)
    with SequenceFile(path, keeps_positions=False) as archive:
        check_sequence(archive)
        index = read_index(archive, SequenceReader(archive, RING))
        assert [entry.index for entry in index.values()] == list(range(1, len(sizes) * 2 + 1))


@pytest.mark.parametrize("content", [ContentMeta(), ContentMeta(filename='ä"', file_entry={"Mode": 1})])
@pytest.mark.parametrize("size", [0, 7, 65_536])
def test_headers_of_a_running_session_are_spelled_as_all_are(content: ContentMeta, size: int) -> None:
    exchange = Exchange.fresh([RecipientKey(KEY.public)]).continued()
    session = RunningSession(exchange, 1, merkle, hashlib.sha256, SHA256)
    salt, payload = bytes(range(16)), os.urandom(size)
    sealed = session._sealed(salt, 12, content, payload)
    info = {"Index": 12, "TreePosition": 345, "ExchangePosition": 1}
    outline = Outline(content=content, extra={"SequenceInfo": info, "dig": SHA256})
    prepared = prepare(outline, exchange, salt=salt)
    assert sealed.header(345) == canonical(prepared.members)
    assert sealed.payload_digest == hashlib.sha256(sealed.body).digest()
    assert sealed.leaf == merkle.leaf(prepared.authenticated, sealed.payload_digest)
    assert sealed.body == b"".join(prepared.body(BytesIO(payload)))


def test_a_session_that_ends_is_running_no_more(tmp_path: Path) -> None:
    path = tmp_path / "sequence"
    create(path, Creation())
    with SequenceWriter(path, READERS) as writer:
        for _ in range(3):
            writer.append(b"one")
        writer.end_session()
        for _ in range(3):
            writer.append(b"two")
    with SequenceFile(path) as sequence:
        check_sequence(sequence)
        exchanges = [bool(frame.header.recipients) for frame in sequence.frames(1)]
        assert exchanges == [True, False, False, True, False, False]
        reader = SequenceReader(sequence, RING)
        assert [reader.open(index).payload for index in range(1, 7)] == [b"one"] * 3 + [b"two"] * 3
        assert sequence.frame(2).header.sequence_info.tree_position == sequence.positions[merkle.previous(2)]  # type: ignore[union-attr]
