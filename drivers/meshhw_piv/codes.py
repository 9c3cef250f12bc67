"""What cards and PC/SC answer, folded by one table each into the errors that callers know.

Status words: ISO 7816-4, SP 800-73-4 part 2 and the YubiKey's extensions. PC/SC codes: winscard.h.
"""

from __future__ import annotations

from meshhw.errors import (
    DriverUnavailable,
    KeyNotFound,
    NotSupported,
    OperationTimeout,
    PinLocked,
    PinRequired,
    TokenBusy,
    TokenError,
    TokenFault,
    TokenFull,
    TokenRemoved,
    WireCode,
)

OK = 0x9000
FAILED = 0x6300
VERIFY_FAILED = 0x63C0
SECURITY_NOT_SATISFIED = 0x6982
BLOCKED = 0x6983
WRONG_LENGTH = 0x6700
WRONG_DATA = 0x6A80
FUNCTION_NOT_SUPPORTED = 0x6A81
NOT_FOUND = 0x6A82

STATUS_WORDS: dict[int, tuple[str, type[TokenError]]] = {
    0x6581: ("memory failure", TokenFault),
    WRONG_LENGTH: ("wrong length", NotSupported),
    SECURITY_NOT_SATISFIED: ("security condition not satisfied", PinRequired),
    BLOCKED: ("authentication method blocked", PinLocked),
    0x6985: ("conditions of use not satisfied", NotSupported),
    0x6986: ("command not allowed", NotSupported),
    WRONG_DATA: ("incorrect data", NotSupported),
    FUNCTION_NOT_SUPPORTED: ("function not supported", NotSupported),
    NOT_FOUND: ("file not found", KeyNotFound),
    0x6A84: ("no space", TokenFull),
    0x6A86: ("incorrect P1 P2", NotSupported),
    0x6A88: ("referenced data not found", KeyNotFound),
    0x6B00: ("incorrect P1 P2", NotSupported),
    0x6D00: ("unknown instruction", NotSupported),
    0x6E00: ("unknown class", NotSupported),
}
LOST_SELECTION = frozenset({0x6D00, 0x6E00, 0x6A82, 0x6985, 0x6999, SECURITY_NOT_SATISFIED})
"""What an instruction that worked before answers when another program has used the card in between."""
ABSENT = frozenset({NOT_FOUND, 0x6A83, 0x6A86, 0x6A88})
"""Key or object not there, in the words of YubiKeys, of plain cards, and of imitators."""
NO_SUCH_OBJECT = ABSENT | {WRONG_DATA, FUNCTION_NOT_SUPPORTED, 0x6B00}
"""What cards say of a data object that they do not have room for by that name."""
NO_ROOM = frozenset({0x6581, WRONG_LENGTH, 0x6A84})
"""What cards say of octets that are too many for an object, or for the card."""
NO_SUCH_SLOT = frozenset({NOT_FOUND, FUNCTION_NOT_SUPPORTED, 0x6A86, 0x6A88, 0x6B00})
"""What cards say of a slot that they do not have."""
UNKNOWN_INSTRUCTION, UNKNOWN_CLASS = 0x6D00, 0x6E00
UNKNOWN = frozenset({UNKNOWN_INSTRUCTION, UNKNOWN_CLASS, FUNCTION_NOT_SUPPORTED})
"""What cards say of an instruction that they do not know."""
NO_DIAGNOSIS = 0x6F00
"""What a card says whose application stumbled."""
WRONG_KEY = frozenset({FAILED, SECURITY_NOT_SATISFIED, WRONG_DATA})
"""What cards say of a management key that is another."""

CARD_GONE, REFUSED_USER = 0x80100069, 0x8010006A
PCSC_CODES: dict[int, tuple[str, type[TokenError]]] = {
    0x80100001: ("SCARD_F_INTERNAL_ERROR", TokenFault),
    0x80100006: ("SCARD_E_NO_MEMORY", TokenFault),
    0x8010000A: ("SCARD_E_TIMEOUT", OperationTimeout),
    0x80100009: ("SCARD_E_UNKNOWN_READER", TokenRemoved),
    0x8010000B: ("SCARD_E_SHARING_VIOLATION", TokenBusy),
    0x8010000C: ("SCARD_E_NO_SMARTCARD", TokenRemoved),
    0x80100003: ("SCARD_E_INVALID_HANDLE", TokenRemoved),
    0x80100013: ("SCARD_F_COMM_ERROR", TokenRemoved),
    0x80100016: ("SCARD_E_NOT_TRANSACTED", TokenRemoved),
    0x80100017: ("SCARD_E_READER_UNAVAILABLE", TokenRemoved),
    0x8010001D: ("SCARD_E_NO_SERVICE", DriverUnavailable),
    0x8010001E: ("SCARD_E_SERVICE_STOPPED", DriverUnavailable),
    0x8010002E: ("SCARD_E_NO_READERS_AVAILABLE", TokenRemoved),
    0x80100066: ("SCARD_W_UNRESPONSIVE_CARD", TokenRemoved),
    0x80100067: ("SCARD_W_UNPOWERED_CARD", TokenRemoved),
    0x80100068: ("SCARD_W_RESET_CARD", TokenFault),
    CARD_GONE: ("SCARD_W_REMOVED_CARD", TokenRemoved),
    REFUSED_USER: ("SCARD_W_SECURITY_VIOLATION", DriverUnavailable),
}
RESET_CARD = 0x80100068
SHARING_VIOLATION = 0x8010000B
NO_CONNECTION_LEFT = frozenset({0x80100001, 0x80100006})
"""What pcscd answers to whoever wants one connection with a reader more than it serves."""
_HINTS = {
    0x8010001D: "start pcscd: `systemctl start pcscd.socket`, or `meshhw doctor` for why it does not answer",
    REFUSED_USER: "`meshhw doctor` names the rule that allows it",
}
_REFUSED = "the PC/SC service refuses this user"


class PcscFault(Exception):
    """A PC/SC call failed; `code` is unsigned."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"{name} (0x{code:08x})")
        self.code = code
        self.name = name


def name_of(code: int) -> str:
    """The PC/SC code's name, or "unknown"."""
    return PCSC_CODES[code][0] if code in PCSC_CODES else "unknown"


def retries_of(status: int) -> int | None:
    """Tries left as a failed VERIFY tells them (63Cx, 6983), None for other status words."""
    if status == BLOCKED:
        return 0
    return status & 0x0F if status & 0xFFF0 == VERIFY_FAILED else None


def from_status(status: int, label: str, doing: str, unlock: str = "") -> TokenError:
    """The error for a status word; unknown ones keep their code as TokenFault. `unlock` is the command for a
    locked PIN.
    """
    name, kind = STATUS_WORDS.get(status, ("unknown status", TokenFault))
    code = WireCode("SW", status, name)
    if kind is PinLocked:
        return PinLocked(f"{label}: its PIN is locked", unlock_hint=unlock, code=code)
    return kind(f"{label} refuses to {doing}: {name}", code=code)


def from_pcsc(fault: PcscFault, label: str, holder: str | None = None) -> TokenError:
    """The error for a PC/SC code."""
    name, kind = PCSC_CODES.get(fault.code, ("unknown", TokenFault))
    code = WireCode("PC/SC", fault.code, name)
    if kind is TokenBusy:
        who = holder or "another program"
        return TokenBusy(f"{label} is held by {who}", holder=holder, code=code)
    if kind is DriverUnavailable:
        says = _REFUSED if fault.code == REFUSED_USER else "no PC/SC service answers"
        return DriverUnavailable(says, hint=_HINTS.get(fault.code), code=code)
    if kind is TokenRemoved:
        return TokenRemoved(f"{label} is not in its reader any more", code=code)
    return kind(f"{label}: {name}", code=code)
