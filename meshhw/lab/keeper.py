"""The process that holds a lab: it starts the tokens, lets faults befall them, and ends them with itself.

`python -m meshhw.lab.keeper DIRECTORY` reads its order as JSON from stdin, writes one line of JSON to stdout
when the tokens run (or why they do not), and then serves requests, a line of JSON each way, on the socket in
its directory. One thread does it all: the daemons end with the thread that started them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from meshhw import files
from meshhw.errors import InvalidURI, MeshError, StateError, TokenNotFound
from meshhw.keystore.registry import NAMES_VARIABLE
from meshhw.keystore.uri import TokenURI
from meshhw.lab.faults import Fault
from meshhw.lab.part import LabPart, LabToken, Order

SOCKET = "keeper.sock"
LOCK = "keeper.lock"
PINS = "pins"
PIN_VARIABLE = "MESHHW_PIN_SOURCE"
MAX_REQUEST = 1 << 16
REQUEST_SECONDS = 5.0


class Keeper:
    """A running lab. Use it as a context manager."""

    def __init__(self, directory: Path, order: Order) -> None:
        """Start everything that was ordered. Raises DriverUnavailable, and then nothing is left running."""
        self._directory = directory
        self._running = ExitStack()
        self._of_token: dict[str, LabPart] = {}
        self._env: dict[str, str] = {}
        with ExitStack() as undo:
            undo.callback(self.close)
            for part in _started(order, directory, self._running):
                self._env.update(part.env)
                self._of_token.update({token.name: part for token in part.tokens})
            self._env[NAMES_VARIABLE] = "\n".join(f"{token.name}={token.uri}" for token in self._tokens())
            self._env[PIN_VARIABLE] = self._write_pins()
            undo.pop_all()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request. Raises TokenNotFound, NotSupported and what a fault's making raises."""
        if request.get("verb") == "fault":
            self._fault(str(request.get("token")), Fault(str(request.get("fault"))))
        return {"tokens": [_public(token) for token in self._tokens()], "env": self._env}

    def close(self) -> None:
        """End all tokens and remove what they left, latest first."""
        self._running.close()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _tokens(self) -> list[LabToken]:
        parts = {id(part): part for part in self._of_token.values()}
        return [token for part in parts.values() for token in part.tokens]

    def _fault(self, name: str, fault: Fault) -> None:
        fitting = [token for token in self._tokens() if _means(name, token)]
        if len(fitting) != 1:
            names = ", ".join(self._of_token)
            raise TokenNotFound(f"no token of this lab is {name}", hint=f"it has {names}")
        self._of_token[fitting[0].name].fault(fitting[0].name, fault)

    def _write_pins(self) -> str:
        """A PIN source for each token, in a private file; the rules for MESHHW_PIN_SOURCE."""
        directory = files.private_directory(self._directory / PINS)
        vault = LabToken("vault", "software", "software:", "software:", f"{os.urandom(16).hex()}\n")
        rules = []
        for token in (*self._tokens(), vault):
            path = directory / token.name
            files.replace(path, token.secrets.encode())
            rules.append(f"{token.pin_rule}=file:{path}")
        return "\n".join(rules)


def _started(order: Order, directory: Path, running: ExitStack) -> list[LabPart]:
    """The ordered parts; `running` ends them. Each technology's module is imported only when it is wanted."""
    parts: list[LabPart] = []
    if order.softhsm or order.nss or order.opencryptoki or order.tpm2_pkcs11:
        from meshhw.lab.part_pkcs11 import Pkcs11Part

        parts.append(Pkcs11Part(order, directory))
        running.callback(parts[-1].close)
    if order.tpm:
        from meshhw.lab.part_tpm import TpmPart

        parts.append(TpmPart(order, directory))
        running.callback(parts[-1].close)
    if order.piv or order.fido2:
        from meshhw.lab.part_cards import CardsPart

        parts.append(CardsPart(order, directory))
        running.callback(parts[-1].close)
    if order.fido2_usb:
        from meshhw.lab.part_usb import UsbPart

        parts.append(UsbPart(order))
        running.callback(parts[-1].close)
    return parts


def _means(name: str, token: LabToken) -> bool:
    """Whether a person means this token: by its name, or by any URI that names it, a longer one too."""
    if ":" not in name:
        return name == token.name
    with suppress(InvalidURI):
        return TokenURI.parse(name).fits(TokenURI.parse(token.uri))
    return False


def _public(token: LabToken) -> dict[str, str]:
    shown = asdict(token)
    return {name: shown[name] for name in ("name", "family", "uri")}


def address(directory: Path, descriptors: ExitStack) -> str:
    """A name for the socket in `directory` that is short enough whatever the directory is called."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    descriptors.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}/{SOCKET}"


def main() -> None:
    """Run a lab until it is told to end, or signalled."""
    directory = Path(sys.argv[1])
    order = Order(**json.load(sys.stdin))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with _sole(directory), Keeper(directory, order) as keeper, _listening(directory) as listener:
            _say({"ready": keeper.answer({})})
            _serve(listener, keeper)
    except MeshError as error:
        _say({"error": told(error)})
        sys.exit(1)
    finally:
        shutil.rmtree(directory / PINS, ignore_errors=True)


def told(error: MeshError) -> dict[str, str]:
    """An error as it crosses to the command that asked."""
    return {"class": type(error).__name__, "message": error.message, "hint": error.hint}


def _sole(directory: Path) -> IO[bytes]:
    """The lab's lock, held as long as the file is open. Raises StateError when another keeper has it."""
    lock = (directory / LOCK).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise StateError("a lab is up in this home", hint="end it first: `meshhw lab down`") from error
    lock.write(str(os.getpid()).encode())
    lock.flush()
    return lock


def running_keeper(directory: Path) -> int | None:
    """The process id of the keeper that has this directory; None if there is none."""
    try:
        with (directory / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return int((directory / LOCK).read_text() or 0)


def _listening(directory: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    with ExitStack() as descriptors:
        (directory / SOCKET).unlink(missing_ok=True)
        listener.bind(address(directory, descriptors))
    (directory / SOCKET).chmod(0o600)
    listener.listen()
    return listener


def _say(line: Mapping[str, Any]) -> None:
    """The one line for who started us; afterwards stdout leads nowhere."""
    with suppress(BrokenPipeError):
        print(json.dumps(line), flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _serve(listener: socket.socket, keeper: Keeper) -> None:
    while True:
        client, _ = listener.accept()
        client.settimeout(REQUEST_SECONDS)
        with client, client.makefile("rw", encoding="utf-8") as line, suppress(OSError, ValueError):
            request = json.loads(line.readline(MAX_REQUEST))
            if request.get("verb") == "down":
                keeper.close()  # the client waits for the answer, so that all is gone when it has it
                line.write(json.dumps({"answer": {}}) + "\n")
                return
            line.write(json.dumps(_answered(keeper, request)) + "\n")


def _answered(keeper: Keeper, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": keeper.answer(request)}
    except MeshError as error:
        return {"error": told(error)}


if __name__ == "__main__":
    main()
