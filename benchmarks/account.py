"""An account's catalog of 10,000 passwords: open it and look one up, with the vault unlocked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Figure
from meshhw.algorithms import Algorithm
from meshhw.dare.local import LocalKey
from meshhw.managers.account.stores import store_in
from meshhw.schema.entry import CatalogedCredential
from meshhw.udf import Seed, Specifier

ENTRIES = 10_000
STORE = "MMM_Credential"
LIMIT_MILLISECONDS = 60.0
_KEY = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.X448, "store"))


def fill(directory: Path) -> None:
    """That many entries, written in one session."""
    with store_in(directory, STORE, [_KEY], "MAAA", writable=True) as store:
        for number in range(ENTRIES):
            service = f"host{number}.example.com"
            store.put(f":{service}", CatalogedCredential(service=service, username="alice"))


def look_up(directory: Path) -> None:
    """Open the catalog and read one entry."""
    with store_in(directory, STORE, [_KEY], "MAAA") as store:
        store.get(":host77.example.com", CatalogedCredential)


def figures() -> Iterator[Figure]:
    """One look-up among 10,000 entries, against the same among one."""
    with tempfile.TemporaryDirectory() as kept:
        large, small = Path(kept) / "large", Path(kept) / "small"
        for path in (large, small):
            path.mkdir(mode=0o700)
        fill(large)
        with store_in(small, STORE, [_KEY], "MAAA", writable=True) as store:
            store.put(":host77.example.com", CatalogedCredential(service="host77.example.com"))
        yield Figure(
            f"open a catalog of {ENTRIES:,} and look one up",
            lambda: look_up(large),
            lambda: look_up(small),
            "among one",
            limit=3,
        )
