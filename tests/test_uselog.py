"""The use log: its chain, what breaks it, and what a crash may do to it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meshhw.algorithms import Operation
from meshhw.errors import InsecurePermissions, IntegrityError
from meshhw.keystore.uri import KeyURI
from meshhw.managers.uselog import START, UseLog, entries, verify

KEY = KeyURI.parse("pkcs11:token=one;object=k?pin-source=file:/run/pin")
WRITER = """
import sys
from pathlib import Path
from meshhw.algorithms import Operation
from meshhw.keystore.uri import KeyURI
from meshhw.managers.uselog import UseLog
log = UseLog(Path(sys.argv[1]), "writer")
for _ in range(int(sys.argv[2])):
    log.record(KeyURI.parse("software:id=1"), Operation.SIGN, "ok")
"""


def write(path: Path, count: int) -> None:
    log = UseLog(path, "test")
    for _ in range(count):
        log.record(KEY, Operation.SIGN, "ok")
    log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "log.jsonl"


def test_an_entry_says_who_did_what_with_which_key(path: Path) -> None:
    log = UseLog(path, "meshhw key sign")
    log.record(KEY, Operation.SIGN, "PinIncorrect")
    log.close()
    entry, _ = next(entries(path))
    assert (entry.index, entry.operation, entry.caller, entry.result) == (
        0,
        "sign",
        "meshhw key sign",
        "PinIncorrect",
    )
    assert entry.key == "pkcs11:token=one;object=k"
    assert entry.previous == START
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_chain_goes_on_over_processes_and_openings(path: Path) -> None:
    write(path, 3)
    subprocess.run([sys.executable, "-c", WRITER, str(path), "2"], check=True)
    write(path, 1)
    assert verify(path).count == 6


def test_an_absent_log_is_an_empty_one(path: Path) -> None:
    assert verify(path).count == 0
    UseLog(path, "nothing").close()
    assert not path.exists()


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize("harm", ["change", "drop", "swap"])
def test_any_harm_before_the_last_line_is_found(path: Path, line: int, harm: str) -> None:
    write(path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    if harm == "change":
        lines[line] = lines[line].replace(b'"ok"', b'"no"')
    elif harm == "drop":
        del lines[line]
    else:
        lines[line], lines[line + 1] = lines[line + 1], lines[line]
    path.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match="chain breaks"):
        verify(path)


def test_a_torn_last_line_is_found_then_mended_and_told(path: Path) -> None:
    write(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(IntegrityError, match="line 3 of the use log is torn"):
        verify(path)
    write(path, 1)
    assert [entry.operation for entry, _ in entries(path)] == ["sign", "sign", "repair", "sign"]
    assert verify(path).count == 4


def test_a_log_cut_at_any_octet_can_go_on(path: Path) -> None:
    write(path, 2)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 11):
        path.write_bytes(whole[:cut])
        write(path, 1)
        verify(path)
        json.loads(path.read_bytes().splitlines()[-1])


def test_rubbish_at_the_end_is_not_built_upon(path: Path) -> None:
    write(path, 1)
    with path.open("ab") as file:
        file.write(b"rubbish\n")
    with pytest.raises(IntegrityError, match="damaged"):
        write(path, 1)
    with pytest.raises(IntegrityError, match="line 2 of the use log is not an entry"):
        verify(path)


def test_threads_and_processes_write_one_chain(path: Path) -> None:
    log = UseLog(path, "threads")
    threads = [
        threading.Thread(target=lambda: [log.record(KEY, Operation.AGREE, "ok") for _ in range(50)])
        for _ in range(4)
    ]
    other = subprocess.Popen([sys.executable, "-c", WRITER, str(path), "100"])
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait() == 0
    log.close()
    assert verify(path).count == 300


def test_kill_9_loses_no_entry_that_was_recorded(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), "1000000"])
    while not path.exists() or path.stat().st_size < 5000:
        time.sleep(0.01)
    writer.kill()
    writer.wait()
    before = path.read_bytes().count(b"\n")
    write(path, 1)
    assert verify(path).count in (before + 1, before + 2)


def test_a_log_open_to_others_is_refused(path: Path) -> None:
    write(path, 1)
    path.chmod(0o644)
    with pytest.raises(InsecurePermissions):
        write(path, 1)
    with pytest.raises(InsecurePermissions):
        verify(path)


def test_an_append_is_quick(path: Path) -> None:
    log = UseLog(path, "speed")
    log.record(KEY, Operation.SIGN, "ok")
    start = time.process_time()
    for _ in range(500):
        log.record(KEY, Operation.SIGN, "ok")
    assert (time.process_time() - start) / 500 < 0.002
    log.close()
