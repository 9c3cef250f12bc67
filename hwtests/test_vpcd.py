"""The private pcscd: several side by side, ended with their owner, and usable without root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwtests.test_lab_unprivileged import becoming, without_namespaces
from meshhw.errors import DriverUnavailable
from meshhw.lab.card_link import CardGone, CardLink
from meshhw.lab.vpcd import PcscDaemon, lab_directory

pytest.importorskip("smartcard", reason="pyscard is not installed")
if shutil.which("pcscd") is None:
    pytest.skip("pcscd is not installed", allow_module_level=True)

CLIENT = """
import sys, time
from smartcard.System import readers
from smartcard.Exceptions import NoCardException
name, command = sys.argv[1], list(bytes.fromhex(sys.argv[2]))
end = time.monotonic() + 30
while True:
    try:
        connection = [r for r in readers() if r.name == name][0].createConnection()
        connection.connect()
        break
    except NoCardException:
        if time.monotonic() > end:
            print("no card"); sys.exit()
        time.sleep(0.05)
try:
    data, sw1, sw2 = connection.transmit(command)
    print(bytes([*data, sw1, sw2]).hex())
except Exception as error:
    print(type(error).__name__)
"""


class Echo:
    """A card that answers with the command's own octets; instruction FE makes it leave."""

    atr = bytes.fromhex("3b800181")

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def transmit(self, command: bytes) -> bytes:
        if command[1] == 0xFE:
            raise CardGone
        return command + b"\x90\x00"


@pytest.fixture
def directory() -> Iterator[Path]:
    path = lab_directory()
    yield path
    shutil.rmtree(path)


def ask(daemon: PcscDaemon, reader: str, command: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", CLIENT, reader, command],
        env=os.environ | daemon.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return run.stdout.strip()


def test_a_card_answers_leaves_and_returns(directory: Path) -> None:
    with PcscDaemon(directory, ["One", "Two"]) as daemon:
        assert [reader.name for reader in daemon.readers] == [
            "One 00 00",
            "One 00 01",
            "Two 00 00",
            "Two 00 01",
        ]
        link = CardLink(Echo(), daemon.readers[3])
        link.insert()
        assert ask(daemon, "Two 00 01", "00aabbcc") == "00aabbcc9000"
        assert ask(daemon, "Two 00 01", "00fe0000") == "CardConnectionException"
        assert not link.inserted
        link.insert()
        assert ask(daemon, "Two 00 01", "00010203") == "000102039000"
        link.pull()


def test_two_labs_do_not_see_each_other(directory: Path) -> None:
    second = lab_directory()
    with PcscDaemon(directory, ["Here"]) as here, PcscDaemon(second, ["There"]) as there:
        left, right = CardLink(Echo(), here.readers[0]), CardLink(Echo(), there.readers[0])
        left.insert()
        right.insert()
        assert ask(here, "Here 00 00", "00010000") == "000100009000"
        assert ask(there, "There 00 00", "00020000") == "000200009000"
        left.pull()
        right.pull()
    shutil.rmtree(second)


def test_the_daemon_returns_after_a_crash(directory: Path) -> None:
    with PcscDaemon(directory) as daemon:
        daemon.kill()
        assert daemon.pid is None
        daemon.restart()
        link = CardLink(Echo(), daemon.readers[0])
        link.insert()
        assert ask(daemon, daemon.readers[0].name, "00030000") == "000300009000"
        link.pull()


OWNER = """
import sys, time
from pathlib import Path
from meshhw.lab.vpcd import PcscDaemon
daemon = PcscDaemon(Path(sys.argv[1]))
daemon.start()
print(daemon.pid, flush=True)
time.sleep(60)
"""


def owned(directory: Path, prefix: list[str]) -> tuple[subprocess.Popen[str], int]:
    owner = subprocess.Popen(
        [*prefix, sys.executable, "-c", OWNER, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=directory,
    )
    assert owner.stdout is not None
    line = owner.stdout.readline()
    assert line, "the lab's owner did not start its pcscd"
    return owner, int(line)


def ends(pid: int) -> bool:
    """Whether the process is gone, or about to be (a zombie that its reaper has not met), within 30 s."""
    status = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("user", ["own", "nobody"])
def test_pcscd_dies_with_its_owner(directory: Path, user: str) -> None:
    prefix: list[str] = []
    if user == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can become nobody")
        prefix = becoming()
        os.chown(directory, 65534, 65534)
    owner, pid = owned(directory, prefix)
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()
    assert ends(pid)


def test_without_namespaces_pcscd_is_handed_its_socket(directory: Path) -> None:
    owner, pid = owned(directory, without_namespaces("mkdir /run/pcscd"))
    listed = subprocess.run(
        [sys.executable, "-c", "from smartcard.System import readers; print(readers())"],
        env=os.environ | {"PCSCLITE_CSOCK_NAME": str(directory / "run" / "pcscd" / "pcscd.comm")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert listed.stdout.strip() == "['Virtual PCD 00 00', 'Virtual PCD 00 01']"
    owner.kill()
    owner.communicate()
    assert ends(pid)


def test_a_missing_program_is_named(directory: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom meshhw.lab.vpcd import PcscDaemon\n"
        "from meshhw.errors import DriverUnavailable\n"
        "try:\n    PcscDaemon(Path(sys.argv[1])).start()\n"
        "except DriverUnavailable as error:\n    print(error.message, '|', error.hint)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(directory)],
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "unshare is not installed | apt-get install util-linux"


def test_a_directory_with_a_long_name_is_refused(directory: Path) -> None:
    with pytest.raises(DriverUnavailable, match="too long"):
        PcscDaemon(directory / ("x" * 100)).start()
