"""A private pcscd with virtual readers (vpcd), beside any other pcscd of the machine.

pcscd has its socket's place compiled in (`/run/pcscd`), so two of them need two views of `/run`: each
lab's daemon runs in a mount namespace of its own in which `/run` is the lab's directory. The socket then
lies in that directory, where every client of the same user reaches it through `PCSCLITE_CSOCK_NAME`.

Where a user may make no namespace (Ubuntu's AppArmor, many containers), pcscd is handed its listening socket
as a service manager would do it (sd_listen_fds(3)), and then makes none in `/run/pcscd`.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshhw.errors import DriverUnavailable, OperationTimeout, TokenFault
from meshhw.lab.ports import free_pair
from meshhw.lab.process import Daemon, find_program

DRIVERS = (
    Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so"),
    Path("/usr/lib/x86_64-linux-gnu/pcsc/drivers/serial/libifdvpcd.so"),
    Path("/usr/local/lib/pcsc/drivers/serial/libifdvpcd.so"),
)
SYSTEM_SOCKET = Path("/run/pcscd/pcscd.comm")
ATTEMPTS = 4
ANSWER_SECONDS = 10.0
LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path holds 108 octets, the last one zero

# The shell is the daemon's own process after `exec`: what was set for it (death signal, namespace) stays.
_IN_NAMESPACE = 'test "$PPID" = "$1" && mount --bind "$2" /run && shift 2 && exec "$@"'
_HANDED = (
    'test "$PPID" = "$1" && shift && exec 3<&0 </dev/null && export LISTEN_PID=$$ LISTEN_FDS=1 && exec "$@"'
)
_ASK_VERSION = struct.pack("=IIiiI", 12, 0x11, 4, 4, 0)
"""PC/SC-lite's first message: a header (size, CMD_VERSION), then the client's protocol version."""


@dataclass(slots=True)
class VirtualReader:
    """One slot of a virtual reader: the name PC/SC clients see, the TCP port at which its card connects."""

    name: str
    port: int
    emptied: float = -math.inf
    """When the last card left it, in seconds of `time.monotonic`."""
    occupied: bool = False


class PcscDaemon:
    """pcscd with virtual readers of the given (different) names, each with two slots, in ``directory`` alone.

    Use it as a context manager, or call `start` and `stop`. The daemon ends with the thread that
    started it, so a crash of the lab leaves nothing behind.
    """

    def __init__(self, directory: Path, readers: Sequence[str] = ("Virtual PCD",)) -> None:
        self.directory = directory
        self.names = tuple(readers)
        self.readers: tuple[VirtualReader, ...] = ()
        self.socket = directory / "run" / "pcscd" / "pcscd.comm"
        self._log = directory / "pcscd.log"
        self._daemon: Daemon | None = None

    def __enter__(self) -> PcscDaemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The daemon's process id while it runs."""
        return self._daemon.pid if self._daemon else None

    def environment(self) -> dict[str, str]:
        """What a PC/SC client needs in its environment, before its first call, to see these readers."""
        return {"PCSCLITE_CSOCK_NAME": str(self.socket)}

    def start(self) -> None:
        """Start on free ports. Raises DriverUnavailable, which names what is missing."""
        driver = _driver()
        self._prepare_directory()
        for _ in range(ATTEMPTS):
            self.readers = _allot(self.names)
            self._copy_drivers(driver)
            self._write_readers()
            if self._launch():
                return
            self.stop()
        raise DriverUnavailable(f"pcscd does not start: {self._said()}", hint=_WHY)

    def stop(self) -> None:
        """End the daemon and wait for it; harmless when it does not run."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.stop()
            self.socket.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it as a crash would: no farewell to its clients."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.kill()

    def restart(self, without: str = "") -> None:
        """Start again on the same ports and socket, as a service manager does after a crash.

        `without` names a reader that was taken away meanwhile; the next restart brings it back.
        """
        self.stop()
        self._write_readers(without)
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

    def _copy_drivers(self, driver: Path) -> None:
        """The driver keeps its slots in static variables: a second reader needs a copy of its own."""
        for reader in self.readers[::2]:
            shutil.copyfile(driver, self._driver_of(reader))

    def _driver_of(self, reader: VirtualReader) -> Path:
        return self.directory / f"vpcd-{reader.port}.so"

    def _write_readers(self, without: str = "") -> None:
        blocks = []
        for name, first in zip(self.names, self.readers[::2], strict=True):
            port = f"0x{first.port:04X}"
            library = self._driver_of(first)
            if name != without:
                where = f"DEVICENAME /dev/null:{port}\nLIBPATH {library}\nCHANNELID {port}\n"
                blocks.append(f'FRIENDLYNAME "{name}"\n{where}')
        (self.directory / "readers" / "vpcd").write_text("\n".join(blocks))

    def _launch(self) -> bool:
        """True once the socket answers; readers are attached before pcscd opens it."""
        self.socket.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        command = self._command()
        listening = self._listen() if _HANDED in command else None
        daemon = self._daemon = Daemon(command, self._log, stdin=listening)
        if listening:
            listening.close()  # the daemon's is the last: nobody waits for one that ended
        try:
            daemon.wait_until(lambda: _answers(self.socket))
        except (TokenFault, OperationTimeout):
            return False
        return "Address already in use" not in self._said()

    def _command(self) -> list[str]:
        program = find_program("pcscd", "pcscd")
        pcscd = [program, "-f", "-c", str(self.directory / "readers"), *_open_to_its_directory(program)]
        inside = [_IN_NAMESPACE, "sh", str(os.getpid()), str(self.directory / "run"), *pcscd]
        for prefix in (["unshare", "-m"], ["unshare", "-r", "-m"]):
            if _can(prefix):
                # setpriv comes after unshare: a change of credentials clears the death signal.
                return [*prefix, "setpriv", "--pdeathsig", "KILL", "sh", "-c", *inside]
        if SYSTEM_SOCKET.parent.is_dir() and not os.access(SYSTEM_SOCKET.parent, os.W_OK):
            return ["sh", "-c", _HANDED, "sh", str(os.getpid()), *pcscd]
        if _answers(SYSTEM_SOCKET):
            raise DriverUnavailable("pcscd runs already and a private one is not allowed here", hint=_WHY)
        if not os.access("/run", os.W_OK):
            raise DriverUnavailable(
                "no mount namespace and no /run/pcscd: pcscd cannot run here", hint="sudo mkdir -p /run/pcscd"
            )
        self.socket = SYSTEM_SOCKET
        return pcscd

    def _listen(self) -> socket.socket:
        """The socket that is handed to the daemon; its directory keeps others out."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.socket))
        listening.listen()
        return listening

    def _said(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1] if lines else "it says nothing"


_NO_POLKIT = "--disable-polkit"
_WHY = (
    "a private pcscd needs `unshare -m` as root or `unshare -r -m` as a user, or a /run/pcscd that it cannot "
    "write; else no other pcscd may run"
)


def _driver() -> Path:
    find_program("pcscd", "pcscd")
    find_program("unshare", "util-linux")
    for path in DRIVERS:
        if path.exists():
            return path
    raise DriverUnavailable("the vpcd reader driver is not installed", hint="apt-get install vsmartcard-vpcd")


def _open_to_its_directory(program: str) -> list[str]:
    """The option that lets everyone in who reaches the socket.

    A pcscd built with polkit (Debian's since 13) asks it about each client, over a system bus that a
    container lacks and for a login session that a test run lacks. Here the socket's directory, 0700, says
    who may. A pcscd built without polkit knows no such option.
    """
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return [_NO_POLKIT] if _NO_POLKIT in done.stdout + done.stderr else []


def _can(prefix: list[str]) -> bool:
    """Whether a namespace can be made and mounted in: AppArmor may forbid the second alone."""
    probe = [*prefix, "mount", "--bind", "/run", "/run"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _answers(path: Path) -> bool:
    """Whether a pcscd is behind the socket. Connecting is not enough where it was handed over."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_SECONDS)
        try:
            client.connect(str(path))
            client.sendall(_ASK_VERSION)
            return bool(client.recv(1))
        except OSError:
            return False


def _allot(names: Sequence[str]) -> tuple[VirtualReader, ...]:
    """Two slots a reader, named and numbered as vpcd does: port and port + 1."""
    slots: list[VirtualReader] = []
    for name in names:
        port = free_pair()
        slots += [VirtualReader(f"{name} 00 {slot:02X}", port + slot) for slot in (0, 1)]
    return tuple(slots)


def lab_directory() -> Path:
    """A new private directory with a name short enough for a socket inside it."""
    return Path(tempfile.mkdtemp(prefix="mhlab-"))
