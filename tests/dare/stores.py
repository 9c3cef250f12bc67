"""One file of every kind that we write, with keys that everybody knows. `python -m tests.dare.stores` prints
what tests/vectors/dare_stores.json holds: other seeds and times in every run."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from meshhw.algorithms import Algorithm, Operation, PrivateKey
from meshhw.dare.archive import make_archive, update_archive
from meshhw.dare.catalog import Catalog, create_catalog
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import ContentMeta, KeyValue
from meshhw.dare.heads import prove_frame
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.spool import MessageState, append_message, complete, create_spool
from meshhw.dare.spool_compact import compact_spool
from meshhw.dare.write import seal, sign_detached, write_stream
from meshhw.keystore.uri import KeyURI
from meshhw.managers import logsealing
from meshhw.managers.uselog import UseLog

KEY = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
NEWER = LocalKey(PrivateKey(Algorithm.X448, bytes(range(56))))
SIGNERS = [
    LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32)))),
    LocalKey(PrivateKey(Algorithm.P256, bytes(range(32)))),
    LocalKey(PrivateKey(Algorithm.P384, bytes(range(48)))),
]
READERS = [RecipientKey(KEY.public)]
TEXT = b"Tell no-one!"
LETTERS = (
    "NAZJ-EXQC-FYLR-LDLF-4YXZ-NAGK-FCHV",
    "NBDY-7VAE-G7MI-KXKN-ZZAI-BQZV-2LQ4",
    "NC5Q-7VAE-G7MI-KXKN-ZZAI-BQZV-2LQ4",
)
STATEMENT = b"new keys from here on"


def files(directory: Path) -> dict[str, bytes]:
    """The octets of each, by what it is."""
    chunked = io.BytesIO()
    outline = Outline(READERS, SIGNERS, ContentMeta(filename="launch"), annotations=[b"note"])
    write_stream(io.BytesIO(TEXT), chunked, outline)
    return {
        "envelope": chunked.getvalue(),
        "detached signature": sign_detached(io.BytesIO(TEXT), Outline(signers=SIGNERS)).octets(),
        "archive": _archive(directory),
        "catalog": _catalog(directory),
        "compacted catalog": (directory / "compact.dcat").read_bytes(),
        "spool": _spool(directory / "s.dspl"),
        "compacted spool": _compacted_spool(directory),
        "use log": _log(directory / "home"),
    }


def _archive(directory: Path) -> bytes:
    root, path = directory / "tree", directory / "a.dare"
    (root / "deep").mkdir(parents=True)
    for name, octets in (("one", b"first"), ("two", b""), ("deep/three", b"third")):
        (root / name).write_bytes(octets)
        (root / name).chmod(0o640)
        os.utime(root / name, ns=(0, 1_700_000_000_000_000_005))
    (root / "link").symlink_to("deep/three")
    make_archive(root, path, READERS, SIGNERS[:1])
    (root / "one").write_bytes(b"changed")
    (root / "two").unlink()
    update_archive(root, path, KeyRing([KEY]), SIGNERS[:1])
    return path.read_bytes()


def _catalog(directory: Path) -> bytes:
    path = directory / "c.dcat"
    create_catalog(path, READERS)
    with Catalog(path, KeyRing([KEY, NEWER])) as catalog:
        for key, payload in (("a", b"one"), ("b", b"two"), ("a", b"three")):
            catalog.put(key, payload)
        catalog.delete("b", [KeyValue("Stamp", "gone")])
        catalog.begin_epoch([RecipientKey(NEWER.public)], STATEMENT)
        catalog.put("c", b"under the newer key", digests=[bytes(64)])
        proven = prove_frame(catalog.sequence, 5)
        catalog.compact(directory / "compact.dcat", SIGNERS[:1], [proven])
    return path.read_bytes()


def _spool(path: Path) -> bytes:
    create_spool(path, READERS)
    with SequenceWriter(path, READERS) as spool:
        append_message(spool, LETTERS[0], "Message", b'{"Message":{}}')
        append_message(spool, LETTERS[1], "Message", seal(TEXT, Outline(signers=SIGNERS[:1])))
        complete(spool, {LETTERS[0]: MessageState.READ})
        complete(spool, {LETTERS[0]: MessageState.CLOSED})
    return path.read_bytes()


def _compacted_spool(directory: Path) -> bytes:
    """Compacted twice: a message that was closed between, and one that is open still."""
    first, second = directory / "first.dspl", directory / "second.dspl"
    for source, target in ((directory / "s.dspl", first), (first, second)):
        with SequenceFile(source) as sequence:
            compact_spool(SequenceReader(sequence, KeyRing([KEY])), target, SIGNERS[:1])
        if target is first:
            with SequenceWriter(target, READERS) as spool:
                append_message(spool, LETTERS[2], "Message", b'{"Message":{}}')
                complete(spool, {LETTERS[2]: MessageState.CLOSED}, LETTERS[1])
    return second.read_bytes()


def _log(home: Path) -> bytes:
    home.mkdir(mode=0o700)
    for caller in ("first", "second"):
        log = UseLog(home / "log.jsonl", caller)
        for _ in range(2):
            log.record(KeyURI.parse("software:id=01"), Operation.SIGN, "ok")
        log.close()
        logsealing.seal(home, SIGNERS[0])
    return logsealing.sequence_path(home).read_bytes()


def vectors(directory: Path) -> dict[str, Any]:
    """As they are printed."""
    made = files(directory)
    with SequenceFile(directory / "c.dcat") as sequence:
        assert len(sequence) == 7
    return {
        "source": "tests/dare/stores.py; tests/dare/independent_stores.py reads them from docs/formats.md",
        "status": "WRITTEN",
        "readers": {"X25519": bytes(range(32)).hex(), "X448": bytes(range(56)).hex()},
        "files": {name: octets.hex() for name, octets in made.items()},
    }


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        print(json.dumps(vectors(Path(temporary)), indent=1))
