"""A private pcscd with virtual readers (vpcd), beside any other pcscd of the machine.

pcscd has its socket's place compiled in (`/run/pcscd`), so two of them need two views of `/run`: each
lab's daemon runs in a mount namespace of its own in which `/run` is the lab's directory. The socket then
lies in that directory, where every client of the same user reaches it through `PCSCLITE_CSOCK_NAME`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshhw.errors import DriverUnavailable

DRIVERS = (
    Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so"),
    Path("/usr/lib/x86_64-linux-gnu/pcsc/drivers/serial/libifdvpcd.so"),
    Path("/usr/local/lib/pcsc/drivers/serial/libifdvpcd.so"),
)
SYSTEM_SOCKET = Path("/run/pcscd/pcscd.comm")
START_SECONDS = 10.0
ATTEMPTS = 4
LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path holds 108 octets, the last one zero

# The shell is the daemon's own process after `exec`: what was set for it (death signal, namespace) stays.
_IN_NAMESPACE = 'test "$PPID" = "$3" && mount --bind "$1" /run && exec pcscd -f -c "$2"'


@dataclass(frozen=True, slots=True)
class VirtualReader:
    """One slot of a virtual reader: the name PC/SC clients see, the TCP port at which its card connects."""

    name: str
    port: int


class PcscDaemon:
    """pcscd with virtual readers of the given (different) names, each with two slots, in ``directory`` alone.

    Use it as a context manager, or call `start` and `stop`. The daemon dies with the thread that
    started it (PR_SET_PDEATHSIG), so a crash of the lab leaves nothing behind.
    """

    def __init__(self, directory: Path, readers: Sequence[str] = ("Virtual PCD",)) -> None:
        self.directory = directory
        self.names = tuple(readers)
        self.readers: tuple[VirtualReader, ...] = ()
        self.socket = directory / "run" / "pcscd" / "pcscd.comm"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PcscDaemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The daemon's process id while it runs."""
        return self._process.pid if self._process else None

    def environment(self) -> dict[str, str]:
        """What a PC/SC client needs in its environment, before its first call, to see these readers."""
        return {"PCSCLITE_CSOCK_NAME": str(self.socket)}

    def start(self) -> None:
        """Start on free ports. Raises DriverUnavailable, which names what is missing."""
        driver = _driver()
        self._prepare_directory()
        for _ in range(ATTEMPTS):
            self.readers = _allot(self.names)
            self._write_readers(driver)
            if self._launch():
                return
            self.stop()
        raise DriverUnavailable(f"pcscd does not start: {self._said()}", hint=_WHY)

    def stop(self) -> None:
        """End the daemon and wait for it; harmless when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.socket.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it as a crash would: no farewell to its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Start again on the same ports and socket, as a service manager does after a crash."""
        self.stop()
        if not self._launch():
            raise DriverUnavailable(f"pcscd does not start again: {self._said()}", hint=_WHY)

    def _prepare_directory(self) -> None:
        if len(str(self.socket)) > LONGEST_SOCKET_PATH:
            raise DriverUnavailable(
                f"{self.socket} is too long for a socket's name",
                hint="put the lab into a directory with a shorter name",
            )
        self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.directory / "readers").mkdir(exist_ok=True, mode=0o700)

    def _write_readers(self, driver: Path) -> None:
        blocks = []
        for name, first in zip(self.names, self.readers[::2], strict=True):
            # The driver keeps its slots in static variables: a second reader needs a copy of its own.
            copy = self.directory / f"vpcd-{first.port}.so"
            shutil.copyfile(driver, copy)
            port = f"0x{first.port:04X}"
            blocks.append(
                f'FRIENDLYNAME "{name}"\nDEVICENAME /dev/null:{port}\nLIBPATH {copy}\nCHANNELID {port}\n'
            )
        (self.directory / "readers" / "vpcd").write_text("\n".join(blocks))

    def _launch(self) -> bool:
        """True once the socket answers; readers are attached before pcscd opens it."""
        self.socket.unlink(missing_ok=True)
        command = self._command()
        with (self.directory / "pcscd.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if _answers(self.socket):
                return "Address already in use" not in self._said()
            time.sleep(0.02)
        return False

    def _command(self) -> list[str]:
        readers, parent = str(self.directory / "readers"), str(os.getpid())
        for prefix in (["unshare", "-m"], ["unshare", "-r", "-m"]):
            if _can(prefix):
                run = str(self.directory / "run")
                # setpriv comes after unshare: a change of credentials clears the death signal.
                return [
                    *prefix,
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "sh",
                    "-c",
                    _IN_NAMESPACE,
                    "sh",
                    run,
                    readers,
                    parent,
                ]
        if _answers(SYSTEM_SOCKET):
            raise DriverUnavailable("pcscd runs already and a private one is not allowed here", hint=_WHY)
        if not os.access("/run", os.W_OK):
            raise DriverUnavailable(
                "no mount namespace and no right to write /run: pcscd cannot run here", hint=_WHY
            )
        self.socket = SYSTEM_SOCKET
        return ["setpriv", "--pdeathsig", "KILL", "pcscd", "-f", "-c", readers]

    def _said(self) -> str:
        log = self.directory / "pcscd.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else "it says nothing"


_WHY = (
    "a private pcscd needs `unshare -m` as root or `unshare -r -m` as a user "
    "(sysctl kernel.unprivileged_userns_clone=1); else no other pcscd may run"
)


def _driver() -> Path:
    for program in ("pcscd", "unshare", "setpriv"):
        if shutil.which(program) is None:
            raise DriverUnavailable(f"{program} is not installed", hint="apt-get install pcscd util-linux")
    for path in DRIVERS:
        if path.exists():
            return path
    raise DriverUnavailable("the vpcd reader driver is not installed", hint="apt-get install vsmartcard-vpcd")


def _can(prefix: list[str]) -> bool:
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _allot(names: Sequence[str]) -> tuple[VirtualReader, ...]:
    """Two slots a reader, named and numbered as vpcd does: port and port + 1."""
    slots: list[VirtualReader] = []
    for name in names:
        port = _free_pair()
        slots += [VirtualReader(f"{name} 00 {slot:02X}", port + slot) for slot in (0, 1)]
    return tuple(slots)


def _free_pair() -> int:
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def lab_directory() -> Path:
    """A new private directory with a name short enough for a socket inside it."""
    return Path(tempfile.mkdtemp(prefix="mhlab-"))
