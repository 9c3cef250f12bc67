"""CTAP status codes (CTAP 2.1 section 8.2) and the exception that carries one to the answer."""

from __future__ import annotations

INVALID_COMMAND = 0x01
INVALID_PARAMETER = 0x02
INVALID_LENGTH = 0x03
CBOR_UNEXPECTED_TYPE = 0x11
INVALID_CBOR = 0x12
MISSING_PARAMETER = 0x14
CREDENTIAL_EXCLUDED = 0x19
UNSUPPORTED_ALGORITHM = 0x26
OPERATION_DENIED = 0x27
KEY_STORE_FULL = 0x28
UNSUPPORTED_OPTION = 0x2B
INVALID_OPTION = 0x2C
KEEPALIVE_CANCEL = 0x2D
NO_CREDENTIALS = 0x2E
USER_ACTION_TIMEOUT = 0x2F
NOT_ALLOWED = 0x30
PIN_INVALID = 0x31
PIN_BLOCKED = 0x32
PIN_AUTH_INVALID = 0x33
PIN_AUTH_BLOCKED = 0x34
PIN_NOT_SET = 0x35
PUAT_REQUIRED = 0x36
PIN_POLICY_VIOLATION = 0x37
REQUEST_TOO_LARGE = 0x39
INVALID_SUBCOMMAND = 0x3E
UNAUTHORIZED_PERMISSION = 0x40


class CtapRefusal(Exception):
    """The authenticator answers a status other than zero."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:02x}")
        self.status = status
