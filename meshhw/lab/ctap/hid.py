"""The authenticator as a USB device: CTAPHID (CTAP 2.1 section 11.2), framing, channels, keep-alives."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from enum import IntEnum

from meshhw.lab.ctap import status
from meshhw.lab.ctap.attestation import Maker
from meshhw.lab.ctap.authenticator import Authenticator
from meshhw.lab.ctap.model import MODELS, Model
from meshhw.lab.ctap.state import Finger, TouchNeeded
from meshhw.lab.hid_port import REPORT, HidPort
from meshhw.lab.piv.faults import Fault, Faults, Kind

BROADCAST = 0xFFFFFFFF
START = 0x80
FIRST, NEXT = REPORT - 7, REPORT - 5
"""Octets of a message in its first report, and in each further one."""
LONGEST = FIRST + 128 * NEXT
KEEPALIVE_SECONDS = 0.1
MESSAGE_SECONDS = 3.0
PROCESSING, UP_NEEDED = 1, 2
VERSION = bytes([2, 1, 0, 0])
CAN_WINK, CAN_CBOR, NO_MESSAGES = 0x01, 0x04, 0x08
U2F_VERSION = b"U2F_V2"
U2F_ASKS_VERSION = 0x03


class Command(IntEnum):
    """Section 11.2.9."""

    PING = 0x01
    MSG = 0x03
    INIT = 0x06
    WINK = 0x08
    CBOR = 0x10
    CANCEL = 0x11
    KEEPALIVE = 0x3B
    ERROR = 0x3F


class Error(IntEnum):
    """Section 11.2.9.1.6."""

    INVALID_COMMAND = 0x01
    INVALID_LENGTH = 0x03
    INVALID_SEQUENCE = 0x04
    MESSAGE_TIMEOUT = 0x05
    CHANNEL_BUSY = 0x06
    INVALID_CHANNEL = 0x0B


@dataclass(slots=True)
class _Message:
    """A message of which reports have come."""

    channel: int
    command: int
    length: int
    data: bytes
    next: int = 0
    since: float = field(default_factory=time.monotonic)


class CtapHidDevice:
    """A virtual authenticator to be plugged into a `HidPort`.

    `commands` has the CTAP command of every message. Without `fido2` it is a token of the time before CTAP 2,
    which knows U2F messages alone.
    """

    def __init__(
        self,
        maker: Maker | None = None,
        aaguid: bytes | None = None,
        model: str | Model = "2.1",
        *,
        fido2: bool = True,
    ) -> None:
        self.aaguid = aaguid or secrets.token_bytes(16)
        self.model = MODELS[model] if isinstance(model, str) else model
        self.authenticator = Authenticator(self.aaguid, maker or Maker(self.aaguid), self.model, "usb")
        self.finger = Finger()
        self.faults = Faults()
        self.commands: list[int] = []
        self._fido2 = fido2
        self._port: HidPort | None = None
        self._channels: set[int] = set()
        self._coming: _Message | None = None
        self._working: int | None = None
        self._cancelled = threading.Event()
        self._lock = threading.RLock()

    def power(self, port: HidPort | None) -> None:
        """Plugged in or pulled out; either way it begins anew."""
        with self._lock:
            self._port, self._coming, self._working = port, None, None
            self._channels.clear()
            self._cancelled.set()
            self.authenticator.restart()

    def report(self, report: bytes) -> None:
        """One report of a program's."""
        channel, kind = int.from_bytes(report[:4], "big"), report[4]
        with self._lock:
            if kind & START:
                length = int.from_bytes(report[5:7], "big")
                self._begin(_Message(channel, kind & ~START, length, report[7 : 7 + length]))
            else:
                self._continue(channel, kind, report[5:])

    def _begin(self, message: _Message) -> None:
        if message.command == Command.INIT and self._is_channel(message):
            self._initialise(message)
        elif message.channel not in self._channels:
            self._refuse(message.channel, Error.INVALID_CHANNEL)
        elif message.command == Command.CANCEL:
            if self._working == message.channel:
                self._cancelled.set()
        elif self._is_busy(message.channel):
            self._refuse(message.channel, Error.CHANNEL_BUSY)
        elif message.length > LONGEST:
            self._refuse(message.channel, Error.INVALID_LENGTH)
        else:
            self._coming = message
            self._go_on(message)

    def _continue(self, channel: int, number: int, data: bytes) -> None:
        message = self._coming
        if message is None or message.channel != channel:
            return  # spurious, to be ignored
        if number != message.next:
            self._coming = None
            self._refuse(channel, Error.INVALID_SEQUENCE)
            return
        message.next += 1
        message.data += data[: message.length - len(message.data)]
        self._go_on(message)

    def _is_channel(self, message: _Message) -> bool:
        return message.channel == BROADCAST or message.channel in self._channels

    def _is_busy(self, channel: int) -> bool:
        coming = self._coming
        if coming is not None and time.monotonic() - coming.since > MESSAGE_SECONDS:
            self._refuse(coming.channel, Error.MESSAGE_TIMEOUT)
            self._coming = coming = None
        return self._working is not None or (coming is not None and coming.channel != channel)

    def _initialise(self, message: _Message) -> None:
        """A new channel, or an old one whose message is given up."""
        if message.length != 8:
            self._refuse(message.channel, Error.INVALID_LENGTH)
            return
        channel = message.channel
        if channel == BROADCAST:
            channel = next(c for c in iter(lambda: secrets.randbits(31) + 1, 0) if c not in self._channels)
            self._channels.add(channel)
        elif self._coming is not None and self._coming.channel == channel:
            self._coming = None
        elif self._working == channel:
            self._cancelled.set()
        can = CAN_WINK | (CAN_CBOR | NO_MESSAGES if self._fido2 else 0)
        answer = message.data + channel.to_bytes(4, "big") + VERSION + bytes([can])
        self._reply(message.channel, Command.INIT, answer)

    def _go_on(self, message: _Message) -> None:
        if len(message.data) < message.length:
            return
        self._coming = None
        if message.command in (Command.PING, Command.WINK):
            self._reply(message.channel, message.command, message.data)
        elif message.command == (Command.CBOR if self._fido2 else Command.MSG):
            self._working = message.channel
            self._cancelled.clear()
            threading.Thread(target=self._work, args=(message, self._port), name="hid", daemon=True).start()
        else:
            self._refuse(message.channel, Error.INVALID_COMMAND)

    def _work(self, message: _Message, port: HidPort | None) -> None:
        answer = self._befallen(message)
        with self._lock:
            if self._port is not port or port is None:
                return  # pulled meanwhile
            self._working = None
            if isinstance(answer, Error):
                self._refuse(message.channel, answer)
            else:
                self._reply(message.channel, message.command, answer)

    def _befallen(self, message: _Message) -> bytes | Error:
        fault = self.faults.take(message.command)
        if fault is not None and fault.kind in (Kind.DELAY, Kind.HANG):
            self.faults.wait(fault.value if fault.kind is Kind.DELAY else None)
        if fault is not None and fault.kind is Kind.STATUS:
            return bytes([int(fault.value)])
        if fault is not None and fault.kind in _PULLS:
            return self._pulled(fault, message)
        answer = self._answer(message)
        return answer[: int(fault.value)] if fault is not None and fault.kind is Kind.TRUNCATE else answer

    def _pulled(self, fault: Fault, message: _Message) -> bytes:
        answer = b"" if fault.kind is Kind.PULL_BEFORE else self._answer(message)
        if self._port is not None:
            self._port.pull()
        return answer

    def _answer(self, message: _Message) -> bytes:
        if not self._fido2:
            asks_version = message.data[1:2] == bytes([U2F_ASKS_VERSION])
            return U2F_VERSION + b"\x90\x00" if asks_version else b"\x6d\x00"
        self.commands.append(message.data[0] if message.data else 0)
        try:
            return self.authenticator.process(message.data, touched=False)
        except TouchNeeded:
            self.finger.waits += 1
            return self._touched(message)

    def _touched(self, message: _Message) -> bytes:
        """Wait for the touch, and say so all the time."""
        since = time.monotonic()
        while (waited := time.monotonic() - since) < self.finger.patience:
            self._reply(message.channel, Command.KEEPALIVE, bytes([UP_NEEDED]))
            if self.finger.touched(waited):
                return self.authenticator.process(message.data, touched=True)
            if self._cancelled.wait(KEEPALIVE_SECONDS):
                return bytes([status.KEEPALIVE_CANCEL])
        return bytes([status.USER_ACTION_TIMEOUT])

    def _refuse(self, channel: int, error: Error) -> None:
        self._reply(channel, Command.ERROR, bytes([error]))

    def _reply(self, channel: int, command: int, data: bytes) -> None:
        port, head = self._port, channel.to_bytes(4, "big")
        if port is None:
            return
        first = head + bytes([START | command]) + len(data).to_bytes(2, "big") + data[:FIRST]
        port.send(first.ljust(REPORT, b"\0"))
        for number, start in enumerate(range(FIRST, len(data), NEXT)):
            port.send((head + bytes([number]) + data[start : start + NEXT]).ljust(REPORT, b"\0"))


_PULLS = (Kind.PULL_BEFORE, Kind.PULL_DURING)
