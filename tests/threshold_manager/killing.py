"""Killing a command in the middle: it is stopped first, and killed only where it still stands there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from meshhw.managers.threshold.store import KeyStore
from tests.patience import until
from tests.threshold_manager.conftest import PASSPHRASE

TRIES = 8
"""A command that was quicker than the signal has come to its end, and is begun anew."""


def stands_at(store: KeyStore, point: str) -> bool:
    """Whether the journal tells of this point, or of one between it and the end of that step."""
    try:
        journal = msgspec.json.decode((store.path / "journal.json").read_bytes(), type=dict[str, object])
    except (FileNotFoundError, msgspec.DecodeError):
        return False
    if journal.get("doing") == "provision" and store.exists:
        return False  # all is done but for the journal's end
    if point == "begun":
        return True
    if point == "destroying":
        return journal.get("doing") == "destroying old shares"
    if point == "signing":
        return journal.get("use") == "signing"
    keys = journal.get("keys", [])
    assert isinstance(keys, list)
    return "shares" in journal and len(keys) >= int(point.split()[1])


def kill_at(
    store: KeyStore,
    point: str,
    arguments: list[str],
    *,
    whole_group: bool,
    anew: Callable[[], object] = int,
) -> None:
    """Kill the command, with its helpers or without, where the journal says so; `anew` undoes one that has
    ended.
    """
    for _ in range(TRIES):
        if _killed(store, point, arguments, whole_group=whole_group):
            return
        anew()
    pytest.fail(f"{arguments[0]} was quicker than the signal {TRIES} times")


def _killed(store: KeyStore, point: str, arguments: list[str], *, whole_group: bool) -> bool:
    """Whether it was killed in the middle; else it has ended."""
    environment = os.environ | {"MESHHW_PIN_SOURCE": "env:VAULT_PASSPHRASE", "VAULT_PASSPHRASE": PASSPHRASE}
    process = subprocess.Popen(
        [sys.executable, "-m", "meshhw", "threshold", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while process.poll() is None and not stands_at(store, point):
        time.sleep(0.0005)
    until(lambda: _stopped(process.pid))
    there = process.poll() is None and stands_at(store, point)
    if there:
        process.kill() if not whole_group else _signal(process.pid, signal.SIGKILL)
    _signal(process.pid, signal.SIGCONT)
    _, told = process.communicate()
    until(lambda: not members(process.pid))  # a helper that was left alone undoes what it did
    assert process.returncode == (-signal.SIGKILL if there else 0), told.decode()
    return there


def _stopped(group: int) -> bool:
    """Whether a whole group stands still. A process that starts a program sleeps until that runs, beyond any
    signal's reach, and the program may be stopped before: then both go on for a moment.
    """
    _signal(group, signal.SIGSTOP)
    for _ in range(20):
        if set(members(group).values()) <= {"T"}:
            return True
        time.sleep(0.01)
    _signal(group, signal.SIGCONT)
    return False


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(group, number)


def members(group: int) -> dict[int, str]:
    """The living processes of a process group, and the state of each."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, leads = status.read_text().rpartition(")")[2].split()[:3]
            if int(leads) == group and state != "Z":
                found[int(status.parent.name)] = state
    return found
