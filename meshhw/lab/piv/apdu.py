"""Command and response APDUs (ISO 7816-4): short and extended, with both directions of chaining."""

from __future__ import annotations

from dataclasses import dataclass, field

OK = 0x9000
VERIFY_FAILED = 0x63C0
WRONG_LENGTH = 0x6700
SECURITY_NOT_SATISFIED = 0x6982
BLOCKED = 0x6983
CONDITIONS_NOT_SATISFIED = 0x6985
WRONG_DATA = 0x6A80
FUNCTION_NOT_SUPPORTED = 0x6A81
NOT_FOUND = 0x6A82
NO_SPACE = 0x6A84
WRONG_P1P2 = 0x6A86
UNKNOWN_INSTRUCTION = 0x6D00
CLASS_UNKNOWN = 0x6E00
FAILURE = 0x6F00

EXACT_LENGTH = 0x6C00

SHORT_RESPONSE = 256
LONGEST_CHAIN = 8192
CHAIN_BIT = 0x10
GET_RESPONSE = 0xC0


class CardError(Exception):
    """The card answers with a status word other than 9000."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04x}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Command:
    """A command APDU. `extended` commands get their whole response at once."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = field(default=b"", repr=False)
    extended: bool = False

    @property
    def chained(self) -> bool:
        """Whether more of this command follows."""
        return bool(self.cla & CHAIN_BIT)


def parse(octets: bytes) -> Command:
    """Read a command APDU. Raises CardError (6700) when its lengths do not add up."""
    if len(octets) < 4:
        raise CardError(WRONG_LENGTH)
    cla, ins, p1, p2 = octets[:4]
    body = octets[4:]
    if len(body) <= 1:  # cases 1 and 2 short
        return Command(cla, ins, p1, p2)
    if body[0] == 0 and len(body) >= 3:
        return _extended(cla, ins, p1, p2, body)
    length = body[0]
    if len(body) not in (1 + length, 2 + length):
        raise CardError(WRONG_LENGTH)
    return Command(cla, ins, p1, p2, body[1 : 1 + length])


def expected(octets: bytes) -> int | None:
    """The length that a short command expects of its answer (Le); None where it names none."""
    if len(octets) < 5:
        return None
    if len(octets) == 5:
        return octets[4] or SHORT_RESPONSE
    return octets[-1] or SHORT_RESPONSE if len(octets) == 6 + octets[4] else None


def _extended(cla: int, ins: int, p1: int, p2: int, body: bytes) -> Command:
    if len(body) == 3:  # case 2 extended: Le alone
        return Command(cla, ins, p1, p2, extended=True)
    length = int.from_bytes(body[1:3], "big")
    if len(body) not in (3 + length, 5 + length):
        raise CardError(WRONG_LENGTH)
    return Command(cla, ins, p1, p2, body[3 : 3 + length], extended=True)


class Chaining:
    """Joins chained commands and cuts long responses; forgets both when another command comes between."""

    def __init__(self) -> None:
        self._command = b""
        self._head: tuple[int, int, int] | None = None
        self._rest = b""

    def reset(self) -> None:
        """Forget what was half said."""
        self._command, self._head, self._rest = b"", None, b""

    def join(self, command: Command) -> Command | None:
        """The whole command, or None while parts of it are to come. Raises CardError for an endless one."""
        head = (command.ins, command.p1, command.p2)
        if self._head != head:
            self._command = b""
        data = self._command + command.data
        if len(data) > LONGEST_CHAIN:
            self.reset()
            raise CardError(WRONG_LENGTH)
        if command.chained:
            self._command, self._head = data, head
            return None
        self._command, self._head = b"", None
        cla = command.cla & ~CHAIN_BIT
        return Command(cla, command.ins, command.p1, command.p2, data, command.extended)

    def cut(self, data: bytes, extended: bool) -> bytes:
        """The response with its status word; the rest, 61xx, is kept for GET RESPONSE."""
        if extended or len(data) <= SHORT_RESPONSE:
            self._rest = b""
            return data + OK.to_bytes(2, "big")
        self._rest = data[SHORT_RESPONSE:]
        return data[:SHORT_RESPONSE] + bytes([0x61, min(len(self._rest), 0xFF)])

    def more(self) -> bytes:
        """What GET RESPONSE brings. Raises CardError (6985) when nothing is left."""
        if not self._rest:
            raise CardError(CONDITIONS_NOT_SATISFIED)
        return self.cut(self._rest, extended=False)
