"""Catalogs: the last event of a key counts, however the index beside the file fares."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.catalog import DIGESTS, Catalog, create_catalog
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import KeyValue
from meshhw.dare.heads import head_of, prove_frame, verify_head
from meshhw.dare.links import linked_head
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import epoch_frames, policy_of
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import KeyNotFound, StateError, UsageError
from meshhw.jsonbcd import encode_base64url

KEY = LocalKey(PrivateKey(Algorithm.X448, bytes(range(56))))
SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
RING = KeyRing([KEY])
READERS = [RecipientKey(KEY.public)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_catalog(tmp_path / "c.dcat", READERS)
    with Catalog(tmp_path / "c.dcat", RING) as catalog:
        for number in range(30):
            catalog.put(f"key {number}", b"first %d" % number, [KeyValue("site", "example.com")])
        catalog.put("key 3", b"second")
        catalog.delete("key 4")
        catalog.put("key 5", b"second")
        catalog.delete("key 5")
        catalog.put("key 5", b"third")
    return tmp_path / "c.dcat"


def state(path: Path) -> dict[str, bytes]:
    with Catalog(path, RING, writable=False) as catalog:
        return {entry.key: entry.payload for entry in catalog.entries()}


EXPECTED = {f"key {n}": b"first %d" % n for n in range(30) if n != 4} | {
    "key 3": b"second",
    "key 5": b"third",
}


def test_the_last_event_counts(path: Path) -> None:
    assert state(path) == EXPECTED
    with Catalog(path, RING) as catalog:
        assert catalog.get("key 3").payload == b"second"
        assert catalog.get("key 7").key_values == (KeyValue("site", "example.com"),)
        for absent in ("key 4", "absent"):
            with pytest.raises(KeyNotFound):
                catalog.get(absent)
            with pytest.raises(KeyNotFound):
                catalog.delete(absent)
        with pytest.raises(UsageError):
            catalog.put("", b"x")


def test_events_carry_first_and_previous(path: Path) -> None:
    with SequenceFile(path) as sequence:
        reader = SequenceReader(sequence, RING)
        update, delete = reader.content(sequence.frame(31)), reader.content(sequence.frame(32))
        assert (update.event, update.first, update.previous) == ("Update", 4, 4)
        assert (delete.event, delete.first, delete.previous) == ("Delete", 5, 5)
        again = reader.content(sequence.frame(34))
        assert (again.event, again.first, again.previous) == ("Delete", 6, 33)
        check_sequence(sequence, reader)


@pytest.mark.parametrize("damage", ["absent", "garbage", "other", "older", "page", "table"])
def test_the_index_is_rebuilt(path: Path, tmp_path: Path, damage: str) -> None:
    beside = path.with_name("c.dcat.keys")
    older = beside.read_bytes()
    with Catalog(path, RING) as catalog:
        catalog.put("late", b"late")
    if damage == "absent":
        beside.unlink()
    elif damage == "garbage":
        beside.write_bytes(b"garbage" * 1000)
    elif damage in ("page", "table"):
        octets = bytearray(beside.read_bytes())
        at = 8192 + 16 if damage == "page" else octets.index(b"identity")
        octets[at] ^= 1
        beside.write_bytes(octets)
    elif damage == "older":
        beside.write_bytes(older)
    else:
        create_catalog(tmp_path / "other")
        with Catalog(tmp_path / "other") as other:
            other.put("key 1", b"of another catalog")
        beside.write_bytes((tmp_path / "other.keys").read_bytes())
    assert state(path) == EXPECTED | {"late": b"late"}


def test_an_index_of_another_copy_is_made_anew(tmp_path: Path) -> None:
    """Copies that have diverged are the same sequence: an index says of which it is."""
    path, kept = tmp_path / "c", tmp_path / "kept"
    create_catalog(path, READERS)
    with Catalog(path, RING) as catalog:
        catalog.put("both", b"in both")
    shutil.copy(path, kept)
    with Catalog(path, RING) as catalog:
        catalog.put("one", b"one")
        catalog.put("two", b"two")
    beside = path.with_name("c.keys").read_bytes()
    for entries in ([("three", b"three")], [("three", b"three"), ("four", b"four")], [("one", b"1")] * 3):
        shutil.copy(kept, path)
        path.with_name("c.keys").unlink()
        with Catalog(path, RING) as catalog:
            for key, payload in entries:
                catalog.put(key, payload)
        path.with_name("c.keys").write_bytes(beside)  # of as many frames as there are, or more, or fewer
        expected = {"both": b"in both"} | dict(entries)
        with Catalog(path, RING) as catalog:
            for key, payload in expected.items():
                assert catalog.get(key).payload == payload
            assert {entry.key: entry.payload for entry in catalog.entries()} == expected
            for absent in {"one", "two"} - expected.keys():
                assert catalog.latest(absent) is None


def test_a_damaged_row_is_not_sealed_anew_by_what_is_appended(tmp_path: Path) -> None:
    """By another writer, whose frames this index takes in without looking at its row."""
    path = tmp_path / "c"
    create_catalog(path)
    with Catalog(path) as catalog:
        for key in ("a", "b", "a"):
            catalog.put(key, b"")
    index = path.with_name("c.keys")
    with closing(sqlite3.connect(index)) as database, database:
        database.execute("UPDATE keys SET first = first + 1")
    damaged = index.read_bytes()
    index.unlink()
    with Catalog(path) as catalog:
        catalog.put("a", b"once more")
    index.write_bytes(damaged)
    Catalog(path).close()
    with Catalog(path) as catalog:
        assert catalog.get("a").payload == b"once more"
        last = catalog.put("a", b"and again")
        catalog.flush()
        assert SequenceReader(catalog.sequence).content(catalog.sequence.frame(last)).first == 1


def test_every_octet_of_the_index_may_be_wrong(tmp_path: Path) -> None:
    """Also those that change a place, a name or the flag of deletion: the answers come from the frames."""
    path = tmp_path / "few"
    create_catalog(path, READERS)
    with Catalog(path, RING) as catalog:
        for key in ("one", "two", "gone"):
            catalog.put(key, key.encode())
        catalog.put("two", b"second")
        catalog.delete("gone")
    beside = tmp_path / "few.keys"
    octets = beside.read_bytes()
    flipped = [at for at, octet in enumerate(octets) if octet or at < 100]
    assert len(flipped) > 400
    for at in flipped:
        beside.write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])
        with Catalog(path, RING, writable=False) as catalog:
            assert catalog.get("one").payload == b"one", at
            assert (found := catalog.latest("gone")) is not None, at
            assert not found.live, at
            assert {entry.key: entry.payload for entry in catalog.entries()} == {
                "one": b"one",
                "two": b"second",
            }, at


def test_names_stand_in_clear_nowhere(path: Path) -> None:
    for file in path.parent.iterdir():
        assert b"key 1" not in file.read_bytes()
        assert b"example.com" not in file.read_bytes()


def test_a_reader_writes_nothing_and_a_second_writer_waits(path: Path) -> None:
    with Catalog(path, RING, writable=False) as catalog, pytest.raises(UsageError):
        catalog.put("x", b"x")
    from meshhw.dare.sequence_write import SequenceWriter

    with Catalog(path, RING), pytest.raises(StateError):
        SequenceWriter(path, lock_timeout=0.05)


def test_compaction_links_to_the_old_head(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "compact.dcat"
    with Catalog(path, RING) as catalog:
        head = head_of(catalog.sequence)
        catalog.compact(target, [SIGNER])
    assert state(target) == EXPECTED
    with SequenceFile(target) as sequence:
        link = linked_head(sequence)
        assert link
        assert verify_head(link, [SIGNER.public]) == head
        assert len(sequence) == 2 + len(EXPECTED)
    with SequenceFile(path) as sequence:
        assert linked_head(sequence) is None


def test_compaction_keeps_epochs_and_digests(path: Path, tmp_path: Path) -> None:
    """What an epoch's frame says of the new keys stands nowhere else, and who cannot read an entry proves by
    the digests in its frame."""
    newer = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(1, 33))))
    digest = bytes(range(64))
    target = tmp_path / "compact.dcat"
    with Catalog(path, KeyRing([KEY, newer])) as catalog:
        catalog.begin_epoch(READERS, b"a first statement")
        catalog.put("key 6", b"under the first", digests=[digest])
        catalog.begin_epoch([RecipientKey(newer.public)], b"a second statement")
        catalog.put("key 7", b"under the second")
        catalog.compact(target, [SIGNER])
    with Catalog(target, KeyRing([newer])) as catalog:  # the new key reads all, and is written to
        assert catalog.current_readers() == [RecipientKey(newer.public)]
        assert catalog.get("key 6").payload == b"under the first"
        proven = prove_frame(catalog.sequence, catalog.get("key 6").index)
        assert proven.members[DIGESTS] == [encode_base64url(digest)]
        bodies = [b"".join(catalog.sequence.body(frame)) for frame in epoch_frames(catalog.sequence)]
        assert bodies == [b"a second statement", b"a first statement"]
        assert [policy_of(frame) for frame in epoch_frames(catalog.sequence)] == [
            [RecipientKey(newer.public)],
            READERS,
        ]
        check_sequence(catalog.sequence, SequenceReader(catalog.sequence, KeyRing([newer])))


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "delete", "reopen"])), max_size=20))
def test_replay_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("catalog") / "c"
    create_catalog(path)
    expected: dict[str, bytes] = {}
    catalog = Catalog(path)
    for number, (key, event) in enumerate(events):
        if event == "put":
            expected[key] = b"%d" % number
            catalog.put(key, expected[key])
        elif event == "delete" and key in expected:
            del expected[key]
            catalog.delete(key)
        elif event == "reopen":
            catalog.close()
            catalog = Catalog(path)
    assert {entry.key: entry.payload for entry in catalog.entries()} == expected
    catalog.close()
