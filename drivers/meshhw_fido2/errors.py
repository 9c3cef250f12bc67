"""What an authenticator or its transport answered, folded into the public tree of errors.

Everything that needs python-fido2 is imported late, by the modules that import this one.
"""

from __future__ import annotations

from collections.abc import Callable

from fido2.ctap import CtapError
from fido2.hid import ConnectionFailure

from meshhw.errors import (
    Cancelled,
    KeyNotFound,
    MeshError,
    NotSupported,
    OperationTimeout,
    PinIncorrect,
    PinLocked,
    PinRequired,
    TokenBusy,
    TokenFault,
    TokenFull,
    TouchTimeout,
    UsageError,
    WireCode,
)

ERR = CtapError.ERR
RESET_HINT = "only a reset helps (`fido2-token -R DEVICE`), which erases it; whatever it sealed is then lost"
REINSERT_HINT = "take the authenticator out, put it back, and repeat with the right PIN"

_Make = Callable[[WireCode], MeshError]

_TABLE: dict[int, _Make] = {
    ERR.PIN_INVALID: lambda code: PinIncorrect("the PIN is wrong", code=code),
    ERR.PIN_AUTH_INVALID: lambda code: PinIncorrect("the PIN's proof was not accepted", code=code),
    ERR.PIN_BLOCKED: lambda code: PinLocked("the PIN is locked", unlock_hint=RESET_HINT, code=code),
    ERR.UV_BLOCKED: lambda code: PinLocked("the sensor is locked", unlock_hint=REINSERT_HINT, code=code),
    ERR.PIN_AUTH_BLOCKED: lambda code: PinLocked(
        "three wrong PINs in a row: the authenticator takes no more for now",
        unlock_hint=REINSERT_HINT,
        code=code,
    ),
    ERR.PIN_NOT_SET: lambda code: PinRequired(
        "the authenticator has no PIN yet", hint="set one with `meshhw token change-pin TOKEN`", code=code
    ),
    ERR.PUAT_REQUIRED: lambda code: PinRequired(
        "the authenticator answers nobody whom it has not verified",
        hint="set a PIN with `meshhw token change-pin TOKEN`, if it has none",
        code=code,
    ),
    ERR.PIN_POLICY_VIOLATION: lambda code: UsageError(
        "the new PIN is too short or too long", hint="4 to 63 octets, longer where the maker asks", code=code
    ),
    ERR.NO_CREDENTIALS: lambda code: KeyNotFound(
        "the authenticator does not hold this credential", code=code
    ),
    ERR.INVALID_CREDENTIAL: lambda code: KeyNotFound("the credential is not valid", code=code),
    ERR.KEY_STORE_FULL: lambda code: TokenFull("no room for another discoverable credential", code=code),
    ERR.USER_ACTION_TIMEOUT: lambda code: TouchTimeout("the touch did not come", code=code),
    ERR.ACTION_TIMEOUT: lambda code: TouchTimeout("the touch did not come", code=code),
    ERR.OPERATION_DENIED: lambda code: Cancelled("it was declined at the authenticator", code=code),
    ERR.KEEPALIVE_CANCEL: lambda code: Cancelled("the operation was cancelled", code=code),
    ERR.CHANNEL_BUSY: lambda code: TokenBusy("another program is using the authenticator", code=code),
    ERR.TIMEOUT: lambda code: OperationTimeout("the authenticator gave up", code=code),
    ERR.NOT_ALLOWED: lambda code: NotSupported("the authenticator does not allow this now", code=code),
    ERR.UNSUPPORTED_ALGORITHM: lambda code: NotSupported("it has none of the algorithms", code=code),
    ERR.UNSUPPORTED_OPTION: lambda code: NotSupported("it does not know this option", code=code),
    ERR.INVALID_OPTION: lambda code: NotSupported("it does not know this option", code=code),
    ERR.UNAUTHORIZED_PERMISSION: lambda code: NotSupported(
        "its PIN is not good for this", hint="it verifies a person by its own sensor alone", code=code
    ),
    ERR.INVALID_COMMAND: lambda code: NotSupported("it does not know this command", code=code),
    ERR.INVALID_SUBCOMMAND: lambda code: NotSupported("it does not know this command", code=code),
}

BROKEN_ANSWERS = (ValueError, TypeError, KeyError, IndexError)
"""What python-fido2 raises when an answer is not CTAP."""


def fold(error: CtapError) -> MeshError:
    """The public error of a CTAP status."""
    number = int(error.code)
    name = error.code.name if isinstance(error.code, ERR) else ""
    code = WireCode("CTAP", number, name)
    make = _TABLE.get(number)
    return make(code) if make else TokenFault(f"the authenticator answered {name or hex(number)}", code=code)


LOST = (OSError, ConnectionFailure)
"""What the transports raise when the authenticator is gone."""
UNANSWERED = (*LOST, CtapError, *BROKEN_ANSWERS)
"""All that a place can raise that holds no authenticator."""
