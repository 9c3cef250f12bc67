"""The one fold of CKR_* return codes into the public tree of errors (PKCS#11 v2.40 section 5.1)."""

from __future__ import annotations

import re

from meshhw import errors, files
from meshhw.errors import MeshError, TokenFault, WireCode
from meshhw_pkcs11.cryptoki import CKR_CRYPTOKI_ALREADY_INITIALIZED, CryptokiError

# code -> (name without CKR_, class, what to say)
_TABLE: dict[int, tuple[str, type[MeshError], str]] = {
    0x02: ("HOST_MEMORY", TokenFault, "the module is out of memory"),
    0x03: ("SLOT_ID_INVALID", errors.TokenRemoved, "the token's slot is gone"),
    0x05: ("GENERAL_ERROR", TokenFault, "the token failed"),
    0x06: ("FUNCTION_FAILED", TokenFault, "the token failed"),
    0x07: ("ARGUMENTS_BAD", errors.NotSupported, "the token does not take these parameters"),
    0x0A: ("CANT_LOCK", TokenFault, "the module cannot be used from several threads"),
    0x10: ("ATTRIBUTE_READ_ONLY", errors.NotSupported, "the token does not let this be changed"),
    0x11: ("ATTRIBUTE_SENSITIVE", errors.NotSupported, "the token does not give this away"),
    0x12: ("ATTRIBUTE_TYPE_INVALID", errors.NotSupported, "the token does not know this kind of object"),
    0x13: ("ATTRIBUTE_VALUE_INVALID", errors.NotSupported, "the token does not take this kind of object"),
    0x1B: ("ACTION_PROHIBITED", errors.NotSupported, "the token's policy forbids it"),
    0x21: ("DATA_LEN_RANGE", errors.NotSupported, "the token does not take data of this length"),
    0x30: ("DEVICE_ERROR", TokenFault, "the token failed"),
    0x31: ("DEVICE_MEMORY", errors.TokenFull, "the token is full"),
    0x32: ("DEVICE_REMOVED", errors.TokenRemoved, "the token was removed"),
    0x40: ("ENCRYPTED_DATA_INVALID", errors.DecryptionFailed, "the ciphertext does not decrypt"),
    0x41: ("ENCRYPTED_DATA_LEN_RANGE", errors.DecryptionFailed, "the ciphertext does not decrypt"),
    0x50: ("FUNCTION_CANCELED", errors.Cancelled, "the operation was cancelled at the token"),
    0x54: ("FUNCTION_NOT_SUPPORTED", errors.NotSupported, "the token has no such function"),
    0x60: ("KEY_HANDLE_INVALID", errors.KeyNotFound, "the key is no longer on the token"),
    0x62: ("KEY_SIZE_RANGE", errors.NotSupported, "the token does not do keys of this size"),
    0x63: ("KEY_TYPE_INCONSISTENT", errors.NotSupported, "the token does not do this with such a key"),
    0x68: ("KEY_FUNCTION_NOT_PERMITTED", errors.NotSupported, "the key may not be used for this"),
    0x6A: ("KEY_UNEXTRACTABLE", errors.NotSupported, "the key may not leave the token"),
    0x70: ("MECHANISM_INVALID", errors.NotSupported, "the token does not know this mechanism"),
    0x71: ("MECHANISM_PARAM_INVALID", errors.NotSupported, "the token does not take these parameters"),
    0x82: ("OBJECT_HANDLE_INVALID", errors.KeyNotFound, "the object is no longer on the token"),
    0x90: ("OPERATION_ACTIVE", errors.TokenBusy, "another operation is under way"),
    0xA0: ("PIN_INCORRECT", errors.PinIncorrect, "the PIN is wrong"),
    0xA1: ("PIN_INVALID", errors.PinIncorrect, "the token does not accept this PIN"),
    0xA2: ("PIN_LEN_RANGE", errors.PinIncorrect, "the PIN has a length that the token does not accept"),
    0xA3: ("PIN_EXPIRED", errors.PinRequired, "the PIN has expired and must be changed"),
    0xA4: ("PIN_LOCKED", errors.PinLocked, "the PIN is locked"),
    0xB0: ("SESSION_CLOSED", errors.TokenRemoved, "the session with the token was closed"),
    0xB1: ("SESSION_COUNT", errors.TokenBusy, "the token has no session left"),
    0xB3: ("SESSION_HANDLE_INVALID", errors.TokenRemoved, "the session with the token was lost"),
    0xB5: ("SESSION_READ_ONLY", errors.TokenReadOnly, "the token cannot be written"),
    0xB6: ("SESSION_EXISTS", errors.TokenBusy, "another session with the token is open"),
    0xB7: ("SESSION_READ_ONLY_EXISTS", errors.TokenBusy, "another session with the token is open"),
    0xB8: ("SESSION_READ_WRITE_SO_EXISTS", errors.TokenBusy, "the security officer is logged in"),
    0xD0: ("TEMPLATE_INCOMPLETE", errors.NotSupported, "the token wants more attributes for such a key"),
    0xD1: ("TEMPLATE_INCONSISTENT", errors.NotSupported, "the token does not take such a key"),
    0xE0: ("TOKEN_NOT_PRESENT", errors.TokenRemoved, "the token was removed"),
    0xE1: ("TOKEN_NOT_RECOGNIZED", errors.TokenRemoved, "what is in the slot is no token"),
    0xE2: ("TOKEN_WRITE_PROTECTED", errors.TokenReadOnly, "the token is write-protected"),
    0x101: ("USER_NOT_LOGGED_IN", errors.PinRequired, "the token wants its PIN first"),
    0x102: ("USER_PIN_NOT_INITIALIZED", errors.PinRequired, "the token has no user PIN yet"),
    0x104: ("USER_ANOTHER_ALREADY_LOGGED_IN", errors.TokenBusy, "another user is logged in"),
    0x110: ("WRAPPED_KEY_INVALID", errors.DecryptionFailed, "the wrapped key does not unwrap"),
    0x112: ("WRAPPED_KEY_LEN_RANGE", errors.DecryptionFailed, "the wrapped key does not unwrap"),
    0x130: ("DOMAIN_PARAMS_INVALID", errors.NotSupported, "the token does not know this curve"),
    0x140: ("CURVE_NOT_SUPPORTED", errors.NotSupported, "the token does not know this curve"),
    0x150: ("BUFFER_TOO_SMALL", TokenFault, "the token answered more than it said"),
    0x190: ("CRYPTOKI_NOT_INITIALIZED", errors.TokenRemoved, "the module was shut down"),
    0x1B9: ("PUBLIC_KEY_INVALID", errors.InvalidPublicKey, "the token refuses the public key"),
    0x200: ("FUNCTION_REJECTED", errors.Cancelled, "the operation was refused at the token"),
}
# Where python-pkcs11 spells an exception otherwise than the standard its code.
_ALIASES = {
    "TOKENNOTRECOGNISED": "TOKENNOTRECOGNIZED",
    "FUNCTIONCANCELLED": "FUNCTIONCANCELED",
    "ANOTHERUSERALREADYLOGGEDIN": "USERANOTHERALREADYLOGGEDIN",
}
_BY_CLASS_NAME = {name.replace("_", ""): code for code, (name, _, _) in _TABLE.items()}
_HEX = re.compile(r"0x[0-9a-fA-F]+")


def code_of(error: Exception) -> int | None:
    """The CKR_* value of a module's or python-pkcs11's exception; None where it carries none."""
    if isinstance(error, CryptokiError):
        return error.code
    name = type(error).__name__.upper()
    if (code := _BY_CLASS_NAME.get(_ALIASES.get(name, name))) is not None:
        return code
    text = str(error)
    if text.startswith("Buffer was too small"):
        return 0x150
    if "already initialized" in text:
        return CKR_CRYPTOKI_ALREADY_INITIALIZED
    if "not initialized" in text:
        return 0x190
    found = _HEX.search(text)  # python-pkcs11: "Unmapped error code 0x…"
    return int(found[0], 16) if found else None


def wire_code(code: int) -> WireCode:
    """The code with its name, where the standard has one."""
    known = _TABLE.get(code)
    return WireCode("PKCS#11", code, f"CKR_{known[0]}" if known else "")


def fold(error: Exception, token: str) -> MeshError:
    """The public error of a token's answer; `token` is its label, for the message."""
    if isinstance(error, MeshError):
        return error
    code = code_of(error)
    if code is None:
        return TokenFault(f"{token}: {type(error).__name__} {error}".rstrip())
    _, kind, text = _TABLE.get(code, ("", TokenFault, "the token answered with an unknown code"))
    if kind is TokenFault and not files.descriptors_left():  # modules have no code for that
        return kind(f"{token}: {text}; {files.NONE_LEFT}", hint=files.MORE, code=wire_code(code))
    return kind(f"{token}: {text}", code=wire_code(code))
