"""Killed at any moment, a synchronisation goes on where it ended, and the directory is whole for others."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.sync.people import Machine

RUNS = 8


def test_kill_9_at_any_moment(laptop: Machine, phone: Machine, shared: Path) -> None:
    laptop.put("0", "first")
    whole = _seconds(laptop.sync, shared)
    expected = {"0": "first"}
    chance = random.Random(7)
    for run in range(RUNS):
        writer, reader = (laptop, phone) if run % 2 else (phone, laptop)
        writer.put(f"{run + 1}", "x")
        expected[f"{run + 1}"] = "x"
        for machine in (writer, reader):
            _killed_after(chance.uniform(0, 1.5 * whole), machine, shared)
        assert reader.passwords().items() <= expected.items()
    for machine in (laptop, phone, laptop):
        assert machine.sync(shared).problems == []
    assert laptop.passwords() == phone.passwords() == expected
    assert not list(shared.rglob("*.part"))


def _killed_after(seconds: float, machine: Machine, shared: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            machine.sync(shared)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _seconds(work: object, *arguments: object) -> float:
    start = time.monotonic()
    assert callable(work)
    work(*arguments)
    return time.monotonic() - start
