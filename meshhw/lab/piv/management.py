"""The YubiKey's management and OTP applications, as far as tools ask them who the card is."""

from __future__ import annotations

from meshhw.lab.piv import apdu
from meshhw.lab.piv.apdu import CardError, Command
from meshhw.lab.piv.state import Lasting
from meshhw.lab.piv.tlv import tlv

MANAGEMENT_AID = bytes.fromhex("a000000527471117")
OTP_AID = bytes.fromhex("a0000005272001")
READ_CONFIG = 0x1D
API_REQUEST, SERIAL_REQUEST = 0x01, 0x10
PIV_CAPABILITY = 0x10


class ManagementApplet:
    """Version, serial number and enabled applications."""

    def __init__(self, lasting: Lasting) -> None:
        self._lasting = lasting

    def select(self) -> bytes:
        """The version as text, as the YubiKey gives it."""
        version = self._lasting.personality.version or (0, 0, 0)
        return "Virtual mgr - FW version {}.{}.{}".format(*version).encode()

    def process(self, command: Command) -> bytes:
        """READ CONFIG's only page. Raises CardError (6D00) for anything else."""
        if command.ins != READ_CONFIG:
            raise CardError(apdu.UNKNOWN_INSTRUCTION)
        page = b"".join(
            (
                tlv(0x01, bytes([PIV_CAPABILITY])),
                tlv(0x02, self._lasting.serial.to_bytes(4, "big")),
                tlv(0x03, bytes([PIV_CAPABILITY])),
                tlv(0x04, b"\x01"),
                tlv(0x05, bytes(self._lasting.personality.version or ())),
            )
        )
        return bytes([len(page)]) + page


class OtpApplet:
    """The serial number, for tools that ask older firmware this way."""

    def __init__(self, lasting: Lasting) -> None:
        self._lasting = lasting

    def select(self) -> bytes:
        """Version and an empty configuration's status."""
        return bytes(self._lasting.personality.version or (0, 0, 0)) + b"\0\0\0"

    def process(self, command: Command) -> bytes:
        """The serial request. Raises CardError for anything else."""
        if (command.ins, command.p1) != (API_REQUEST, SERIAL_REQUEST):
            raise CardError(apdu.UNKNOWN_INSTRUCTION)
        return self._lasting.serial.to_bytes(4, "big")
