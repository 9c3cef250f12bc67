"""What a look into a large catalog costs: as much as into a small one, and less than a person notices."""

from __future__ import annotations

import time
from pathlib import Path

from meshhw.algorithms import Algorithm
from meshhw.dare.local import LocalKey
from meshhw.managers.account.stores import store_in
from meshhw.schema.entry import CatalogedCredential
from meshhw.udf import Seed, Specifier

STORE = "MMM_Credential"
KEY = LocalKey(Seed.generate(Specifier.ANY).derive(Algorithm.X448, "store"))
ENTRIES = 2_000


def filled(directory: Path, count: int) -> Path:
    directory.mkdir(mode=0o700)
    with store_in(directory, STORE, [KEY], "MAAA", writable=True) as store:
        for number in range(count):
            store.put(f":{number}", CatalogedCredential(service=str(number), password="horse"))
    return directory


def blocks(directory: Path) -> int:
    """Blocks of the file that are read to open it and look one entry up."""
    with store_in(directory, STORE, [KEY], "MAAA") as store:
        assert store.get(":7", CatalogedCredential).service == "7"
        return store.catalog.sequence.reads


def test_a_look_up_reads_no_more_of_a_large_catalog_than_of_a_small_one(tmp_path: Path) -> None:
    large, small = filled(tmp_path / "large", ENTRIES), filled(tmp_path / "small", 8)
    assert blocks(large) <= blocks(small) + 3


def test_opening_and_looking_up_takes_less_than_60_milliseconds(tmp_path: Path) -> None:
    large = filled(tmp_path / "large", ENTRIES)
    times = []
    for _ in range(20):  # the best of them: a neighbour's load is not ours
        start = time.perf_counter()
        blocks(large)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.060
