"""A PKCS#11 module at its own level: loaded once, initialised for threads, called by function name.

python-pkcs11 does the work of the driver; this is the part that it has no call for: C_Initialize with
arguments (it passes NULL, under which modules run without locks), C_InitToken, and a fresh start after fork.
Structures follow PKCS#11 v2.40, section 3.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshhw.errors import DriverUnavailable
from meshhw_pkcs11 import nss
from meshhw_pkcs11.functionlist import FunctionList

CKR_OK = 0
CKR_CRYPTOKI_NOT_INITIALIZED = 0x190
CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191
CKF_OS_LOCKING_OK = 2
CKF_RW_SERIAL_SESSION = 2 | 4
CKF_SERIAL_SESSION = 4
CKU_SO = 0

_ULONG = ctypes.c_ulong
_INITIALIZE = ctypes.CFUNCTYPE(_ULONG, ctypes.c_void_p)


class InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        ("CreateMutex", ctypes.c_void_p),
        ("DestroyMutex", ctypes.c_void_p),
        ("LockMutex", ctypes.c_void_p),
        ("UnlockMutex", ctypes.c_void_p),
        ("flags", _ULONG),
        ("pReserved", ctypes.c_char_p),
    )


class TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO."""

    _fields_ = (
        ("label", ctypes.c_char * 32),
        ("manufacturerID", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serialNumber", ctypes.c_char * 16),
        ("flags", _ULONG),
        ("counters", _ULONG * 10),
        ("hardwareVersion", ctypes.c_ubyte * 2),
        ("firmwareVersion", ctypes.c_ubyte * 2),
        ("utcTime", ctypes.c_char * 16),
    )


class CryptokiError(Exception):
    """A function of the module did not return CKR_OK."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function} returned 0x{code:x}")
        self.function = function
        self.code = code


class Module:
    """One loaded PKCS#11 library. There is one object per file and process; get it from `load`."""

    def __init__(self, path: str, reserved: str) -> None:
        """Load the library; nothing is initialised yet. Raises DriverUnavailable.

        NSS is loaded in its FIPS mode if its database is set to that.
        """
        self.path = path
        self.reserved = reserved
        self.generation = 0
        """Counts the initialisations: handles of an earlier one mean nothing."""
        self.stale = False
        """Whether it must be restarted first: in a child of fork, and when a restart failed half-way."""
        self._arguments = InitializeArguments(
            flags=CKF_OS_LOCKING_OK, pReserved=reserved.encode() if reserved else None
        )
        try:
            self._library = ctypes.CDLL(path, _binding())
            address = ctypes.c_void_p()
            code = self._library.C_GetFunctionList(ctypes.byref(address))
        except (OSError, AttributeError) as error:
            raise _unusable(path) from error
        if code != CKR_OK or not address.value:
            raise _unusable(path)
        self.functions = FunctionList(address.value)
        self.fips = nss.in_fips_mode(reserved)
        """Whether it is NSS in FIPS mode, under which no secret leaves a token."""
        if self.fips:
            self.functions.become(self._fips_functions())

    def _fips_functions(self) -> int:
        """Where NSS has its second list: python-pkcs11 asks for the first one, whose entries are replaced."""
        address = ctypes.c_void_p()
        try:
            code = self._library.FC_GetFunctionList(ctypes.byref(address))
        except AttributeError as error:
            raise _unusable(self.path) from error
        if code != CKR_OK or not address.value:
            raise _unusable(self.path)
        return address.value

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the module. Raises CryptokiError for everything but CKR_OK."""
        code = self.functions.call(name, *arguments)
        if code != CKR_OK:
            raise CryptokiError(name, code)

    def initialise(self) -> None:
        """C_Initialize with the system's locks and the module's own parameters; twice is fine."""
        try:
            self.call("C_Initialize", ctypes.byref(self._arguments))
        except CryptokiError as error:
            if error.code != CKR_CRYPTOKI_ALREADY_INITIALIZED:
                raise
        self.generation += 1
        self.stale = False

    def restart(self) -> None:
        """C_Finalize and C_Initialize: what a child of fork must do, and what finds new slots again."""
        self.stale = True
        try:
            self.call("C_Finalize", None)
        except CryptokiError as error:
            if error.code != CKR_CRYPTOKI_NOT_INITIALIZED:
                raise
        self.initialise()

    @contextmanager
    def initialisation_done(self) -> Iterator[None]:
        """While this lasts, C_Initialize of the function list does nothing and says CKR_OK.

        A wrapper that insists on calling it itself, without arguments, is created under this.
        """
        nothing = _INITIALIZE(lambda _arguments: CKR_OK)
        with self.functions.replaced({"C_Initialize": nothing}):
            yield

    def slots(self, *, with_token: bool = True) -> list[int]:
        """C_GetSlotList."""
        count = _ULONG()
        self.call("C_GetSlotList", ctypes.c_ubyte(with_token), None, ctypes.byref(count))
        found = (_ULONG * count.value)()
        self.call("C_GetSlotList", ctypes.c_ubyte(with_token), found, ctypes.byref(count))
        return list(found)[: count.value]

    def token_info(self, slot: int) -> TokenInfo:
        """C_GetTokenInfo."""
        info = TokenInfo()
        self.call("C_GetTokenInfo", _ULONG(slot), ctypes.byref(info))
        return info

    @contextmanager
    def session(self, slot: int, *, writable: bool = True) -> Iterator[ctypes.c_ulong]:
        """A session that is closed at the end, and with it, if it is the last one, logged out."""
        handle = _ULONG()
        flags = _ULONG(CKF_RW_SERIAL_SESSION if writable else CKF_SERIAL_SESSION)
        self.call("C_OpenSession", _ULONG(slot), flags, None, None, ctypes.byref(handle))
        try:
            yield handle
        finally:
            self.call("C_CloseSession", handle)


def _binding() -> int:
    """How a module is loaded: what it calls by a name of its own is its own.

    opencryptoki shows every symbol of its tokens to the whole process, and a module that is loaded after it
    would call those of the same name instead (`object_create` in tpm2-pkcs11). Where a preloaded library
    means to answer for others, as another allocator does, it is let.
    """
    preloaded = os.environ.get("LD_PRELOAD")
    return ctypes.DEFAULT_MODE if preloaded else ctypes.DEFAULT_MODE | getattr(os, "RTLD_DEEPBIND", 0)


_loaded: dict[str, Module] = {}
_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def load(path: str, reserved: str = "") -> Module:
    """The module at `path`, loaded and initialised once per process.

    `reserved` goes to C_Initialize as pReserved (NSS wants its configuration there) and counts at the first
    call only. Raises DriverUnavailable, CryptokiError.
    """
    name = str(Path(path).resolve()) if "/" in path else path
    with _locks[name]:  # a lock each: a module that hangs at its start must not stop the others
        if name not in _loaded:
            module = Module(name, reserved)
            module.initialise()
            _loaded[name] = module
        return _loaded[name]


def _unusable(path: str) -> DriverUnavailable:
    if "/" in path and not Path(path).exists():
        return DriverUnavailable(f"there is no PKCS#11 module at {path}", hint="check the module-path")
    return DriverUnavailable(
        f"{path} is not a PKCS#11 module that can be loaded", hint="check the module-path"
    )


def _after_fork() -> None:
    """A child may not use what its parent initialised (PKCS#11 v2.40), and its locks may be held for ever."""
    _locks.clear()
    for module in _loaded.values():
        module.stale = True


os.register_at_fork(after_in_child=_after_fork)
