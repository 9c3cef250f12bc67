"""Archives: what goes in comes out; names and links that would escape do not."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import msgspec
import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.archive import CONTENT_TYPE, INDEX_TYPE, make_archive, read_index, update_archive
from meshhw.dare.archive_entry import Entry, safe_name, safe_target
from meshhw.dare.archive_extract import choose, extract
from meshhw.dare.digests import SHA256, SHA512
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import sealed_head
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import session_policy
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.errors import IntegrityError, KeyNotFound, StateError, UsageError

PRIVATE = PrivateKey(Algorithm.X25519, bytes(range(32)))
KEY = LocalKey(PRIVATE)
SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
RING = KeyRing([KEY])
READERS = [RecipientKey(KEY.public)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a" / "small").write_bytes(b"small")
    (root / "a" / "deep" / "large").write_bytes(os.urandom(2_500_000))
    (root / "none").write_bytes(b"")
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o750)
    (root / "link").symlink_to("a/small")
    os.utime(root / "a" / "small", ns=(1_600_000_000_123_456_789,) * 2)
    os.utime(root / "empty", ns=(1_500_000_000_000_000_001,) * 2)
    return root


def contents(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        kind = path.lstat()
        data = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = None if path.is_symlink() else stat.S_IMODE(kind.st_mode)
        found[path.relative_to(root).as_posix()] = (data, mode, kind.st_mtime_ns)
    return found


def unpack(path: Path, target: Path, names: list[str] | None = None) -> dict[str, tuple[object, ...]]:
    with SequenceFile(path, keeps_positions=False) as archive:
        reader = SequenceReader(archive, RING)
        extract(archive, reader, choose(read_index(archive, reader), names or []), target)
    return contents(target)


@pytest.mark.parametrize("encrypted", [True, False])
def test_round_trip(tree: Path, tmp_path: Path, encrypted: bool) -> None:
    path = tmp_path / "archive"
    count = make_archive(tree, path, READERS if encrypted else [], [SIGNER])
    assert count == len(contents(tree))
    assert unpack(path, tmp_path / "out") == contents(tree)
    assert (b"small" not in path.read_bytes()) == encrypted
    with SequenceFile(path) as archive:
        sealed = sealed_head(archive)
        assert sealed
        assert sealed[1] == (SIGNER.public,)
        check_sequence(archive, SequenceReader(archive, RING))


def test_no_file_runs_as_its_owner_after_it_was_extracted(tmp_path: Path) -> None:
    """Whoever made the archive says what is in it."""
    (tmp_path / "tree" / "shared").mkdir(parents=True)
    (tmp_path / "tree" / "shared").chmod(0o2775)
    for name, size in (("small", 10), ("large", 200_000)):
        (tmp_path / "tree" / name).write_bytes(bytes(size))
        (tmp_path / "tree" / name).chmod(0o6755)
    make_archive(tmp_path / "tree", tmp_path / "archive", READERS)
    modes = {name: mode for name, (_, mode, _) in unpack(tmp_path / "archive", tmp_path / "out").items()}
    assert modes == {"small": 0o755, "large": 0o755, "shared": 0o775}


def test_one_file_is_read_without_the_rest(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    make_archive(tree, path, READERS)
    with SequenceFile(path, keeps_positions=False) as archive:
        before = archive.reads
        reader = SequenceReader(archive, RING)
        extract(archive, reader, choose(read_index(archive, reader), ["a/small"]), tmp_path / "out")
        assert archive.reads - before < 20
    assert set(contents(tmp_path / "out")) == {"a", "a/small"}
    assert set(unpack(path, tmp_path / "out2", ["a/deep/"])) == {"a", "a/deep", "a/deep/large"}
    with pytest.raises(KeyNotFound):
        unpack(path, tmp_path / "out3", ["absent"])


def test_an_update_appends_what_changed(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    make_archive(tree, path, READERS, [SIGNER])
    size = path.stat().st_size
    assert update_archive(tree, path, RING, [SIGNER]) == 0
    assert path.stat().st_size == size
    (tree / "tool").write_bytes(b"#!/bin/sh\nexit\n")
    (tree / "new").write_bytes(b"new")
    (tree / "none").unlink()
    assert update_archive(tree, path, RING, [SIGNER]) == 3
    assert path.stat().st_size - size < 8000
    assert unpack(path, tmp_path / "out") == contents(tree)
    with SequenceFile(path) as archive:
        assert sealed_head(archive)


def test_an_archive_has_sha_256_and_an_older_one_keeps_its_digest(tree: Path, tmp_path: Path) -> None:
    for name, dig in (("new", SHA256), ("old", SHA512)):
        path = tmp_path / name
        create(path, Creation(content_type=CONTENT_TYPE, policy=session_policy(READERS), dig=dig))
        with SequenceWriter(path, READERS):
            pass
        (tree / "a" / "small").write_bytes(name.encode())
        assert update_archive(tree, path, RING, [SIGNER]) == 8
        (tree / "none").write_bytes(os.urandom(1_000_000) + name.encode())
        assert update_archive(tree, path, RING, [SIGNER]) == 1
        assert unpack(path, tmp_path / f"{name}.out") == contents(tree)
        with SequenceFile(path, keeps_positions=False) as archive:
            check_sequence(archive, SequenceReader(archive, RING))
            digests = {
                (frame.header.dig, len(frame.trailer.payload_digest or b"")) for frame in archive.frames()
            }
            assert digests == {(dig, 32 if dig == SHA256 else 64)}
    make_archive(tree, tmp_path / "made")
    with SequenceFile(tmp_path / "made", keeps_positions=False) as archive:
        assert archive.first.header.dig == SHA256


def test_a_frame_with_another_digest_than_the_sequence_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sequence"
    create(path, Creation(dig=SHA256))
    with SequenceWriter(path) as writer:
        writer.append(b"one")
        writer.dig, writer._digest = SHA512, hashlib.sha512
        writer.append(b"two")
    with SequenceFile(path) as sequence, pytest.raises(IntegrityError, match="frame 2 has another digest"):
        check_sequence(sequence)


def test_an_interrupted_update_loses_nothing(tree: Path, tmp_path: Path) -> None:
    """Without its index frame the names are found in the frames' headers."""
    path = tmp_path / "archive"
    make_archive(tree, path, READERS)
    with SequenceWriter(path, READERS, keeps_positions=False) as writer:
        entry = Entry(unique_id="late", size=4, mode=0o600)
        writer.append(b"late", Outline(content=entry.content("New")))
        writer.append(b"", Outline(content=ContentMeta(filename="none", event="Delete")))
    with path.open("ab") as file:
        file.write(b"\xf5\xff\xfftorn")
    found = unpack(path, tmp_path / "out")
    assert "late" in found
    assert "none" not in found
    assert set(found) - {"late"} == set(contents(tree)) - {"none"}


def test_a_file_of_any_content_type_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    create(path, Creation(content_type=CONTENT_TYPE, policy=session_policy(READERS)))
    bodies = {"small": b"text", "large": bytes(200_000)}
    with SequenceWriter(path, READERS) as writer:
        for name, body in bodies.items():
            writer.append(body, Outline(content=ContentMeta(filename=name, content_type="text/plain")))
    assert {name: found[0] for name, found in unpack(path, tmp_path / "out").items()} == bodies


@pytest.mark.parametrize("kind", ["application/octet-stream", "inode/symlink"])
def test_a_size_that_the_index_belittles_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    create(path, Creation(content_type=CONTENT_TYPE, policy=session_policy(READERS)))
    with SequenceWriter(path, READERS) as writer:
        writer.append(bytes(200_000), Outline(content=ContentMeta(filename="a", content_type=kind)))
        entry = {"UniqueId": "a", "cty": kind, "Size": 3, "Index": 1}
        index = msgspec.json.encode({"SequenceIndex": {"Full": True, "Positions": [entry]}})
        writer.append(index, Outline(content=ContentMeta(content_type=INDEX_TYPE)))
    with pytest.raises(IntegrityError, match="another size"):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_is_not_written_over_a_file(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"precious")
    with pytest.raises(StateError, match="there already"):
        make_archive(tree, tmp_path / "archive", READERS)
    os.mkfifo(tree / "pipe")
    with pytest.raises(UsageError, match="neither"):
        make_archive(tree, tmp_path / "other", READERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "tree"]


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "./a", "a/.", "C:/x", "a\\..\\b", "a\0b"]
)
def test_names_that_would_escape(name: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        safe_name(name)
    path = tmp_path / "archive"
    create(path, Creation(policy=session_policy(READERS)))
    with SequenceWriter(path, READERS) as writer:
        if name:
            writer.append(b"evil", Outline(content=Entry(unique_id=name).content("New")))
    if name:
        with pytest.raises(IntegrityError):
            unpack(path, tmp_path / "out" / "in")
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../../x", "", "..\\x"])
def test_links_that_would_escape(target: str) -> None:
    with pytest.raises(IntegrityError):
        safe_target(safe_name("d/link"), "../" + target if target.startswith("..") else target)
    assert safe_target(safe_name("d/link"), "../a") == "../a"


def test_nothing_is_written_through_a_link(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    make_archive(tree, path, READERS)
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").symlink_to(outside)
    with pytest.raises(IntegrityError, match="link"):
        unpack(path, target)
    assert not list(outside.iterdir())


def test_a_damaged_file_does_not_appear(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    make_archive(tree, path, READERS)
    with SequenceFile(path, keeps_positions=False) as archive:
        reader = SequenceReader(archive, RING)
        frame = archive.frame(read_index(archive, reader)["a/deep/large"].index)
        position = frame.span.records[1][0] + 2_000_000
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"\0\0\0\0")
    with pytest.raises(IntegrityError):
        unpack(path, tmp_path / "out", ["a/deep/large"])
    assert not (tmp_path / "out" / "a" / "deep" / "large").exists()
