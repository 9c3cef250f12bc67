"""EdDSA in a token, also in one whose C_Sign takes a buffer of the signature's length and no other."""

from __future__ import annotations

import ctypes
from typing import Any

from pkcs11 import Mechanism
from pkcs11.exceptions import ArgumentsBad

from meshhw.algorithms import Algorithm
from meshhw_pkcs11.cryptoki import Module
from meshhw_pkcs11.login import handle_of

_LENGTHS = {Algorithm.ED25519: 64, Algorithm.ED448: 114}


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM without a parameter."""

    _fields_ = (
        ("mechanism", ctypes.c_ulong),
        ("pParameter", ctypes.c_void_p),
        ("ulParameterLen", ctypes.c_ulong),
    )


def sign(module: Module, key: Any, algorithm: Algorithm, message: bytes, pin: str | None = None) -> bytes:
    """The signature (RFC 8032) by `key`, python-pkcs11's object; `pin` for one that wants it each time."""
    try:
        return bytes(key.sign(message, mechanism=Mechanism.EDDSA, pin=pin))
    except ArgumentsBad:
        if pin is not None:
            raise
    return _sign_into(module, key, message, _LENGTHS[algorithm])


def _sign_into(module: Module, key: Any, message: bytes, length: int) -> bytes:
    """C_Sign into a buffer that just fits.

    NSS, since it has EdDSA, names more octets than that when it is asked how many it needs, which the
    wrapper asks and believes, and then refuses a buffer of that size (CKR_ARGUMENTS_BAD).
    """
    session = handle_of(key.session)
    mechanism = _Mechanism(int(Mechanism.EDDSA), None, 0)
    module.call("C_SignInit", session, ctypes.byref(mechanism), ctypes.c_ulong(key.handle))
    signature, written = ctypes.create_string_buffer(length), ctypes.c_ulong(length)
    size = ctypes.c_ulong(len(message))
    module.call("C_Sign", session, message, size, signature, ctypes.byref(written))
    return signature.raw[: written.value]
