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


_ARCHIVE = """
import re, sys
from pathlib import Path
from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.archive import make_archive, read_index
from meshhw.dare.archive_extract import extract
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
directory, size = Path(sys.argv[1]), int(sys.argv[2])
key = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
(directory / "root").mkdir()
for number in range(3):  # one that is streamed, and many that are made ahead
    with open(directory / "root" / str(number), "wb") as file:
        file.truncate(size if number else 6 * size)
make_archive(directory / "root", directory / "archive", [RecipientKey(key.public)])
with SequenceFile(directory / "archive", keeps_positions=False) as archive:
    reader = SequenceReader(archive, KeyRing([key]))
    extract(archive, reader, read_index(archive, reader).values(), directory / "out")
assert (directory / "out" / "0").stat().st_size == 6 * size
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_memory_does_not_grow_with_an_archive(tmp_path: Path) -> None:
    peaks = []
    for size in (8 << 20, 16 << 20):
        directory = tmp_path / str(size)
        directory.mkdir()
        command = [sys.executable, "-c", _ARCHIVE, str(directory), str(size)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert max(peaks) < 96
    assert peaks[1] - peaks[0] < 12


@pytest.mark.parametrize("mode", ["signed", "unsigned"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, mode: str) -> None:
    small, large = peak(tmp_path, 16 << 20, mode), peak(tmp_path, 128 << 20, mode)
    assert large < 80
    assert large - small < 12
