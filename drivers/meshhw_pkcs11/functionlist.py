"""The list of a module's functions: called by name, and led over functions of ours for a while.

Structures and the order of functions follow PKCS#11 v2.40, section 3 and `pkcs11f.h`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meshhw.keystore.tally import Tally
from meshhw.keystore.waiting import wait_for

_NAMES = [
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetFunctionList",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_CloseAllSessions",
    "C_GetSessionInfo",
    "C_GetOperationState",
    "C_SetOperationState",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_GetObjectSize",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_EncryptUpdate",
    "C_EncryptFinal",
    "C_DecryptInit",
    "C_Decrypt",
    "C_DecryptUpdate",
    "C_DecryptFinal",
    "C_DigestInit",
    "C_Digest",
    "C_DigestUpdate",
    "C_DigestKey",
    "C_DigestFinal",
    "C_SignInit",
    "C_Sign",
    "C_SignUpdate",
    "C_SignFinal",
    "C_SignRecoverInit",
    "C_SignRecover",
    "C_VerifyInit",
    "C_Verify",
    "C_VerifyUpdate",
    "C_VerifyFinal",
    "C_VerifyRecoverInit",
    "C_VerifyRecover",
    "C_DigestEncryptUpdate",
    "C_DecryptDigestUpdate",
    "C_SignEncryptUpdate",
    "C_DecryptVerifyUpdate",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_DeriveKey",
    "C_SeedRandom",
    "C_GenerateRandom",
    "C_GetFunctionStatus",
    "C_CancelFunction",
    "C_WaitForSlotEvent",
]
"""CK_FUNCTION_LIST in its order."""
_POINTER = ctypes.sizeof(ctypes.c_void_p)
_VERSION_SIZE = _POINTER  # CK_VERSION, padded to the pointers that follow it
_MOST_ARGUMENTS = 8
_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_ulong)
_ANY_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_ulong, *[ctypes.c_ulong] * _MOST_ARGUMENTS)
"""With the most arguments that a function has; one of fewer does not look behind its own."""


class FunctionList:
    """One module's CK_FUNCTION_LIST, which python-pkcs11 calls through as well."""

    def __init__(self, address: int) -> None:
        self._address = address
        self._tally = Tally()
        self._counting = threading.Lock()
        self._counters: dict[str, Any] = {}

    def call(self, name: str, *arguments: object) -> int:
        """The code that a function returns."""
        return int(_FUNCTION(self._entry(name).value or 0)(*arguments))

    def become(self, other: int) -> None:
        """Stand for the functions of another list from now on, for everybody who has this one."""
        first, size = self._address + _VERSION_SIZE, len(_NAMES) * _POINTER
        with _writable(first, first + size):
            ctypes.memmove(first, other + _VERSION_SIZE, size)

    @contextmanager
    def replaced(self, functions: Mapping[str, Any]) -> Iterator[None]:
        """While this lasts, the names stand for these functions (of ctypes)."""
        entries = {name: self._entry(name) for name in functions}
        originals = {name: entry.value for name, entry in entries.items()}
        places = [ctypes.addressof(entry) for entry in entries.values()]
        with _writable(min(places), max(places) + _POINTER):
            for name, function in functions.items():
                entries[name].value = ctypes.cast(function, ctypes.c_void_p).value
            try:
                yield
            finally:
                for name, address in originals.items():
                    entries[name].value = address

    def counted(self, work: Callable[[], object]) -> int:
        """How many functions of the module this process calls while `work` runs. Raises what it raises.

        It runs on another thread: Ctrl-C, raised within a function that a library calls, would be lost.
        """
        with self._counting:
            self._counters = self._counters or dict(self._counting_functions())
            with self.replaced(self._counters):
                return self._tally.during(lambda: wait_for(work, _nothing, _nothing))

    def _counting_functions(self) -> Iterator[tuple[str, Any]]:
        """They are kept as long as the module: a call that hangs is still within one of them."""
        for name in _NAMES:
            address = self._entry(name).value
            if address:
                yield name, _ANY_FUNCTION(_noted(self._tally, _ANY_FUNCTION(address)))

    def _entry(self, name: str) -> ctypes.c_void_p:
        return ctypes.c_void_p.from_address(self._address + _VERSION_SIZE + _NAMES.index(name) * _POINTER)


def _noted(tally: Tally, function: Callable[..., int]) -> Callable[..., int]:
    def counting(*arguments: int) -> int:
        tally.note()
        return function(*arguments)

    return counting


def _nothing() -> None:
    return None


@contextmanager
def _writable(first: int, end: int) -> Iterator[None]:
    """Some modules keep their function list in read-only memory; open its pages for the time being."""
    size = os.sysconf("SC_PAGE_SIZE")
    readable = [(start, stop) for start, stop, may in _mappings() if may == "r--"]
    pages = range(first - first % size, end, size)
    closed = [page for page in pages if any(start <= page < stop for start, stop in readable)]
    libc = ctypes.CDLL(None)
    for page in closed:
        libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(size), 3)
    try:
        yield
    finally:
        for page in closed:
            libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(size), 1)


def _mappings() -> Iterator[tuple[int, int, str]]:
    """This process's memory: from, to, and what may be done with it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, allowed = line.split(maxsplit=2)[:2]
        first, _, end = place.partition("-")
        yield int(first, 16), int(end, 16), allowed[:3]
