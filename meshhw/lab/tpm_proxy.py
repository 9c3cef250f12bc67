"""A TCP proxy before a software TPM: counts the commands by their code and injects faults into them.

It speaks the protocol of the `swtpm` TCTI: commands on one port, the control channel on the next one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from meshhw.lab import tpm_wire
from meshhw.lab.ports import bind_pair


@dataclass(frozen=True, slots=True)
class Delay:
    """Answer late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Do not answer until the faults are cleared."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with this code and do not ask the TPM."""

    code: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Let the TPM work, pass on the first octets of its response and close. 0 loses the whole response."""

    octets: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection; the TPM never sees the command."""


Action = Delay | Hang | Answer | Truncate | Drop


@dataclass(slots=True)
class Fault:
    """What happens to which commands: those of `name` (None: to all), after `skip` of them, `times` times."""

    action: Action
    name: str | None = None
    skip: int = 0
    times: int | None = None

    def take(self, name: str) -> bool:
        """Whether this command is hit; counts it."""
        if (self.name is not None and self.name != name) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class TpmProxy:
    """The proxy of one TPM. `counts` maps command names to how many passed since `reset_counts`."""

    def __init__(self, upstream_port: int) -> None:
        """Listen on two free ports of the loop-back; commands go to `upstream_port`, control to the next."""
        self.upstream_port = upstream_port
        self.counts: Counter[str] = Counter()
        self._transcript: list[bytes] | None = None
        self._faults: list[Fault] = []
        self._released = threading.Event()
        self._one_command = threading.Lock()
        data, control = bind_pair()
        self.port: int = data.getsockname()[1]
        self._listeners = (data, control)
        _serve(data, self._commands)
        _serve(control, self._control)

    def inject(self, fault: Fault) -> None:
        """Add a fault; the first one that fits a command decides."""
        self._faults.append(fault)

    def clear_faults(self) -> None:
        """Remove every fault and let hung commands go on."""
        self._faults = []
        self._released.set()
        self._released = threading.Event()

    def reset_counts(self) -> None:
        """Count from zero."""
        self.counts.clear()

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """The counter of the commands that pass within the block."""
        before = self.counts.copy()
        seen: Counter[str] = Counter()
        try:
            yield seen
        finally:
            seen.update(self.counts - before)

    @contextmanager
    def listening(self) -> Iterator[list[bytes]]:
        """All commands and responses of the block, as an eavesdropper on the bus would have them."""
        heard: list[bytes] = []
        self._transcript = heard
        try:
            yield heard
        finally:
            self._transcript = None

    def close(self) -> None:
        """Stop listening; what hangs is let go. Closing twice is fine."""
        self.clear_faults()
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _commands(self, client: socket.socket) -> None:
        with suppress(OSError):
            while (command := tpm_wire.read_message(client)) is not None:
                answer = self._answer(command)
                if answer is None:
                    return
                octets, whole = answer
                client.sendall(octets)
                if not whole:
                    return

    def _answer(self, command: bytes) -> tuple[bytes, bool] | None:
        """The octets to send back and whether the connection stays; None closes it without an answer."""
        name = tpm_wire.command_name(tpm_wire.code_of(command))
        self.counts[name] += 1
        action = next((fault.action for fault in self._faults if fault.take(name)), None)
        match action:
            case Answer(code):
                return tpm_wire.response(code), True
            case Drop():
                return None
            case Delay(seconds):
                time.sleep(seconds)
            case Hang():
                self._released.wait()
        answer = self._forward(command)
        if isinstance(action, Truncate) and answer is not None:
            return answer[: action.octets], False
        return None if answer is None else (answer, True)

    def _forward(self, command: bytes) -> bytes | None:
        with self._one_command, self._upstream(self.upstream_port) as tpm:
            tpm.sendall(command)
            answer = tpm_wire.read_message(tpm)
        if self._transcript is not None:
            self._transcript += [command, answer or b""]
        return answer

    def _control(self, client: socket.socket) -> None:
        with suppress(OSError), self._upstream(self.upstream_port + 1) as tpm:
            back = threading.Thread(target=_pump, args=(tpm, client), daemon=True)
            back.start()
            _pump(client, tpm)
            back.join()

    @staticmethod
    def _upstream(port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port))


def _serve(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    threading.Thread(target=_accept, args=(listener, handle), daemon=True).start()


def _accept(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    with suppress(OSError):  # the listener was closed
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_handle, args=(client, handle), daemon=True).start()


def _handle(client: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    with client:
        handle(client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while octets := source.recv(4096):
            sink.sendall(octets)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
