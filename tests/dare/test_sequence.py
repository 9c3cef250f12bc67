"""Sequences: published ones, ours from both ends, beside a writer, torn, flipped, cut and huge."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey, PublicKey
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.findings import Finding
from meshhw.dare.frame import FileView, frame, span_before
from meshhw.dare.header import ContentMeta
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import SequenceFile, SequenceKind
from meshhw.dare.sequence_check import DigestState, check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.errors import FormatError, IntegrityError, MeshError, SignatureInvalid, StateError
from meshhw.jsonbcd import canonical, encode_base64url

SHORT_AND_LONG = pytest.mark.parametrize("run", ["short", pytest.param("long", marks=pytest.mark.fuzz)])
"""A hundred examples in every check, many in `./dev fuzz`."""
FILES = Path(__file__).parents[1] / "vectors" / "files"
VECTORS = FILES.parent
KEY = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
READER = RecipientKey(KEY.public)


class CountingKey:
    """A token's key that counts what it is asked."""

    def __init__(self) -> None:
        self.public = KEY.public
        self.uses = 0

    def agree(self, peer: PublicKey) -> bytes:
        self.uses += 1
        return KEY.agree(peer)


def make(path: Path, payloads: list[bytes], *, encrypted: bool = True, **creation: Any) -> Path:
    create(path, Creation(**creation))
    with SequenceWriter(path, [READER] if encrypted else []) as writer:
        for number, payload in enumerate(payloads):
            writer.append(payload, Outline(content=ContentMeta(unique_id=f"entry {number}")))
    return path


def payloads_of(path: Path) -> list[bytes]:
    with SequenceFile(path) as sequence:
        reader = SequenceReader(sequence, KeyRing([KEY]))
        return [reader.open(index).payload for index in range(1, len(sequence))]


PUBLISHED = [
    ("CatalogContainer.dcon", "List", 1, {"none": 1}),
    ("Test1Chain", "Chain", 4, {"intended": 1, "legacy": 3}),
    ("Test1EncSep", "List", 3, {"none": 3}),
    ("Test1List", "List", 2, {"none": 2}),
    ("Test1Merkle", "Merkle", 7, {"intended": 1, "legacy": 6}),
    ("Test1Tree", "Tree", 7, {"none": 7}),
    ("TestBasicBookMark.dcon", "Chain", 5, {"intended": 1, "none": 4}),
    ("TestBasicCredential.dcon", "Chain", 4, {"intended": 1, "none": 3}),
    ("TestStore.jcx", "Chain", 2, {"intended": 1, "legacy": 1}),
    ("mesh.jlog", "Chain", 1, {"intended": 1}),
]


@pytest.mark.parametrize(("name", "kind", "frames", "digests"), PUBLISHED, ids=str)
def test_published_files(name: str, kind: str, frames: int, digests: dict[str, int]) -> None:
    with SequenceFile(FILES / name) as sequence:
        assert not sequence.is_ours
        assert sequence.kind == kind
        assert len(sequence) == frames
        assert sequence.torn_at is None
        report = check_sequence(sequence)
        assert {state.value: count for state, count in report.digests.items()} == digests
        assert [f.index for f in sequence.backwards()] == list(range(frames))[::-1]


def test_a_published_digest_of_no_kind_is_told_as_wrong(tmp_path: Path) -> None:
    octets = (FILES / "Test1Chain").read_bytes()
    for name in ("ChainDigest", "PayloadDigest"):
        at = octets.rindex(f'"{name}": "'.encode()) + len(name) + 5
        (tmp_path / name).write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])
        with SequenceFile(tmp_path / name) as sequence:
            assert check_sequence(sequence).digests[DigestState.WRONG] == 1


def test_published_payloads_and_pointers() -> None:
    expected = bytes(i & 0xFF for i in range(300))
    for name in ("Test1List", "Test1Tree", "Test1Merkle", "Test1Chain"):
        with SequenceFile(FILES / name) as sequence:
            opened = SequenceReader(sequence).open(1)
            assert opened.payload == expected
            assert Finding.PLAINTEXT_UNSIGNED in opened.findings
            for found in sequence.frames():
                info = found.header.sequence_info
                assert info
                if info.tree_position is not None:
                    assert info.tree_position in sequence.positions[: found.index]


def test_old_catalog_entries_have_their_names() -> None:
    with SequenceFile(FILES / "TestBasicBookMark.dcon") as sequence:
        opened = SequenceReader(sequence).open(1)
        assert opened.content.unique_id
        assert opened.content.event == "New"
        assert Finding.OLDER_NAMES in opened.findings


def test_published_sequences_of_the_examples() -> None:
    """Built again from the printed headers and trailers, their digests are what the reference wrote."""
    body = bytes(i & 0xFF for i in range(300))
    states = {}
    for vector in json.loads((VECTORS / "dare_sequences.json").read_text()):
        if vector["title"] not in ("Payload and chain digests", "Signed sequence"):
            continue
        records = [
            frame(canonical(f["header"]), body if i else b"", canonical(f.get("trailer", {})))
            for i, f in enumerate(vector["frames"])
        ]
        path = FILES.parent / "unused"
        states[vector["title"]] = _states(path, b"".join(records))
    assert states["Payload and chain digests"] == [DigestState.NONE, *[DigestState.LEGACY] * 3]
    assert states["Signed sequence"] == [DigestState.NONE, *[DigestState.LEGACY] * 2]


def _states(_: Path, octets: bytes) -> list[DigestState]:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(octets)
        file.flush()
        with SequenceFile(Path(file.name)) as sequence:
            report = check_sequence(sequence)
            return [state for state, count in report.digests.items() for _ in range(count)]


def test_the_printed_frame_layout() -> None:
    octets = frame(bytes(139), b"", b"")
    assert octets[:4].hex() == "f491f08b"
    assert octets[-2:].hex() == "91f4"
    octets = frame(bytes(66), bytes(300))
    assert octets[:5].hex() == "f50173f042"
    assert octets[-3:].hex() == "7301f5"


@pytest.mark.parametrize("kind", SequenceKind)
@pytest.mark.parametrize("encrypted", [True, False])
def test_round_trip(tmp_path: Path, kind: SequenceKind, encrypted: bool) -> None:
    payloads = [bytes([i]) * (i * 37) for i in range(20)]
    path = make(tmp_path / "s.dcat", payloads, encrypted=encrypted, kind=kind, content_type="text/plain")
    assert payloads_of(path) == payloads
    with SequenceFile(path) as sequence:
        assert sequence.kind is kind
        reader = SequenceReader(sequence, KeyRing([KEY]))
        report = check_sequence(sequence, reader)
        assert report.frames == report.opened == 21
        assert reader.open(3).content.unique_id == "entry 2"
        assert DigestState.WRONG not in report.digests
        if encrypted:
            assert b"entry" not in path.read_bytes()


def test_a_session_costs_one_use_of_the_key(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [b"x"] * 1000)
    key = CountingKey()
    with SequenceFile(path) as sequence:
        reader = SequenceReader(sequence, KeyRing([key]))
        assert all(reader.open(index).payload == b"x" for index in range(1, 1001))
    assert key.uses == 1


def test_another_session_has_another_seed(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [b"one"])
    with SequenceWriter(path, [READER]) as writer:
        writer.append(b"two")
        writer.end_session()
        writer.append(b"three")
    with SequenceFile(path) as sequence:
        assert len({sequence.frame(i).header.kid for i in (1, 2, 3)}) == 3
    assert payloads_of(path) == [b"one", b"two", b"three"]


def test_frames_cannot_move_between_sequences(tmp_path: Path) -> None:
    """A frame put in another's place, or into another sequence, is refused, whatever the digests say."""
    path = make(tmp_path / "s", [b"one one", b"two two"], kind=SequenceKind.LIST)
    octets = path.read_bytes()
    with SequenceFile(path) as sequence:
        spans = [found.span for found in sequence.frames()]
    parts = [octets[span.position : span.end] for span in spans]
    (tmp_path / "t").write_bytes(parts[0] + parts[2] + parts[1])
    with pytest.raises(IntegrityError):
        payloads_of(tmp_path / "t")


def test_access_by_index_costs_a_few_reads(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [bytes(600)] * 2000, encrypted=False)
    with SequenceFile(path) as sequence:
        for index in (1, 1000, 1999, 3):
            before = sequence.reads
            assert sequence.frame(index).index == index
            assert sequence.reads - before <= 4


def test_positions_are_rebuilt_and_never_believed(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [b"payload"] * 50)
    beside = path.with_name("s.idx")
    good = beside.read_bytes()
    for bad in (None, b"", good[:-3], good[:-8], good + bytes(8), b"x" * 500, good[:24] + bytes(8 * 51)):
        if bad is None:
            beside.unlink()
        else:
            beside.write_bytes(bad)
        assert payloads_of(path) == [b"payload"] * 50
    swapped = good[:24] + good[32:40] + good[24:32] + good[40:]
    beside.write_bytes(swapped)
    assert payloads_of(path) == [b"payload"] * 50
    middle = good[: 24 + 80] + good[24 + 88 : 24 + 96] + good[24 + 88 :]
    beside.write_bytes(middle)
    with pytest.raises(IntegrityError, match="must be"):
        payloads_of(path)


def test_backwards_by_the_frames_alone(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [bytes(i * 11) for i in range(30)])
    with SequenceFile(path) as sequence:
        expected = [found.span for found in sequence.frames()]
        with path.open("rb") as file:
            view = FileView(file.fileno())
            end, spans = view.size(), []
            while end:
                spans.append(span_before(view, end))
                end = spans[-1].position
    assert spans[::-1] == expected


def test_a_tail_cut_at_every_octet_is_repaired(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [b"one", b"two"])
    octets = path.read_bytes()
    with SequenceFile(path) as sequence:
        ends = [found.span.end for found in sequence.frames()]
    for length in range(ends[1], len(octets)):
        torn = tmp_path / "torn"
        torn.write_bytes(octets[:length])
        torn.with_name("torn.idx").unlink(missing_ok=True)
        with SequenceFile(torn) as sequence:
            whole = sum(end <= length for end in ends)
            assert len(sequence) == whole
            assert sequence.torn_at == (None if length in ends else ends[whole - 1])
        with SequenceWriter(torn, [READER]) as writer:
            assert writer.repaired == length - ends[whole - 1]
            assert torn.stat().st_size == ends[whole - 1]
            writer.append(b"three")
        with SequenceFile(torn) as sequence:
            check_sequence(sequence, SequenceReader(sequence, KeyRing([KEY])))
        assert payloads_of(torn) == [*[b"one", b"two"][: whole - 1], b"three"]


def test_a_damaged_last_frame_is_not_taken_for_a_torn_one(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [b"one", b"two"])
    with SequenceFile(path) as sequence:
        start = sequence.positions[2]
    octets = bytearray(path.read_bytes())
    octets[start + 1] ^= 0x40
    path.write_bytes(octets)
    path.with_name("s.idx").unlink()
    with pytest.raises(FormatError):
        SequenceWriter(path)
    assert path.read_bytes() == octets


_APPEND = """
import os, sys
from pathlib import Path
from meshhw.algorithms import Algorithm, PublicKey
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.sequence_write import SequenceWriter
readers = [RecipientKey(PublicKey(Algorithm.X25519, bytes.fromhex(key))) for key in sys.argv[2:]]
writer = SequenceWriter(Path(sys.argv[1]), readers)
while True:
    index = writer.append(bytes(len(writer) * 97 % 5000))
    writer.flush()
    os.write(1, b"%d\\n" % index)
"""


@pytest.mark.parametrize("encrypted", [False, True])
def test_kill_9_while_appending(tmp_path: Path, encrypted: bool) -> None:
    """What the writer was told to be there is there; what follows it is whole or cut off."""
    path = make(tmp_path / "s", [], encrypted=False)
    readers = [READER.public.octets.hex()] if encrypted else []
    for attempt in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _APPEND, str(path), *readers], stdout=subprocess.PIPE, bufsize=0
        )
        assert child.stdout
        told = child.stdout.read(1)
        time.sleep(0.01 + attempt * 0.007)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        told += child.stdout.read()
        child.stdout.close()
        last = int(told.rpartition(b"\n")[0].split()[-1])
        with SequenceWriter(path) as writer:
            assert len(writer) in (last + 1, last + 2)
            frames = len(writer)
        with SequenceFile(path) as sequence:
            reader = SequenceReader(sequence, KeyRing([KEY]))
            assert check_sequence(sequence, reader).frames == frames
            assert reader.open(last).payload == bytes(last * 97 % 5000)


def test_a_full_disk_leaves_the_last_flush(tmp_path: Path) -> None:
    """A file size limit stands for the disk; in a process of its own, since it is the process's limit."""
    path = make(tmp_path / "s", [bytes(100)], encrypted=False)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_fill, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == 0
    with SequenceFile(path) as sequence:
        assert sequence.torn_at is None
        assert check_sequence(sequence).frames == len(sequence) >= 2


def _fill(path: Path) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
    writer = SequenceWriter(path)
    try:
        for _ in range(100):
            writer.append(bytes(500))
            writer.flush()
    except StateError as error:
        assert "cannot be written" in error.message  # noqa: PT017  # seen from the parent by the exit code
        with pytest.raises(StateError, match="earlier"):
            writer.append(b"more")
        os._exit(0)
    os._exit(1)


def test_positions_beyond_4_gib(tmp_path: Path) -> None:
    """A sparse frame of 5 GiB: its digest is taken on trust here, positions and pointers are not."""
    path = make(tmp_path / "s", [b"one"], encrypted=False, kind=SequenceKind.TREE)
    length = 5 << 30
    header = b'{"SequenceInfo":{"Index":2,"TreePosition":%d}}'
    with SequenceFile(path) as sequence:
        first = header % sequence.positions[1]
    from meshhw.dare.frame import frame_head, record, record_head

    before = record(first) + record_head(length)
    after = record(b"{}")
    head = frame_head(len(before) + length + len(after))
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(head + before)
        file.seek(length, os.SEEK_CUR)
        file.write(after + head[::-1])
    with SequenceWriter(path) as writer:
        assert writer.append(b"three") == 3
        assert writer.append(b"four") == 4
    with SequenceFile(path) as sequence:
        assert sequence.positions[3] > 1 << 32
        info = sequence.frame(4).header.sequence_info
        assert info
        assert info.tree_position == sequence.positions[3]
        assert SequenceReader(sequence).open(4).payload == b"four"
        assert sequence.frame(2).body_length == length


def test_streamed_frames(tmp_path: Path) -> None:
    import io

    path = make(tmp_path / "s", [b"one"])
    payload = os.urandom(3_000_000)
    with SequenceWriter(path, [READER]) as writer:
        assert writer.append_stream(io.BytesIO(payload), len(payload)) == 2
        with pytest.raises(StateError, match="changed"):
            writer.append_stream(io.BytesIO(b"short"), 100)
    assert payloads_of(path) == [b"one", payload]
    with SequenceFile(path) as sequence:
        check_sequence(sequence)


def test_signed_frames(tmp_path: Path) -> None:
    signer = LocalKey(PrivateKey(Algorithm.ED25519, bytes(32)))
    path = tmp_path / "s"
    create(path)
    with SequenceWriter(path, [READER]) as writer:
        writer.append(b"signed", Outline(signers=[signer]))
    with SequenceFile(path) as sequence:
        opened = SequenceReader(sequence, KeyRing([KEY])).open(1)
        assert opened.signers == (signer.public,)
        assert opened.findings == ()


def test_legacy_frames_are_refused_in_ours(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [b"one"], encrypted=False)
    foreign = frame(b'{"SequenceInfo": {"Index": 2}}', b"two", b"{}")
    with path.open("ab") as file:
        file.write(foreign)
    with SequenceFile(path) as sequence:
        with pytest.raises(FormatError, match="spelled"):
            SequenceReader(sequence).open(2)
        with pytest.raises(MeshError):
            check_sequence(sequence)


@SHORT_AND_LONG
@given(data=st.data())
def test_any_damage_ends_in_one_of_our_errors(
    run: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.getbasetemp() / "damaged"
    directory.mkdir(exist_ok=True)
    octets = bytearray(frame(b'{"SequenceInfo":{"ContainerType":"List","Index":0}}', b"", b"{}"))
    octets += frame(b'{"SequenceInfo":{"Index":1}}', b"body", b"{}")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    (directory / "s").write_bytes(octets)
    with suppress(MeshError), SequenceFile(directory / "s", keeps_positions=False) as sequence:
        check_sequence(sequence, SequenceReader(sequence))


@pytest.mark.parametrize(
    "octets",
    [b"", b"\0", b"\xf4", b"\xf4\x00\xf4", frame(b"{}"), frame(b"x"), frame(b"[]"), b"\xf7" + b"\xff" * 8],
)
def test_what_is_no_sequence_is_refused(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "s").write_bytes(octets)
    with pytest.raises(FormatError):
        SequenceFile(tmp_path / "s")


def test_a_sequence_is_not_made_over_a_file(tmp_path: Path) -> None:
    path = make(tmp_path / "s", [])
    with pytest.raises(StateError, match="there already"):
        create(path)


def test_wrong_signature_in_a_frame(tmp_path: Path) -> None:
    signer = LocalKey(PrivateKey(Algorithm.ED25519, bytes(32)))
    path = tmp_path / "s"
    create(path, Creation(kind=SequenceKind.LIST))
    with SequenceWriter(path) as writer:
        writer.append(b"signed", Outline(signers=[signer]))
    octets = path.read_bytes().replace(b"signed", b"sIgned", 1)
    path.write_bytes(octets)
    with SequenceFile(path) as sequence, pytest.raises(SignatureInvalid):
        SequenceReader(sequence).open(1)


def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    content = encode_base64url(b'{"UniqueId":"\xd3"}').encode()
    inside = b'{"ContentMetaData":"' + content + b'","SequenceInfo":{"Index":1}}'
    for octets in (b'{"SequenceInfo":{"\xd3":1}}', inside):
        first = frame(b'{"SequenceInfo":{"ContainerType":"List","Index":0}}', b"", b"{}")
        (tmp_path / "s").write_bytes(first + frame(octets, b"", b"{}"))
        with SequenceFile(tmp_path / "s", keeps_positions=False) as sequence, pytest.raises(FormatError):
            SequenceReader(sequence).open(1)
