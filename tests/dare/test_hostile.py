"""Hostile octets where no tag or signature stands before them, or where a reader's own key made them: each
ends in a value or in one of our errors, and writes nothing outside the directory that was named."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.archive import CONTENT_TYPE, INDEX_TYPE, make_archive, read_index
from meshhw.dare.archive_extract import extract
from meshhw.dare.eds import read_eds, write_eds
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import ContentMeta, parse_content_meta
from meshhw.dare.heads import SequenceProof, prove_frame, verify_head
from meshhw.dare.local import LocalKey
from meshhw.dare.policy import session_policy
from meshhw.dare.prepare import Outline
from meshhw.dare.read import read_stream
from meshhw.dare.rewrap import rewrap_stream
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import Creation, SequenceWriter, create
from meshhw.dare.write import seal, sign_detached
from meshhw.errors import FormatError, IntegrityError, MeshError

SHORT_AND_LONG = pytest.mark.parametrize("run", ["short", pytest.param("long", marks=pytest.mark.fuzz)])
KEY = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
OTHER = LocalKey(PrivateKey(Algorithm.X448, bytes(range(56))))
SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
RING = KeyRing([KEY])
READERS = [RecipientKey(KEY.public)]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """These octets with some cut out, put in or changed."""
    octets = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(octets) - 1, 0)))
        octets[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(octets)


@SHORT_AND_LONG
@given(octets=st.binary(max_size=80) | damaged(write_eds(b"\0", b"a text that is hidden")))
def test_a_text_of_any_octets_is_read_or_refused(run: str, octets: bytes) -> None:
    with suppress(FormatError):
        prefix, data = read_eds(octets)
        assert prefix in octets
        assert data in octets


META = ContentMeta(unique_id="x", filename="n", file_entry={"Mode": 1}, first=3, labels=("l",)).octets()


@SHORT_AND_LONG
@given(octets=st.binary(max_size=200) | damaged(META))
def test_content_metadata_of_any_octets_is_read_or_refused(run: str, octets: bytes) -> None:
    with suppress(FormatError):
        assert isinstance(parse_content_meta(octets), ContentMeta)


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("proof") / "s"
    create(path)
    with SequenceWriter(path) as writer:
        for number in range(6):
            writer.append(b"%d" % number)
    with SequenceFile(path) as sequence:
        return prove_frame(sequence, 3).octets()


@SHORT_AND_LONG
@given(data=st.data())
def test_a_damaged_proof_is_refused_or_says_the_same(run: str, proof: bytes, data: st.DataObject) -> None:
    right = SequenceProof.parse(proof)
    with suppress(MeshError):
        other = SequenceProof.parse(data.draw(st.binary(max_size=200) | damaged(proof)))
        other.check()
        # The hashes do not fix the number of leaves (RFC 9162): that is the trusted head's to say.
        assert other.head.head.digest == right.head.head.digest
        assert (other.index, other.payload_digest) == (right.index, right.payload_digest)


HEAD = seal(b'{"SequenceHead":{}}', Outline(signers=[SIGNER]))


@SHORT_AND_LONG
@given(body=st.binary(max_size=120))
def test_a_signed_head_of_any_octets_is_refused(run: str, body: bytes) -> None:
    with pytest.raises(MeshError):
        verify_head(seal(body, Outline(signers=[SIGNER])), [SIGNER.public])
    with pytest.raises(MeshError):
        verify_head(HEAD, [SIGNER.public])


LETTER = seal(b"a letter", Outline(readers=READERS, signers=[SIGNER], annotations=[b"note"])).octets()
DETACHED = sign_detached(io.BytesIO(b"elsewhere"), Outline(signers=[SIGNER])).octets()


@SHORT_AND_LONG
@given(octets=damaged(LETTER))
def test_a_damaged_envelope_is_not_given_to_more_readers(run: str, octets: bytes) -> None:
    out = io.BytesIO()
    with suppress(MeshError):
        rewrap_stream(io.BytesIO(octets), out, RING, [RecipientKey(OTHER.public)], known=[SIGNER.public])
        read = io.BytesIO()  # where it was told to be right, it is what it was
        read_stream(io.BytesIO(out.getvalue()), read.write, KeyRing([OTHER]))
        assert read.getvalue() == b"a letter"


@SHORT_AND_LONG
@given(octets=damaged(DETACHED))
def test_a_damaged_detached_signature_proves_nothing(run: str, octets: bytes) -> None:
    try:
        opened = read_stream(io.BytesIO(octets), None, detached=io.BytesIO(b"elsewhere"))
    except MeshError:
        return
    assert octets == DETACHED or SIGNER.public not in opened.signers


@SHORT_AND_LONG
@given(octets=st.binary(max_size=300))
def test_an_index_of_any_octets_is_read_or_refused(run: str, octets: bytes) -> None:
    with (
        TemporaryDirectory() as base,
        suppress(MeshError),
        archive_with_index(Path(base) / "archive", octets) as archive,
    ):
        read_index(archive, SequenceReader(archive, RING))


NAMES = st.one_of(
    st.just("file"),
    st.sampled_from(("..", "../out", "/etc/x", "a/../../b", "a//b", "", ".", "a\0b", "c:x", "a\\b", "d/")),
    st.text(max_size=12),
)
LIES = st.fixed_dictionaries(
    {"UniqueId": NAMES},
    optional={
        "cty": st.sampled_from(("inode/directory", "inode/symlink", "x")),
        "Size": st.integers(-(2**63), 2**63),
        "Mode": st.integers(-1, 2**40),
        "LastWriteTime": st.text("0123456789.-²٣", max_size=8)
        | st.just("9" * 30 + ".5")
        | st.text(max_size=9),
        "Index": st.integers(-3, 5),
    },
)


@SHORT_AND_LONG
@given(lies=st.lists(LIES, min_size=1, max_size=3), right=st.booleans())
def test_an_index_that_lies_leads_nowhere(run: str, lies: list[dict[str, object]], right: bool) -> None:
    positions = [({"Index": 1} if right else {}) | entry for entry in lies]
    try:
        octets = msgspec.json.encode({"SequenceIndex": {"Full": True, "Positions": positions}})
    except (OverflowError, UnicodeEncodeError):
        return
    with TemporaryDirectory() as kept:
        base = Path(kept)
        with suppress(MeshError), archive_with_index(base / "archive", octets) as archive:
            reader = SequenceReader(archive, RING)
            extract(archive, reader, read_index(archive, reader).values(), base / "out")
        assert {place.name for place in base.iterdir()} <= {"archive", "out"}


def archive_with_index(path: Path, octets: bytes) -> SequenceFile:
    """An archive with one file, whose index frame was written by a hostile reader of it."""
    create(path, Creation(content_type=CONTENT_TYPE, policy=session_policy(READERS)))
    with SequenceWriter(path, READERS, keeps_positions=False) as writer:
        meta = ContentMeta(filename="file", content_type="application/octet-stream", event="New")
        writer.append(b"what is in it", Outline(content=meta))
        writer.append(octets, Outline(content=ContentMeta(content_type=INDEX_TYPE)))
    return SequenceFile(path, keeps_positions=False)


@SHORT_AND_LONG
@given(data=st.data())
def test_a_damaged_archive_gives_whole_files_or_an_error(run: str, data: st.DataObject) -> None:
    with TemporaryDirectory() as kept:
        base = Path(kept)
        (base / "root").mkdir()
        for name in ("one", "two"):
            (base / "root" / name).write_bytes(name.encode() * 100)
        make_archive(base / "root", base / "archive", READERS, [SIGNER])
        (base / "archive").write_bytes(data.draw(damaged((base / "archive").read_bytes())))
        with suppress(MeshError), SequenceFile(base / "archive", keeps_positions=False) as archive:
            reader = SequenceReader(archive, RING)
            extract(archive, reader, read_index(archive, reader).values(), base / "out")
        for place in (base / "out").rglob("*"):
            assert place.read_bytes() == (base / "root" / place.name).read_bytes()


RIGHT = {"UniqueId": "file", "Size": 13, "Mode": 0o644, "LastWriteTime": "", "Index": 1}


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("UniqueId", "other"),
        ("Size", 12),
        ("Mode", 0o755),
        ("LastWriteTime", "5.0"),
        ("cty", "inode/symlink"),
    ],
)
def test_an_index_that_says_another_thing_than_its_frame_is_told(
    tmp_path: Path, name: str, lie: object
) -> None:
    octets = msgspec.json.encode({"SequenceIndex": {"Full": True, "Positions": [RIGHT | {name: lie}]}})
    with archive_with_index(tmp_path / "archive", octets) as archive:
        reader = SequenceReader(archive, RING)
        with pytest.raises(IntegrityError, match="another story"):
            extract(archive, reader, read_index(archive, reader).values(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_envelope_is_parsed_or_refused() -> None:
    assert Envelope.parse(LETTER).octets() == LETTER


def test_an_index_that_says_the_same_as_its_frame_is_believed(tmp_path: Path) -> None:
    octets = msgspec.json.encode({"SequenceIndex": {"Full": True, "Positions": [RIGHT]}})
    with archive_with_index(tmp_path / "archive", octets) as archive:
        reader = SequenceReader(archive, RING)
        extract(archive, reader, read_index(archive, reader).values(), tmp_path / "out")
    assert (tmp_path / "out" / "file").read_bytes() == b"what is in it"
