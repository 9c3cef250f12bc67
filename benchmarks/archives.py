"""Archives against `tar | age`, both as processes: few large files, many small ones, one out of many."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

from benchmarks.dare import MESHHW, KeyFiles, peak_of
from benchmarks.harness import Amount, Figure

_SETS = (("100 files of 10 MB", 100, 10_000_000, 1.0), ("10,000 files of 2 kB", 10_000, 2_000, 10.0))


_ROUND_TRIP = """
import sys
from pathlib import Path
from benchmarks import dare
from meshhw.dare.archive import make_archive, read_index
from meshhw.dare.archive_extract import extract
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
path, out, root = map(Path, sys.argv[1:])
path.unlink()
make_archive(root, path, [dare.RecipientKey(dare._KEY.public)])
with SequenceFile(path, keeps_positions=False) as archive:
    reader = SequenceReader(archive, dare.KeyRing([dare._KEY]))
    extract(archive, reader, read_index(archive, reader).values(), out)
print(Path("/proc/self/status").read_text())
"""


def figures() -> Iterator[Figure | Amount]:
    """Writing and extracting both sets."""
    with tempfile.TemporaryDirectory() as kept:
        directory = Path(kept)
        keys = KeyFiles(directory)
        for name, count, size, limit in _SETS:
            (directory / "root").mkdir()
            for number in range(count):
                (directory / "root" / f"{number:05}").write_bytes(os.urandom(size))
            yield from _of_one_set(directory, keys, name, limit)


def _of_one_set(directory: Path, keys: KeyFiles, name: str, limit: float) -> Iterator[Figure | Amount]:
    root, ours, theirs, out = (directory / part for part in ("root", "ours.dare", "theirs.age", "out"))

    def archive() -> None:
        ours.unlink(missing_ok=True)
        _run([MESHHW, "dare", "archive", root, ours, "--encrypt", keys.public])

    def extract() -> None:
        rmtree(out, ignore_errors=True)
        _run([MESHHW, "dare", "extract", ours, out, "--key", keys.private])

    def tar_in() -> None:
        _pipe(["tar", "-C", root, "-c", "."], ["age", "-r", keys.recipient, "-o", theirs])

    def tar_out() -> None:
        rmtree(out, ignore_errors=True)
        out.mkdir()
        _pipe(["age", "-d", "-i", keys.identity, theirs], ["tar", "-C", out, "-x"])

    yield Figure(f"archive {name}", archive, tar_in, "`tar` to `age`", limit, rounds=5)
    yield Figure(f"extract {name}", extract, tar_out, "`age` to `tar`", limit, rounds=5)
    some = max(path.name for path in root.iterdir())
    yield Figure(
        f"extract one of {name}",
        lambda: _run([MESHHW, "dare", "extract", ours, directory / "one", some, "--key", keys.private]),
        tar_out,
        "`age` to `tar`",
        rounds=5,
    )
    rmtree(out)
    yield Amount(f"peak memory of archiving and extracting {name}", lambda: _peak(ours, out, root), "MiB", 96)
    for path in (root, out, directory / "one"):
        rmtree(path)
    for path in (ours, theirs):
        path.unlink()


def _peak(*places: Path) -> float:
    return peak_of("-c", _ROUND_TRIP, *places)


def _run(command: list[Path | str]) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def _pipe(first: list[Path | str], second: list[Path | str]) -> None:
    with subprocess.Popen([str(part) for part in first], stdout=subprocess.PIPE) as writer:
        subprocess.run([str(part) for part in second], check=True, stdin=writer.stdout)
    assert writer.returncode == 0
