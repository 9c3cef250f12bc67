"""Every kind of file that we write, read by code that knows docs/formats.md alone: as it is written now, and
as it was written when the vectors were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap

from meshhw.dare.archive import read_index
from meshhw.dare.catalog import Catalog
from meshhw.dare.exchange import KeyRing
from meshhw.dare.read import read_stream
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.spool import contents, messages
from meshhw.udf import fingerprint
from tests.dare import independent_stores as other
from tests.dare import independent_tree as tree
from tests.dare import stores

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "dare_stores.json").read_text())
KEYS = [other.Key(crv, bytes.fromhex(private)) for crv, private in VECTORS["readers"].items()]
NAMES = [fingerprint(signer.public) for signer in stores.SIGNERS]
RING = KeyRing([stores.KEY, stores.NEWER])
SEQUENCES = ["archive", "catalog", "compacted catalog", "spool", "compacted spool", "use log"]


@pytest.fixture(scope="module", params=["now", "vectors"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    if request.param == "now":
        return stores.files(tmp_path_factory.mktemp("stores"))
    return {name: bytes.fromhex(octets) for name, octets in VECTORS["files"].items()}


def test_an_envelope_in_chunks_by_three_signers(files: dict[str, bytes]) -> None:
    envelope = other.parse(files["envelope"])
    assert other.signers(envelope) == NAMES
    content, annotations, payload = other.opened(
        envelope.header, envelope.body, other.seed_of(envelope.header, KEYS[0])
    )
    assert (content, annotations, payload) == ({"Filename": "launch"}, [b"note"], stores.TEXT)


def test_a_detached_signature(files: dict[str, bytes]) -> None:
    envelope = other.parse(files["detached signature"])
    assert other.signers(envelope, stores.TEXT) == NAMES
    with pytest.raises(AssertionError):
        other.signers(envelope, stores.TEXT + b"!")


def test_an_archive(files: dict[str, bytes]) -> None:
    found = other.read_sequence(files["archive"], *KEYS)
    assert found[0].header["dig"] == "S256"
    entries = other.archive(found)
    assert {name: octets for name, (_, octets) in entries.items()} == {
        "one": b"changed",
        "deep": b"",
        "deep/three": b"third",
        "link": b"deep/three",
    }
    content = entries["deep/three"][0]
    assert content["FileEntry"] == {"Mode": 0o640, "LastWriteTime": "1700000000.000000005"}
    assert [entries[name][0]["cty"] for name in ("deep", "link")] == ["inode/directory", "inode/symlink"]
    assert other.is_head_before(found, len(found) - 1)
    assert other.head_in(found[-1])[1] == NAMES[:1]


def test_a_catalog_and_what_it_is_compacted_to(files: dict[str, bytes]) -> None:
    found = other.read_sequence(files["catalog"], *KEYS)
    expected = {"a": b"three", "c": b"under the newer key"}
    assert other.catalog(found) == expected
    compacted = other.read_sequence(files["compacted catalog"], KEYS[1])  # the newer key alone
    assert other.catalog(compacted) == expected
    said, signers = other.head_in(compacted[1])
    assert signers == NAMES[:1]
    assert (said["SequenceId"], said["Index"]) == (found[0].header["SequenceId"], len(found) - 1)
    assert said["TreeDigest"] == found[-1].trailer["TreeDigest"]
    assert other.links(compacted) == [(said, signers)]
    assert compacted[2].content == {"cty": "application/mmm/sequence-proof"}
    assert tree.covers(compacted[2].payload)
    proof = json.loads(compacted[2].payload)["SequenceProof"]
    assert (proof["Header"], proof["TreeDigest"]) == (found[5].header, said["TreeDigest"])
    assert compacted[3].content == {"cty": other.EPOCH}
    assert compacted[3].payload == stores.STATEMENT
    assert compacted[3].trailer["PayloadDigest"] == proof["PayloadDigest"]
    assert "policy" in compacted[3].header
    [digests] = [f.header["ObjectDigests"] for f in compacted if "ObjectDigests" in f.header]
    assert digests == [other.known.b64(bytes(64))]
    [deletion] = [f.content for f in compacted if f.content.get("Event") == "Delete"]
    assert deletion["KeyValues"] == [{"Key": "Stamp", "Value": "gone"}]


def test_a_spool(files: dict[str, bytes]) -> None:
    found = other.read_sequence(files["spool"], *KEYS)
    assert other.spool(found) == {
        stores.LETTERS[0]: (b'{"Message":{}}', "Closed"),
        stores.LETTERS[1]: (stores.TEXT, "Open"),
    }


def test_a_spool_that_was_compacted_twice(files: dict[str, bytes]) -> None:
    first = other.read_sequence(files["spool"], *KEYS)
    found = other.read_sequence(files["compacted spool"], *KEYS)
    assert other.spool(found) == {
        stores.LETTERS[0]: (None, "Closed"),
        stores.LETTERS[1]: (stores.TEXT, "Open"),
        stores.LETTERS[2]: (None, "Closed"),
    }
    (between, by), (oldest, too) = other.links(found)
    assert by == too == NAMES[:1]
    assert (oldest["SequenceId"], oldest["Index"]) == (first[0].header["SequenceId"], len(first) - 1)
    assert oldest["TreeDigest"] == first[-1].trailer["TreeDigest"]
    assert between["SequenceId"] not in (oldest["SequenceId"], found[0].header["SequenceId"])
    assert [frame.content.get("MessageType") for frame in found[3:]] == ["Message", "MessageComplete"]
    references = json.loads(found[-1].payload)["MessageComplete"]["References"]
    assert {item["MessageId"]: item.get("ResponseId") for item in references} == {
        stores.LETTERS[0]: None,
        stores.LETTERS[2]: stores.LETTERS[1],
    }
    assert all(item["EnvelopeId"] == other.envelope_id(item["MessageId"]) for item in references)


def test_a_use_log(files: dict[str, bytes]) -> None:
    found = other.read_sequence(files["use log"])
    assert [entry["caller"] for entry in other.use_log(found)][:2] == ["first", "first"]
    assert {entry["caller"] for entry in other.use_log(found)} == {"first", "second"}
    assert other.head_in(found[-1])[1] == NAMES[:1]


WRONG = (AssertionError, ValueError, LookupError, StopIteration, InvalidTag, InvalidUnwrap, InvalidSignature)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_change_of_any_octet_is_noticed_by_it_too(files: dict[str, bytes], name: str) -> None:
    octets = bytearray(files[name])
    for at in range(0, len(octets), 97):
        octets[at] ^= 0x10
        with pytest.raises(WRONG):
            other.read_sequence(bytes(octets), *KEYS)
        octets[at] ^= 0x10


def test_we_read_the_vectors(tmp_path: Path) -> None:
    for name, octets in VECTORS["files"].items():
        (tmp_path / name).write_bytes(bytes.fromhex(octets))
    out = bytearray()
    with (tmp_path / "envelope").open("rb") as file:
        opened = read_stream(file, out.extend, RING)
    assert (bytes(out), opened.annotations) == (stores.TEXT, (b"note",))
    assert opened.signers == tuple(signer.public for signer in stores.SIGNERS)
    for name in SEQUENCES:
        with SequenceFile(tmp_path / name, keeps_positions=False) as sequence:
            check_sequence(sequence, SequenceReader(sequence, RING))
    with SequenceFile(tmp_path / "archive", keeps_positions=False) as sequence:
        assert sorted(read_index(sequence, SequenceReader(sequence, RING))) == [
            "deep",
            "deep/three",
            "link",
            "one",
        ]
    with Catalog(tmp_path / "compacted catalog", RING) as catalog:
        assert {entry.key for entry in catalog.entries()} == {"a", "c"}
    with SequenceFile(tmp_path / "spool", keeps_positions=False) as sequence:
        found = {message.message_id for message in messages(SequenceReader(sequence, RING))}
        assert found == set(stores.LETTERS[:2])
    with SequenceFile(tmp_path / "compacted spool", keeps_positions=False) as sequence:
        short = contents(SequenceReader(sequence, RING))
        assert [message.message_id for message in short.messages] == [stores.LETTERS[1]]
        assert set(short.gone) == {stores.LETTERS[0], stores.LETTERS[2]}
