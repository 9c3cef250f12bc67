"""One program's share of an authenticator in a USB port, under Linux.

The kernel gives every report of a device to every program that has it open, so what belongs to others is
passed over here: python-fido2 would take it for a broken device. What has come while this program asked
nothing is thrown away first, since the kernel keeps 64 reports and drops what comes after them.
"""

from __future__ import annotations

import select
import sys

from fido2.hid import CTAPHID, TYPE_INIT, CtapHidDevice, open_connection
from fido2.hid.base import CtapHidConnection, HidDescriptor

_BROADCAST = b"\xff" * 4
_NONCE = slice(7, 15)


class Channel(CtapHidConnection):
    """The reports of one channel, or of the one that is being opened."""

    def __init__(self, descriptor: HidDescriptor) -> None:
        """Raises OSError where the device cannot be opened."""
        self._whole = open_connection(descriptor)  # type: ignore[no-untyped-call]  # not annotated
        self._channel = self._nonce = b""

    def write_packet(self, data: bytes) -> None:
        """Raises OSError when the device is gone."""
        begins = data[4] & TYPE_INIT and data[4] != TYPE_INIT | CTAPHID.CANCEL
        if begins:
            self._drain()
        self._channel, self._nonce = bytes(data[:4]), bytes(data[_NONCE])
        self._whole.write_packet(data)

    def read_packet(self) -> bytes:
        """Raises OSError when the device is gone."""
        while True:
            packet: bytes = self._whole.read_packet()
            if not packet:
                raise OSError("the device gives no reports")
            if packet[:4] == self._channel and self._is_answer(packet):
                return packet

    def close(self) -> None:
        """Give the device back."""
        self._whole.close()

    def _is_answer(self, packet: bytes) -> bool:
        """On the channel of all, every program gets the answers to everybody's openings."""
        return self._channel != _BROADCAST or packet[_NONCE] == self._nonce

    def _drain(self) -> None:
        while select.select([self._whole.handle], [], [], 0)[0]:
            self._whole.read_packet()


def open_device(descriptor: HidDescriptor) -> CtapHidDevice:
    """Connect. Raises OSError, and what python-fido2 raises for a device that does not speak CTAPHID."""
    if sys.platform == "linux":
        connection: CtapHidConnection = Channel(descriptor)
    else:
        connection = open_connection(descriptor)  # type: ignore[no-untyped-call]  # not annotated
    try:
        return CtapHidDevice(descriptor, connection)
    except BaseException:
        connection.close()
        raise
