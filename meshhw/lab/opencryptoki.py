"""The opencryptoki software token: the one free PKCS#11 token that locks its PIN.

Its daemon and its data have fixed places in the system, so there is one at a time: a lock file holds others
off, a token that is not the lab's is never touched, and what was made is removed at the end or, after a
crash, by the next lab. It needs root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

from meshhw_pkcs11 import cryptoki

from meshhw.errors import DriverUnavailable, OperationTimeout, TokenFault
from meshhw.lab.pkcs11_token import Pkcs11Token, first_module, initialise, new_pin
from meshhw.lab.process import Daemon, find_program

MODULES = (
    "/usr/lib/x86_64-linux-gnu/opencryptoki/libopencryptoki.so.0",
    "/usr/lib/aarch64-linux-gnu/opencryptoki/libopencryptoki.so.0",
    "/usr/lib/opencryptoki/libopencryptoki.so",
    "/usr/lib64/opencryptoki/libopencryptoki.so",
)
DATA = Path("/var/lib/opencryptoki/swtok")
MARK = DATA / ".meshhw-lab"
LOCK = Path("/run/lock/meshhw-opencryptoki-lab")
RUNNING = (Path("/run/opencryptoki"), Path("/run"))
"""Where the daemon has its socket and its number: the first since 3.21."""
FACTORY_SO_PIN = "87654321"
FACTORY_LABEL, LABEL_OCTETS = b"IBM OS PKCS#11", 32
"""What a token is called that was never initialised, in the first octets of its data."""
WAIT_SECONDS = 30.0
# Debian's daemon since 3.23 goes to the background whatever it is told. This shell stays in its place: it
# ends the daemon when it is told to end, and ends when the daemon does.
_WATCHED = """
program=$1; shift
end() { kill -KILL $first $(cat "$@" 2>/dev/null) 2>/dev/null; exit; }
trap 'end "$@"' TERM
"$program" -f & first=$!
wait $first || exit
first=
tail --pid="$(cat "$@" 2>/dev/null)" -f /dev/null & wait $!
"""


class OpenCryptoki:
    """The machine's one opencryptoki token. Use it as a context manager.

    Raises DriverUnavailable where it cannot run (the reason named), OperationTimeout when another lab has it,
    TokenFault when the daemon runs and serves no token.
    """

    def __init__(self, label: str, directory: Path | None = None) -> None:
        """`directory` is for the log; the token's data is where opencryptoki has it."""
        self.module_path = _usable_module()
        with ExitStack() as undo:
            self.directory = directory or Path(tempfile.mkdtemp(prefix="meshhw-ock-"))
            if directory is None:
                undo.callback(shutil.rmtree, self.directory, ignore_errors=True)
            lock = undo.enter_context(_sole_use())
            _make_room(lock)
            _write_down(lock, label)
            undo.callback(_clear)
            undo.callback(_sweep)
            self.daemon = self._start()
            undo.callback(self.daemon.stop)
            self.token = self._token(label)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """End the daemon and remove the token."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> Daemon:
        _sweep()  # a killed daemon leaves them
        numbers = [str(place / "pkcsslotd.pid") for place in RUNNING]
        command = ["sh", "-c", _WATCHED, "pkcsslotd", find_program("pkcsslotd", "opencryptoki"), *numbers]
        daemon = Daemon(command, self.directory / "pkcsslotd.log", orphaned="TERM")
        # Not by connecting: behind a client that leaves at once, a daemon of 3.8 does not serve the module.
        daemon.wait_until(lambda: any((place / "pkcsslotd.socket").exists() for place in RUNNING))
        return daemon

    def _token(self, label: str) -> Pkcs11Token:
        module = cryptoki.load(self.module_path)
        module.restart()  # it remembers an earlier lab's token of this process
        env = {"MESHHW_PKCS11_MODULES": self.module_path}
        token = Pkcs11Token("opencryptoki", label, self.module_path, new_pin(), new_pin(), env)
        slots = module.slots()
        if not slots:
            raise TokenFault(
                "opencryptoki's daemon runs, but its module has no slot",
                hint="its shared memory in /dev/shm must not be that of another release's daemon",
            )
        initialise(module, slots[0], token, FACTORY_SO_PIN)
        return token


def _usable_module() -> str:
    path = first_module(MODULES)
    if path is None:
        raise DriverUnavailable("opencryptoki is not installed", hint="apt-get install opencryptoki")
    if os.geteuid() != 0:
        raise DriverUnavailable("opencryptoki's daemon needs root", hint="run this as root")
    return path


def _sole_use() -> IO[bytes]:
    """The lock, which also holds the label of the last lab's token."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = LOCK.open("a+b")
    limit = time.monotonic() + WAIT_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        if time.monotonic() > limit:
            lock.close()
            raise OperationTimeout("another lab uses opencryptoki", hint="end it: `meshhw lab down`")
        time.sleep(0.2)


def _write_down(lock: IO[bytes], label: str) -> None:
    lock.truncate(0)
    lock.write(label.encode())
    lock.flush()


def _make_room(lock: IO[bytes]) -> None:
    if _answers():
        raise DriverUnavailable("pkcsslotd runs already", hint="end it, if nobody uses its tokens")
    if MARK.exists() or _is_stragglers(lock):
        _clear()
    if (DATA / "NVTOK.DAT").exists():
        raise DriverUnavailable(
            f"{DATA} holds a token that is not the lab's", hint="it is left alone; use another machine"
        )
    DATA.mkdir(mode=0o770, exist_ok=True)
    MARK.touch()


def _is_stragglers(lock: IO[bytes]) -> bool:
    """Whether the token that is there is the last lab's, or never was anybody's: a program that had it open
    when its lab ended writes its data once more."""
    lock.seek(0)
    lab = lock.read(LABEL_OCTETS)
    with suppress(OSError), (DATA / "NVTOK.DAT").open("rb") as token:
        return token.read(LABEL_OCTETS).rstrip() in (lab or FACTORY_LABEL, FACTORY_LABEL)
    return False


def _clear() -> None:
    for name in ("NVTOK.DAT", "MK_SO", "MK_USER"):
        (DATA / name).unlink(missing_ok=True)
    shutil.rmtree(DATA / "TOK_OBJ", ignore_errors=True)
    (DATA / "TOK_OBJ").mkdir(mode=0o770, exist_ok=True)
    MARK.unlink(missing_ok=True)


def _sweep() -> None:
    for place in RUNNING:
        for name in ("pkcsslotd.socket", "pkcsslotd.pid"):
            (place / name).unlink(missing_ok=True)


def _answers() -> bool:
    for place in RUNNING:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.connect(str(place / "pkcsslotd.socket"))
            return True
    return False
