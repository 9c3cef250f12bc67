"""The yardstick for PKCS#11: the module's own functions, called by ctypes."""

from __future__ import annotations

import ctypes

_ULONG = ctypes.c_ulong
CKM_ECDSA = 0x1041
CKM_EDDSA = 0x1057
_CKO_PRIVATE_KEY = 3
_CKA_CLASS, _CKA_ID = 0, 0x102
_CKF_SERIAL = 4
_CKU_USER = 1


class _Mechanism(ctypes.Structure):
    _fields_ = (("mechanism", _ULONG), ("parameter", ctypes.c_void_p), ("length", _ULONG))


class _Attribute(ctypes.Structure):
    _fields_ = (("type", _ULONG), ("value", ctypes.c_void_p), ("length", _ULONG))


class RawToken:
    """One token of a module that this process has initialised already."""

    def __init__(self, module: str, slot: int, pin: str) -> None:
        self._library = ctypes.CDLL(module)
        self._slot = _ULONG(slot)
        self._pin = pin.encode()

    def open(self) -> ctypes.c_ulong:
        """C_OpenSession."""
        session = _ULONG()
        self._call("C_OpenSession", self._slot, _ULONG(_CKF_SERIAL), None, None, ctypes.byref(session))
        return session

    def login(self, session: ctypes.c_ulong) -> None:
        """C_Login as the user."""
        self._call("C_Login", session, _ULONG(_CKU_USER), self._pin, _ULONG(len(self._pin)))

    def close(self, session: ctypes.c_ulong) -> None:
        """C_CloseSession; the last one logs out."""
        self._call("C_CloseSession", session)

    def find(self, session: ctypes.c_ulong, identifier: bytes) -> ctypes.c_ulong:
        """The private key of that CKA_ID."""
        kind, octets = _ULONG(_CKO_PRIVATE_KEY), ctypes.create_string_buffer(identifier, len(identifier))
        template = (_Attribute * 2)(
            _Attribute(_CKA_CLASS, ctypes.addressof(kind), ctypes.sizeof(kind)),
            _Attribute(_CKA_ID, ctypes.addressof(octets), len(identifier)),
        )
        key, count = _ULONG(), _ULONG()
        self._call("C_FindObjectsInit", session, template, _ULONG(2))
        self._call("C_FindObjects", session, ctypes.byref(key), _ULONG(1), ctypes.byref(count))
        self._call("C_FindObjectsFinal", session)
        assert count.value == 1
        return key

    def sign(self, session: ctypes.c_ulong, key: ctypes.c_ulong, mechanism: int, data: bytes) -> bytes:
        """C_SignInit and C_Sign into a buffer that is long enough."""
        asked, length = _Mechanism(mechanism, None, 0), _ULONG(256)
        out = ctypes.create_string_buffer(256)
        self._call("C_SignInit", session, ctypes.byref(asked), key)
        self._call("C_Sign", session, data, _ULONG(len(data)), out, ctypes.byref(length))
        return out.raw[: length.value]

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        assert code == 0, f"{name} returned 0x{code:x}"
