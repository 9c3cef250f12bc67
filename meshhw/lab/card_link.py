"""The card's side of the vpcd protocol: a card in a virtual reader, which can be pulled and returned.

The card is the TCP client. Every message is two octets of length (big-endian) and a body; a body of one
octet is a control (0 power off, 1 power on, 2 reset, 4 give the answer to reset), a longer one a command
APDU.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Protocol

POWER_OFF, GIVE_ATR = 0, 4
ABSENCE_SECONDS = 0.8
"""pcscd looks for cards every 0.4 s; one that is away for less is not seen to leave, nor powered again."""


NOTICED_SECONDS = 20.0
"""How long a reader may take to listen, and to find its card, on a busy machine."""


class CardGone(Exception):
    """Raised by a card within `transmit`: it leaves the reader, with a last answer or without one."""

    def __init__(self, answer: bytes | None = None) -> None:
        super().__init__("the card left the reader")
        self.answer = answer


class EmulatedCard(Protocol):
    """What a card must do to be put into a virtual reader."""

    @property
    def atr(self) -> bytes: ...

    def reset(self) -> None: ...

    def transmit(self, command: bytes) -> bytes: ...


class ReaderSlot(Protocol):
    """A place for one card: the reader's port, when the last card left it, and whether one is in it."""

    @property
    def port(self) -> int: ...

    emptied: float
    occupied: bool


class CardLink:
    """One card and one reader slot; a thread serves the card while it is inserted."""

    def __init__(self, card: EmulatedCard, reader: ReaderSlot) -> None:
        self.card = card
        self.reader = reader
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._powered = threading.Event()
        self._on = False

    @property
    def inserted(self) -> bool:
        """True while the reader sees a card."""
        return self._socket is not None

    def insert(self, seconds: float = NOTICED_SECONDS) -> None:
        """Put the card into the reader. Raises ConnectionRefusedError if none listens in time."""
        if self._socket is not None:
            return
        time.sleep(max(0.0, self.reader.emptied + ABSENCE_SECONDS - time.monotonic()))
        connection = _connect(self.reader.port, time.monotonic() + seconds)
        self._socket = connection
        self.reader.occupied = True
        self._thread = threading.Thread(target=self._serve, args=(connection,), name="card", daemon=True)
        self._thread.start()

    def wait_powered(self, seconds: float = NOTICED_SECONDS) -> bool:
        """Whether the reader has found the card and powered it, within that time."""
        return self._powered.wait(seconds)

    def pull(self) -> None:
        """Take the card out of the reader, whatever it is doing."""
        with self._lock:
            connection, self._socket = self._socket, None
            self.reader.emptied, self.reader.occupied = time.monotonic(), False
        self._powered.clear()
        self._on = False
        if connection is not None:
            with contextlib.suppress(OSError):  # the reader may have gone first
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.card.reset()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (message := _receive(connection)) is not None:
                answer = self._answer(message)
                if answer is not None:
                    _send(connection, answer)
        except CardGone as gone:
            if gone.answer is not None:
                _send(connection, gone.answer)
            self.pull()
        except OSError:
            pass  # the reader or the card's owner closed the connection
        finally:
            with self._lock:
                if self._socket is connection:
                    self._socket = None
            connection.close()

    def _answer(self, message: bytes) -> bytes | None:
        if len(message) > 1:
            return self.card.transmit(message)
        if message == bytes([GIVE_ATR]):
            if self._on:
                self._powered.set()  # asked again after power-on: what PC/SC clients are told
            return self.card.atr
        self._on = message != bytes([POWER_OFF])
        self.card.reset()  # power off, power on and reset all lose the volatile state
        return None


def _connect(port: int, end: float) -> socket.socket:
    while True:
        connection = socket.socket()
        try:
            connection.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def _send(connection: socket.socket, answer: bytes) -> None:
    connection.sendall(len(answer).to_bytes(2, "big") + answer)


def _receive(connection: socket.socket) -> bytes | None:
    head = _exactly(connection, 2)
    return None if head is None else _exactly(connection, int.from_bytes(head, "big"))


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    data = b""
    while len(data) < length:
        # vpcd writes length and body apart; unless each is acknowledged at once, Nagle's delay costs 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = connection.recv(length - len(data))
        if not part:
            return None
        data += part
    return data
