"""Envelopes of any size in constant memory, each run in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_WORK = """
import re, sys
from pathlib import Path
from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import read_stream
from meshhw.dare.write import write_stream
directory, size, signed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "signed"
key = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
signer = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
with open(directory / "plain", "wb") as file:
    file.truncate(size)
outline = Outline(readers=[RecipientKey(key.public)], signers=[signer] if signed else [])
with open(directory / "plain", "rb") as source, open(directory / "env", "wb") as target:
    write_stream(source, target, outline, length=size)
with open(directory / "env", "rb") as source, open(directory / "out", "wb") as target:
    read_stream(source, target.write, KeyRing([key]))
assert (directory / "out").stat().st_size == size
# not ru_maxrss: it begins with what the parent had in memory when it started this process
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def peak(directory: Path, size: int, mode: str) -> int:
    """MiB at most in memory while this many octets are encrypted and decrypted."""
    command = [sys.executable, "-c", _WORK, str(directory), str(size), mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("mode", ["signed", "unsigned"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, mode: str) -> None:
    small, large = peak(tmp_path, 16 << 20, mode), peak(tmp_path, 128 << 20, mode)
    assert large < 80
    assert large - small < 12
