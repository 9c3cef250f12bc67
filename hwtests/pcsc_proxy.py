"""A door before the PC/SC service, which answers some calls of a client itself.

It stands where libpcsclite looks for the service's socket, and passes everything on, but for the first calls
of each client of one kind: SCardConnect, as the service answers while it resets the card, when it knows no
protocol; or SCardTransmit, as failed, with an answer longer than any can be. (winscard_msg.h: what a call's
answer is begins like the call, and ends with the result.)
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

CONNECT, TRANSMIT = 0x04, 0x09
PROTO_MISMATCH, NOT_TRANSACTED = 0x8010000F, 0x80100016
HEAD = struct.Struct("=II")
SENT_LENGTH = 12
"""Where in a SCardTransmit call the length of what follows it stands."""


RECEIVED_LENGTH = 24
"""Where in its answer the length of what was received stands, before the result."""


class Door:
    """How often each client's calls of this number are answered here, and how many have been."""

    def __init__(self, service: Path, call: int, times: int) -> None:
        self.told = 0
        self._service, self._call, self._times = service, call, times

    def serve(self, client: socket.socket) -> None:
        """One client, until it or the service ends."""
        with client, socket.socket(socket.AF_UNIX) as service, suppress(OSError):
            service.connect(str(self._service))
            threading.Thread(target=_pass_on, args=(service, client), daemon=True).start()
            left = self._times
            while head := client.recv(HEAD.size, socket.MSG_WAITALL):
                length, command = HEAD.unpack(head)
                body = client.recv(length, socket.MSG_WAITALL)
                more = b""
                if command == TRANSMIT:
                    (size,) = struct.unpack_from("=I", body, SENT_LENGTH)
                    more = client.recv(size, socket.MSG_WAITALL)
                if command == self._call and left:
                    left -= 1
                    self.told += 1
                    client.sendall(_ANSWERS[command](body))
                    continue
                service.sendall(head + body + more)


@contextmanager
def door_before(service: Path, call: int, times: int) -> Iterator[tuple[Door, dict[str, str]]]:
    """The door, and what makes a process go through it."""
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(path := f"{directory}/pcscd.comm")
        server.listen()
        door = Door(service, call, times)

        def accept() -> None:
            with suppress(OSError):  # until the socket is closed
                while True:
                    threading.Thread(target=door.serve, args=server.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield door, {"PCSCLITE_CSOCK_NAME": path}
        server.shutdown(socket.SHUT_RDWR)


def _being_reset(body: bytes) -> bytes:
    return body[:-4] + struct.pack("=I", PROTO_MISMATCH)


def _failed_and_endless(body: bytes) -> bytes:
    return body[:RECEIVED_LENGTH] + struct.pack("=II", 0x7FFFFFFF, NOT_TRANSACTED)


_ANSWERS = {CONNECT: _being_reset, TRANSMIT: _failed_and_endless}


def _pass_on(service: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while data := service.recv(1 << 16):
            client.sendall(data)
