"""A door before the PC/SC service, behind which a card is being reset when a client first wants it.

It stands where libpcsclite looks for the service's socket, and passes everything on, but answers the first
SCardConnect calls of each client itself, as the service does while it resets the card: then it knows
no protocol (winscard_msg.h; what a call's answer is begins like the call, and ends with the result).
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
PROTO_MISMATCH = 0x8010000F
HEAD = struct.Struct("=II")
SENT_LENGTH = 12
"""Where in a SCardTransmit call the length of what follows it stands."""


class Door:
    """How often a client is told that the card is being reset, and how many have been."""

    def __init__(self, service: Path, times: int) -> None:
        self.told = 0
        self._service, self._times = service, times

    def serve(self, client: socket.socket) -> None:
        """One client, until it or the service ends."""
        with client, socket.socket(socket.AF_UNIX) as service, suppress(OSError):
            service.connect(str(self._service))
            threading.Thread(target=_pass_on, args=(service, client), daemon=True).start()
            left = self._times
            while head := client.recv(HEAD.size, socket.MSG_WAITALL):
                length, command = HEAD.unpack(head)
                body = client.recv(length, socket.MSG_WAITALL)
                if command == CONNECT and left:
                    left -= 1
                    self.told += 1
                    client.sendall(body[:-4] + struct.pack("=I", PROTO_MISMATCH))
                    continue
                if command == TRANSMIT:
                    (more,) = struct.unpack_from("=I", body, SENT_LENGTH)
                    body += client.recv(more, socket.MSG_WAITALL)
                service.sendall(head + body)


@contextmanager
def resetting(service: Path, times: int) -> Iterator[tuple[Door, dict[str, str]]]:
    """The door, and what makes a process go through it."""
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(path := f"{directory}/pcscd.comm")
        server.listen()
        door = Door(service, times)

        def accept() -> None:
            with suppress(OSError):  # until the socket is closed
                while True:
                    threading.Thread(target=door.serve, args=server.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield door, {"PCSCLITE_CSOCK_NAME": path}
        server.shutdown(socket.SHUT_RDWR)


def _pass_on(service: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while data := service.recv(1 << 16):
            client.sendall(data)
