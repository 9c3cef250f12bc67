"""The lab of a home, as its commands see it: started, asked, disturbed and ended through its keeper."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from meshhw import errors, files
from meshhw.errors import MeshError, StateError, TokenFault
from meshhw.lab import keeper
from meshhw.lab.faults import Fault
from meshhw.lab.part import Order

START_SECONDS = 60.0
ANSWER_SECONDS = 30.0


class Lab:
    """The lab in `home`; there may be none running."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "lab"

    def up(self, order: Order) -> dict[str, Any]:
        """Start it; what `status` says. Raises StateError when one runs, DriverUnavailable and the like."""
        if self._answers():
            raise StateError("a lab is up in this home", hint="end it first: `meshhw lab down`")
        self._clear()  # what a crash has left
        files.private_directory(self.directory.parent)
        files.private_directory(self.directory)
        try:
            return _started(self.directory, order)
        except BaseException:
            self._clear()
            raise

    def status(self) -> dict[str, Any]:
        """`tokens` (name, family, uri) and `env`. Raises StateError when none runs."""
        return self._ask({"verb": "status"})

    def fault(self, token: str, fault: Fault) -> None:
        """Let a fault befall a token. Raises TokenNotFound, NotSupported."""
        self._ask({"verb": "fault", "token": token, "fault": fault.value})

    def down(self) -> None:
        """End it; none running is fine."""
        if self._answers():
            self._ask({"verb": "down"})
            self._wait_for_its_end()
        self._clear()

    def _wait_for_its_end(self) -> None:
        """All is gone when the keeper answers, but for the keeper itself."""
        end = time.monotonic() + ANSWER_SECONDS
        while keeper.running_keeper(self.directory) and time.monotonic() < end:
            time.sleep(0.01)

    def _clear(self) -> None:
        pid = keeper.running_keeper(self.directory)
        if pid is not None:
            raise StateError(f"the lab's keeper (process {pid}) does not answer", hint=f"kill {pid}")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            self.status()
        except StateError:
            return False
        return True

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            line = self._exchange(json.dumps(request) + "\n")
        except OSError as error:
            raise StateError("no lab is up in this home", hint="`meshhw lab up`") from error
        return _unwrapped(line, "answer")

    def _exchange(self, line: str) -> str:
        with ExitStack() as open_things:
            client = open_things.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(ANSWER_SECONDS)
            client.connect(keeper.address(self.directory, open_things))
            file = open_things.enter_context(client.makefile("rw", encoding="utf-8"))
            file.write(line)
            file.flush()
            return file.readline()


def _started(directory: Path, order: Order) -> dict[str, Any]:
    with (directory / "keeper.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", keeper.__name__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        return _unwrapped(_told_order(process, order), "ready")
    except BaseException:
        process.terminate()
        process.wait(START_SECONDS)
        raise


def _told_order(process: subprocess.Popen[str], order: Order) -> str:
    """The keeper's one line, after it was given its order; empty if it ended."""
    if process.stdin is None or process.stdout is None:
        raise TokenFault("the lab's keeper cannot be spoken to")
    with process.stdin, process.stdout:
        process.stdin.write(json.dumps(asdict(order)))
        process.stdin.close()
        return process.stdout.readline()


def _unwrapped(line: str, name: str) -> dict[str, Any]:
    if not line:
        raise TokenFault("the lab's keeper ended without a word", hint="see lab/keeper.log in the home")
    answer = json.loads(line)
    if "error" in answer:
        raise _error(answer["error"])
    wanted: dict[str, Any] = answer[name]
    return wanted


def _error(said: Mapping[str, str]) -> MeshError:
    kind = getattr(errors, said["class"], MeshError)
    made: MeshError = kind(said["message"])
    made.hint = said["hint"]
    return made
