"""Private files: modes, whole replacement under kill -9, locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshhw import files
from meshhw.errors import InsecurePermissions, StateError

REPLACER = """
import sys
from pathlib import Path
from meshhw import files
path = Path(sys.argv[1])
while True:
    for octet in (b"a", b"b"):
        with files.locked(path):
            files.replace(path, octet * 300_000)
"""


def test_a_new_directory_and_file_are_private(tmp_path: Path) -> None:
    home = files.private_directory(tmp_path / "a" / "b")
    files.replace(home / "state", b"x")
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "state").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_open_to_others_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(InsecurePermissions) as caught:
        files.read_private(path, 100)
    assert caught.value.hint == f"chmod 600 '{path}'"


def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    with pytest.raises(InsecurePermissions, match="mode 755"):
        files.private_directory(tmp_path / "home")


def test_a_file_above_its_limit_is_refused(tmp_path: Path) -> None:
    files.replace(tmp_path / "state", b"12345")
    assert files.read_private(tmp_path / "state", 5) == b"12345"
    with pytest.raises(StateError, match="larger than the 4"):
        files.read_private(tmp_path / "state", 4)
    assert files.read_private(tmp_path / "absent", 4) is None


def test_a_refused_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(StateError, match="cannot be written"):
        files.replace(tmp_path / "state", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_kill_9_leaves_the_file_whole_and_the_next_writer_sweeps(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for round_ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", REPLACER, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.05 + 0.013 * round_)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert path.read_bytes() in (b"a" * 300_000, b"b" * 300_000)
        with files.locked(path):
            assert sorted(left.name for left in tmp_path.iterdir()) == ["state", "state.lock"]


def test_a_held_lock_is_waited_for_and_then_told(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with files.locked(path), pytest.raises(StateError, match="in use"), files.locked(path, timeout=0.05):
        pytest.fail("the lock was given twice")
    with files.locked(path, timeout=0.05):
        assert not path.exists()
