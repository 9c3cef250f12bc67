"""Daemons of the lab: each has a log of its own and ends with what started it, even when that one crashes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from meshhw.errors import DriverUnavailable, OperationTimeout, TokenFault

START_SECONDS, STOP_SECONDS = 30.0, 3.0


def find_program(name: str, package: str) -> str:
    """The path of a program (the sbin directories are looked in too). Raises DriverUnavailable."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        raise DriverUnavailable(f"{name} is not installed", hint=f"apt-get install {package}")
    return path


class Daemon:
    """A child process that the kernel ends when the thread that started it ends (PR_SET_PDEATHSIG).

    `setpriv` sets the signal in the child itself, so that no Python code runs between fork and exec.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        orphaned: str = "KILL",
        stdin: socket.socket | None = None,
    ) -> None:
        """Start `argv`; its output is appended to `log`. Raises DriverUnavailable without setpriv.

        `orphaned` is the signal it gets when the thread that started it ends; `stdin` a socket to hand over.
        """
        guard = [find_program("setpriv", "util-linux"), "--pdeathsig", orphaned, "--"]
        self.name = Path(argv[0]).name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*guard, *argv],
                stdin=stdin.fileno() if stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id (setpriv replaces itself by the daemon)."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait for `ready()`. Raises TokenFault with the log's end if the daemon ends, OperationTimeout."""
        limit = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                raise TokenFault(f"{self.name} ended at once: {self._last_words()}", hint=f"see {self.log}")
            if time.monotonic() > limit:
                raise OperationTimeout(
                    f"{self.name} is not ready after {seconds:g} s", hint=f"see {self.log}"
                )
            time.sleep(0.01)

    def suspend(self) -> None:
        """Hang it (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a hung one go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without warning, as a crash or a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it politely, then not. Stopping twice is fine."""
        if self.alive:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"
