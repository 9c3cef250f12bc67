"""USB ports of a lab: what a program sees as /dev/hidrawN, with a device in it or without.

A program sees them by a library that is preloaded into it (hid_shim.c); no kernel module and no privilege is
needed. As with the kernel's driver, every report of a device comes to all programs that have it open.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Protocol

from meshhw.lab import shim

SOURCE = Path(__file__).with_name("hid_shim.c")
VARIABLE = "MESHHW_LAB_HID"
REPORT = 64
_BUS_USB, _VENDOR, _PRODUCT = 0x03, 0x1209, 0x5070
_DESCRIPTOR = bytes.fromhex(
    "06d0f1 0901 a101 0920 1500 26ff00 7508 9540 8102 0921 1500 26ff00 7508 9540 9102 c0"
)
"""The report descriptor of a FIDO device (CTAP 2.1 section 11.2.8.2): 64 octets each way."""
_INFO = struct.Struct("=IHH256s64sI4096s")
"""hid_shim.c's `struct info`."""


class Device(Protocol):
    """What can be plugged in."""

    def report(self, report: bytes) -> None:
        """A report came from a program."""
        ...

    def power(self, port: HidPort | None) -> None:
        """Plugged into a port, or pulled out of it."""
        ...


class HidPort:
    """One port; `env` lets another program see all ports of its directory."""

    def __init__(self, directory: Path, number: int = 0) -> None:
        """Raises DriverUnavailable where there is no compiler."""
        self._library = shim.compiled(SOURCE)
        self._directory = directory
        self._path = directory / f"hidraw{number}"
        self._info = directory / f"hidraw{number}.info"
        self._device: Device | None = None
        self._listener: socket.socket | None = None
        self._programs: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        """What programs call it."""
        return f"/dev/{self._path.name}"

    @property
    def env(self) -> dict[str, str]:
        """What a program needs in its environment to see it."""
        before = os.environ.get("LD_PRELOAD", "")
        return {VARIABLE: str(self._directory), "LD_PRELOAD": f"{self._library} {before}".strip()}

    def plug(self, device: Device, name: str, serial: str) -> None:
        """Put a device in."""
        ids = (_BUS_USB, _VENDOR, _PRODUCT, name.encode(), serial.encode())
        self._info.write_bytes(_INFO.pack(*ids, len(_DESCRIPTOR), _DESCRIPTOR))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self._path))
        listener.listen()
        self._device, self._listener = device, listener
        device.power(self)
        threading.Thread(target=self._accept, args=(listener, device), name=self.path, daemon=True).start()

    def pull(self) -> None:
        """Take the device out, whatever it is doing."""
        with self._lock:
            device, self._device = self._device, None
            listener, self._listener = self._listener, None
            programs, self._programs = self._programs, []
        if device is None or listener is None:
            return
        self._path.unlink()
        self._info.unlink()
        for one in (listener, *programs):
            with contextlib.suppress(OSError):  # whoever was there may have gone first
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        device.power(None)

    def send(self, report: bytes) -> None:
        """A report of the device, to every program that has it open."""
        with self._lock:
            programs = list(self._programs)
        for program in programs:
            with contextlib.suppress(OSError):  # it closed the device, or does not read what comes
                program.send(report, socket.MSG_DONTWAIT)

    def _accept(self, listener: socket.socket, device: Device) -> None:
        while True:
            try:
                program, _ = listener.accept()
            except OSError:
                return  # pulled
            with self._lock:
                if self._listener is not listener:
                    program.close()
                    return
                self._programs.append(program)
            threading.Thread(target=self._serve, args=(program, device), name=self.path, daemon=True).start()

    def _serve(self, program: socket.socket, device: Device) -> None:
        with contextlib.suppress(OSError):
            while octets := program.recv(1 + REPORT):
                # The report's number goes before it, 0 where there is one alone.
                device.report(octets[1:])
        with self._lock:
            if program in self._programs:
                self._programs.remove(program)
        program.close()
