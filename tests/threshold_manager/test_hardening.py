"""What a process that handles scalars does for itself, as the system tells of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from meshhw.keystore.api import OpenOptions
from meshhw.managers.threshold.hardening import wipe
from meshhw.managers.threshold.worker import Worker
from tests.threshold_manager.conftest import NewVault

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of it in /proc")
TELL = """
import ctypes, json, pathlib, resource
from meshhw.managers.threshold.hardening import harden
library = ctypes.CDLL(None)
{before}
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps({{
    "dumpable": library.prctl(3, 0, 0, 0, 0),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "locked": int(status.partition("VmLck:")[2].split()[0]),
}}))
"""


def told(before: str) -> dict[str, object]:
    """What a process is like after that."""
    command = [sys.executable, "-c", TELL.format(before=before)]
    found: dict[str, object] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


@linux
def test_no_core_dump_no_debugger_and_no_swap_where_memory_can_be_locked() -> None:
    plain, hardened = told(""), told("harden()")
    assert plain["dumpable"] == 1
    assert (hardened["dumpable"], hardened["core"]) == (0, [0, 0])
    allowed = told("library.mlockall(1 | 4)")["locked"]  # what the system lets anybody lock
    assert bool(hardened["locked"]) is bool(allowed)


@linux
def test_the_dealing_process_is_hardened(new_vault: NewVault, options: OpenOptions) -> None:
    arguments = {"algorithm": "X25519", "token": str(new_vault("one")), "index": 1, "label": "share"}
    with Worker("generate", arguments, options) as worker:
        worker.told()
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


def test_octets_are_overwritten_in_place() -> None:
    secret = bytearray(b"a scalar")
    same = memoryview(secret)
    wipe(secret)
    assert bytes(same) == bytes(8)
