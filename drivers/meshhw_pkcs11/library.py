"""A module as python-pkcs11 sees it, started right: with locks, with its parameters, and again after fork."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from meshhw.errors import DriverUnavailable
from meshhw_pkcs11 import cryptoki
from meshhw_pkcs11.cryptoki import CryptokiError
from meshhw_pkcs11.errors import code_of, fold
from meshhw_pkcs11.modules import ModuleSpec

if TYPE_CHECKING:
    from pkcs11 import Token
    from pkcs11._pkcs11 import lib

ATTEMPTS, PAUSE_SECONDS = 5, 0.02


class Library:
    """One loaded module. Get it from `library`, which makes one per file and process."""

    def __init__(self, spec: ModuleSpec) -> None:
        """Load and initialise. Raises DriverUnavailable with the reason."""
        try:
            import pkcs11
        except ImportError as error:
            raise DriverUnavailable(
                "python-pkcs11 is missing", hint="pip install 'meshhw[pkcs11]'"
            ) from error
        self.spec = spec
        self.users: Counter[int] = Counter()
        """How many tokens of this process are open in each slot: the login is theirs together."""
        self.lock = threading.RLock()
        try:
            self.module = cryptoki.load(spec.path, spec.reserved)
            self.wrapper = self._wrapped()
        except (CryptokiError, pkcs11.PKCS11Error) as error:
            raise DriverUnavailable(fold(error, spec.path).message) from error

    @property
    def inside(self) -> bool:
        """Whether agreed secrets stay in the tokens: the user wants it so, or the module lets none out."""
        return self.spec.inside or self.module.fips

    @property
    def generation(self) -> int:
        """Changes when the module was started anew: sessions of an earlier generation are void."""
        return self.module.generation

    def refresh(self) -> None:
        """Start the module anew in a child of fork; else nothing. Raises CryptokiError."""
        if self.module.stale:
            with self.lock:
                if self.module.stale:
                    self.module.restart()

    def tokens(self) -> list[Token]:
        """The tokens that are in the module's slots now. Raises what python-pkcs11 raises."""
        from pkcs11.exceptions import SlotIDInvalid, TokenNotPresent, TokenNotRecognised

        self.refresh()
        found: list[Token] = []
        for slot in self.wrapper.get_slots(token_present=True):
            try:
                found.append(self.asked(slot.get_token))
            except (TokenNotPresent, TokenNotRecognised, SlotIDInvalid):
                continue  # pulled between the two calls
        return found

    def asked(self, question: Callable[[], Token]) -> Token:
        """A question about a token that nobody is logged into. Raises what python-pkcs11 raises.

        SoftHSM fails to answer while another process writes the token's file, as each login does.
        """
        from pkcs11.exceptions import FunctionFailed, GeneralError

        for _ in range(ATTEMPTS - 1):
            with suppress(FunctionFailed, GeneralError):
                return question()
            time.sleep(PAUSE_SECONDS)
        return question()

    def _wrapped(self) -> lib:
        import pkcs11

        try:
            with self.module.initialisation_done():
                return pkcs11.lib(self.module.path)
        except pkcs11.PKCS11Error as error:
            if code_of(error) != cryptoki.CKR_CRYPTOKI_ALREADY_INITIALIZED:
                raise
        # opencryptoki writes its function list anew whenever it is asked for it: let the wrapper have its
        # own initialisation and put the right one in its place.
        self.module.call("C_Finalize", None)
        wrapper = pkcs11.lib(self.module.path)
        self.module.restart()
        return wrapper

    def abandon(self) -> None:
        """Keep a hung module from being finalised when the interpreter ends, which would hang too."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.wrapper))


_libraries: dict[str, Library] = {}


def library(spec: ModuleSpec) -> Library:
    """The loaded module. Raises DriverUnavailable."""
    known = loaded(spec.path)
    if known is None:  # no lock is held here: a module that hangs at its start must not stop the others
        known = _libraries.setdefault(os.path.realpath(spec.path), Library(spec))
    _libraries[spec.path] = known  # by the name that will be asked for again
    return known


def loaded(path: str) -> Library | None:
    """The module at `path`, by whatever of its names, if this process has loaded it."""
    return _libraries.get(path) or _libraries.get(os.path.realpath(path))


def _after_fork() -> None:
    """In the child nobody is logged in, and a lock that the parent's other threads held would never open."""
    for known in _libraries.values():
        known.lock = threading.RLock()
        known.users.clear()


os.register_at_fork(after_in_child=_after_fork)
