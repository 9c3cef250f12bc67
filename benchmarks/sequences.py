"""A catalog of a million entries: appends, opening, looking up, rebuilding its index, proving one of them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Amount, Figure
from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.catalog import Catalog, create_catalog
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.heads import prove_frame
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_write import SequenceWriter, create

ENTRIES = int(os.environ.get("MESHHW_BENCH_ENTRIES", "1000000"))
_BATCH = 100
_KEY = LocalKey(PrivateKey(Algorithm.X25519, os.urandom(32)))
_ENTRY = b'{"CatalogedCredential":{"Service":"example.com","Username":"alice","Password":"correct horse"}}'


def figures() -> Iterator[Figure | Amount]:
    """Appends to a short and a long sequence in turn, then a catalog as long."""
    with tempfile.TemporaryDirectory() as kept:
        directory = Path(kept)
        yield from _appends(directory)
        yield from _catalog(directory / "catalog.dcat")


def append(writer: SequenceWriter, count: int) -> None:
    """That many small entries, with a flush for each batch."""
    for number in range(count):
        writer.append(_ENTRY)
        if number % _BATCH == 0:
            writer.flush()


def _appends(directory: Path) -> Iterator[Figure]:
    rounds = 15
    with ExitStack() as opened:
        writers = []
        for name in ("long", *(f"short{number}" for number in range(rounds + 1))):
            create(directory / name)
            writers.append(opened.enter_context(SequenceWriter(directory / name)))
        long, *short = writers
        append(long, ENTRIES)
        for writer in short:
            append(writer, 1_000)
        yield Figure(
            f"append 1,000 entries at {ENTRIES:,}",
            lambda: append(long, 1_000),
            lambda: append(short.pop(), 1_000),
            "at 1,000",
            limit=1.2,
            rounds=rounds,
        )
    for path in directory.iterdir():
        path.unlink()


def _catalog(path: Path) -> Iterator[Amount]:
    create_catalog(path, [RecipientKey(_KEY.public)])
    what = f"a catalog of {ENTRIES:,} encrypted entries"
    yield Amount(
        f"fill {what}, a flush for each {_BATCH}", lambda: _filled(path), "a second", 5_000, at_least=True
    )
    yield Amount(f"open {what}", lambda: _opened(path)[0], "s", 0.5)
    yield Amount("look up one of them by its key", lambda: _opened(path)[1] * 1000, "ms", 5)
    yield Amount("prove one of them", lambda: _proof(path), "hashes", 21)
    yield Amount("rebuild its index", lambda: _rebuilt(path), "a second", 15_000, at_least=True)


def _filled(path: Path) -> float:
    start = time.process_time()
    with Catalog(path, KeyRing([_KEY])) as catalog:
        for number in range(ENTRIES):
            catalog.put(f"entry {number}", _ENTRY)
            if number % _BATCH == 0:
                catalog.flush()
    return ENTRIES / (time.process_time() - start)


def _opened(path: Path) -> tuple[float, float]:
    """Seconds until it is open, and for the slowest of a hundred keys here and there."""
    start = time.process_time()
    with Catalog(path, KeyRing([_KEY]), writable=False) as catalog:
        opened = time.process_time() - start
        slowest = 0.0
        for number in range(7, ENTRIES, ENTRIES // 100):
            start = time.process_time()
            assert catalog.get(f"entry {number}").payload == _ENTRY
            slowest = max(slowest, time.process_time() - start)
    return opened, slowest


def _proof(path: Path) -> float:
    """Hashes in the longest of some proofs; each was checked when it was made."""
    with SequenceFile(path) as sequence:
        return max(len(prove_frame(sequence, index).hashes) for index in (0, 1, ENTRIES // 3, ENTRIES))


def _rebuilt(path: Path) -> float:
    for suffix in (".keys", ".idx"):
        path.with_name(path.name + suffix).unlink()
    start = time.process_time()
    with Catalog(path, KeyRing([_KEY]), writable=False):
        return ENTRIES / (time.process_time() - start)
