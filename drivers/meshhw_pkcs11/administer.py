"""A token's PINs: changed by its user, set anew by its security officer; and the token erased."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshhw.algorithms import Operation
from meshhw.errors import NotSupported, PinIncorrect
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.log import in_place_of_key, recorded
from meshhw_pkcs11.cryptoki import CKU_SO, CryptokiError
from meshhw_pkcs11.errors import fold
from meshhw_pkcs11.login import CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, handle_of
from meshhw_pkcs11.session import Session

if TYPE_CHECKING:
    import pkcs11

CKF_SO_PIN_FINAL_TRY = 0x200000
CKF_SO_PIN_LOCKED = 0x400000


class AdministersToken:
    """Tokens whose PINs can be managed. All of a process's sessions with the token are logged out by it."""

    session: Session
    _options: OpenOptions

    def change_pin(self, kind: PinKind) -> None:
        """Change the user's or the security officer's PIN (C_SetPIN). Raises PinIncorrect, NotSupported."""
        if kind not in (PinKind.USER, PinKind.SO):
            raise NotSupported(f"a PKCS#11 token has no {kind} PIN")
        old = self.session.login.ask(kind)
        new = self.session.login.ask(kind, new=True)
        who = CKU_SO if kind is PinKind.SO else 1

        def work(session: pkcs11.Session) -> None:
            with _LoggedIn(self.session, session, who, old) as call:
                call("C_SetPIN", *_counted(old), *_counted(new))

        self._administer(work)

    def unlock(self) -> None:
        """A new user PIN, set by the security officer (C_InitPIN); this unlocks a locked one."""
        officer = self.session.login.ask(PinKind.SO)
        new = self.session.login.ask(PinKind.USER, new=True)

        def work(session: pkcs11.Session) -> None:
            with _LoggedIn(self.session, session, CKU_SO, officer) as call:
                call("C_InitPIN", *_counted(new))

        self._administer(work)

    def retries_left(self, kind: PinKind) -> int | None:
        """1 or 0 where the token says so, else None: PKCS#11 has no counter."""
        final, locked = {
            PinKind.USER: (CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED),
            PinKind.SO: (CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_LOCKED),
        }.get(kind, (0, 0))
        flags = self.session.flags()
        if flags & locked:
            return 0
        return 1 if flags & final else None

    def reset(self) -> None:
        """Erase the token (C_InitToken) with the security officer's PIN, which stays; the label too."""
        officer = self.session.login.ask(PinKind.SO)
        token = self.session.found.token
        label = ctypes.create_string_buffer(token.label.encode().ljust(32), 32)
        slot = ctypes.c_ulong(token.slot.slot_id)
        self.session.close()
        module = self.session.found.library.module
        with recorded(self._options.recorder, in_place_of_key(self.session.found.uri), Operation.DELETE):
            try:
                self.session.limit.run(lambda: module.call("C_InitToken", slot, *_counted(officer), label))
            except CryptokiError as error:
                raise fold(error, self.session.name) from error

    def _administer(self, work: Callable[[pkcs11.Session], None]) -> None:
        try:
            self.session.run(work, login=False)
        finally:
            self.session.login.forget()


class _LoggedIn:
    """Within this, one user is logged in on the session; afterwards nobody is."""

    def __init__(self, session: Session, handle: pkcs11.Session, who: int, pin: str) -> None:
        self._session, self._who, self._pin = session, who, pin
        self._handle = handle_of(handle)
        self._module = session.found.library.module

    def __enter__(self) -> _LoggedIn:
        self._log_out()
        try:
            self("C_Login", ctypes.c_ulong(self._who), *_counted(self._pin))
        except CryptokiError as error:
            folded = fold(error, self._session.name)
            if isinstance(folded, PinIncorrect):
                raise folded from error
            raise
        return self

    def __call__(self, name: str, *arguments: object) -> None:
        self._module.call(name, self._handle, *arguments)

    def __exit__(self, *exception: object) -> None:
        self._log_out()

    def _log_out(self) -> None:
        try:
            self("C_Logout")
        except CryptokiError as error:
            if error.code != 0x101:  # CKR_USER_NOT_LOGGED_IN
                raise


def _counted(pin: str) -> tuple[bytes, ctypes.c_ulong]:
    octets = pin.encode()
    return octets, ctypes.c_ulong(len(octets))
