"""The second process for many small files: in order, its faults told here, and nothing left of it.

Each test is a process of its own, since one with threads, as a test's may be, makes no helper.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from meshhw.dare.archive import make_archive, read_index, update_archive
from meshhw.dare.archive_extract import extract
from meshhw.dare.exchange import HasPublic, KeyRing
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_read import SequenceReader
from meshhw.errors import KeyNotFound
from meshhw.udf import UDF
from tests.dare.test_archive import KEY, READERS, contents, unpack

_FRAME = """
import json, os, signal, sys, threading, time
from meshhw.dare.helper import in_two
here = os.getpid()
def run(work, parts=range(40)):
    seen, fault = [], None
    try:
        with in_two(parts, lambda part: f"{os.getpid()} {work(part)}".encode()) as results:
            for result in results:
                seen.append(result.decode().split())
    except Exception as error:
        fault = repr(error)
    try:
        os.waitpid(-1, os.WNOHANG)
        left = True
    except ChildProcessError:
        left = False
    print(json.dumps({"processes": len({pid for pid, _ in seen}), "seen": [value for _, value in seen],
                      "fault": fault, "left": left}))
"""
_SQUARES = [str(number * number) for number in range(40)]
TWO = min(2, len(os.sched_getaffinity(0)))


def run(script: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", _FRAME + script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_parts_come_in_their_order_from_both() -> None:
    told = run("run(lambda part: part * part)")
    assert told == {"processes": TWO, "seen": _SQUARES, "fault": None, "left": False}


def test_answers_that_fill_the_pipe() -> None:
    told = run("run(lambda part: 'x' * 3_000_000, range(12))")
    assert told["processes"] == TWO
    assert told["seen"] == ["x" * 3_000_000] * 12


@pytest.mark.parametrize("part", [0, 1, 5, 39])
def test_a_fault_is_raised_here_and_the_helper_ends(part: int) -> None:
    told = run(f"run(lambda part: 1 // (part - {part}))")
    assert told["fault"] == "ZeroDivisionError('integer division or modulo by zero')"
    assert told["left"] is False
    assert len(told["seen"]) <= part  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)", "raise_(KeyboardInterrupt)", "1 // 0"]
)
@pytest.mark.parametrize("part", [0, 1, 3])
def test_what_a_helper_leaves_undone_is_done_here(end: str, part: int) -> None:
    told = run(
        "def raise_(kind): raise kind\n"
        f"def work(part):\n    if part == {part} and os.getpid() != here: {end}\n    return part * part\n"
        "run(work)"
    )
    assert (told["seen"], told["fault"], told["left"]) == (_SQUARES, None, False)


def test_no_copy_is_made_of_a_process_with_threads() -> None:
    told = run(
        "stop = threading.Event(); threading.Thread(target=stop.wait).start()\n"
        "run(lambda part: part * part); stop.set()"
    )
    assert told == {"processes": 1, "seen": _SQUARES, "fault": None, "left": False}


def test_who_stops_listening_ends_the_helper() -> None:
    told = run(
        "with in_two(range(40), lambda part: bytes(200_000)) as results: next(results)\nrun(int, range(2))"
    )
    assert told["left"] is False


@pytest.fixture
def many(tmp_path: Path) -> Path:
    root = tmp_path / "many"
    for number in range(150):
        place = root / f"d{number % 7}" / f"e{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}").write_bytes(os.urandom(number * 97 % 70_000))
        (place / f"{number:03}").chmod(0o600 + number % 8)
    (root / ("n" * 250)).write_bytes(b"a long name")
    (root / "large").write_bytes(os.urandom(300_000))
    (root / "link").symlink_to("d1/e1/001")
    return root


def _meshhw(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("meshhw")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_an_archive_of_many_small_files_is_written_and_extracted(many: Path, tmp_path: Path) -> None:
    _key_files(tmp_path)
    home = ("--home", tmp_path / "home")
    encrypt, key = ("--encrypt", tmp_path / "public.pem"), ("--key", tmp_path / "private.json")
    archive, out = tmp_path / "archive", tmp_path / "out"
    made = _meshhw("dare", "archive", many, archive, *encrypt, *home)
    assert made.returncode == 0, made.stderr
    assert _meshhw("dare", "verify", archive, *home).returncode == 0
    done = _meshhw("dare", "extract", archive, out, *key, *home)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(many)
    assert unpack(archive, tmp_path / "out2") == contents(many)  # in one process


def test_a_damaged_small_file_is_told_and_does_not_appear(many: Path, tmp_path: Path) -> None:
    _key_files(tmp_path)
    path = tmp_path / "archive"
    make_archive(many, path, READERS)
    octets = bytearray(path.read_bytes())
    with SequenceFile(path, keeps_positions=False) as archive:
        entries = read_index(archive, SequenceReader(archive, KeyRing([KEY])))
        index = entries["d1/e1/001"].index
        octets[archive.frame(index).span.records[1][0] + 3] ^= 1
    path.write_bytes(octets)
    done = _meshhw(
        "dare", "extract", path, tmp_path / "out", "--key", tmp_path / "private.json",
        "--home", tmp_path / "home",
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "changed" in done.stderr
    assert "Traceback" not in done.stderr
    found = [entry.name for entry in (tmp_path / "out" / "d1" / "e1").iterdir()]
    assert "001" not in found
    assert not [name for name in found if name.endswith(".part")]


class _Counting:
    """A ring that counts how often it is asked."""

    asked = 0

    def keys(self, kid: str) -> Iterable[HasPublic]:
        self.asked += 1
        return KeyRing([KEY]).keys(kid)

    def symmetric_keys(self, kid: str) -> Iterable[UDF]:
        return ()


def test_each_session_is_unwrapped_once_before_the_helper_is_made(many: Path, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    make_archive(many, path, READERS)
    for number in range(4):
        for name in range(number, 150, 5):
            (many / f"d{name % 7}" / f"e{name % 3}" / f"{name:03}").write_bytes(os.urandom(50))
        update_archive(many, path, KeyRing([KEY]))
    with SequenceFile(path, keeps_positions=False) as archive:
        ring = _Counting()
        reader = SequenceReader(archive, ring)
        entries = read_index(archive, reader)
        assert ring.asked == 1
        reader.learn(entry.index for entry in entries.values())
        assert ring.asked == 5
        reader.ask_nobody()
        extract(archive, reader, entries.values(), tmp_path / "out")
        assert ring.asked == 5
        stranger = SequenceReader(archive, ring)
        stranger.ask_nobody()
        with pytest.raises(KeyNotFound):
            stranger.open(1)
    assert contents(tmp_path / "out") == contents(many)


def _key_files(directory: Path) -> None:
    from meshhw.dare.keyfile import write_public
    from meshhw.dare.keys import private_to_jose
    from meshhw.jsonbcd import to_json
    from tests.dare.test_archive import PRIVATE

    (directory / "public.pem").write_bytes(write_public(KEY.public))
    (directory / "private.json").write_bytes(to_json(private_to_jose(PRIVATE)))
    (directory / "private.json").chmod(0o600)


_SLOW = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
import time
from meshhw.dare.helper import in_two
with in_two(range(100_000), lambda part: (time.sleep(0.01), b"")[1]) as results:
    for result in results:
        print("one", flush=True)
"""


@pytest.mark.skipif(TWO < 2, reason="a single processor, for which no helper is made")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_helper_does_not_outlive_whom_it_helps(end: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        helper = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        process.send_signal(end)
        process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while _is_running(helper):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
