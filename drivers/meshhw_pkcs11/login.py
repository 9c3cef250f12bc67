"""The PIN of one token: asked for once, kept in memory, sent to that token alone."""

from __future__ import annotations

import ctypes
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from meshhw.errors import MeshError, PinFinalTry, PinIncorrect, PinLocked, TokenMismatch
from meshhw.keystore.deadline import Limit
from meshhw.keystore.interaction import Interaction, PinKind, PinRequest
from meshhw.keystore.uri import TokenURI
from meshhw_pkcs11.cryptoki import CryptokiError
from meshhw_pkcs11.discovery import Found
from meshhw_pkcs11.errors import fold
from meshhw_pkcs11.library import ATTEMPTS, PAUSE_SECONDS

if TYPE_CHECKING:
    import pkcs11

CKU_USER = 1
CKF_LOGIN_REQUIRED = 0x4
CKF_PROTECTED_AUTHENTICATION_PATH = 0x100
CKF_USER_PIN_FINAL_TRY = 0x20000
CKF_USER_PIN_LOCKED = 0x40000
CKR_USER_ALREADY_LOGGED_IN = 0x100
_USER_STATES = (1, 3)  # CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS


class _SessionInfo(ctypes.Structure):
    """CK_SESSION_INFO."""

    _fields_ = tuple((name, ctypes.c_ulong) for name in ("slotID", "state", "flags", "ulDeviceError"))


class Login:
    """The login of one token. `found` is the token as it was last seen."""

    def __init__(self, found: Found, uri: TokenURI, interaction: Interaction, limit: Limit) -> None:
        self.found = found
        self.done = False
        self._uri = uri
        self._interaction = interaction
        self._limit = limit
        self._pin: str | None = None
        self.lock = threading.RLock()

    @property
    def needed(self) -> bool:
        """Whether the next operation will ask a person for the PIN."""
        required = bool(int(self.found.token.flags) & CKF_LOGIN_REQUIRED)
        return required and not self.done and self._pin is None

    def perform(self, session: pkcs11.Session) -> None:
        """Log in if the token wants it and nobody is. Raises PinIncorrect, PinLocked, PinRequired,
        TokenMismatch, and what the module's functions raise.
        """
        with self.lock:
            if self.done:
                return
            token = self._limit.run(self._checked_token)
            if int(token.flags) & CKF_LOGIN_REQUIRED and not self._limit.run(partial(self._is_user, session)):
                self._send(session, self._known_pin(token))
            self.done = True

    def ask(self, kind: PinKind, *, new: bool = False, retries_left: int | None = None) -> str:
        """One question for a secret of this token."""
        return self._interaction.pin(PinRequest(kind, self._uri, self.found.name, retries_left, new))

    def flags(self) -> int:
        """The token's flags now."""
        return int(self._limit.run(self._checked_token).flags)

    def lapse(self) -> None:
        """The module may have logged out; the PIN is kept."""
        self.done = False

    def was_ended(self, session: pkcs11.Session) -> bool:
        """Whether somebody else logged this process out, of which the module may say anything: NSS tells of
        memory that it lacks."""
        if not self.done or not int(self.found.token.flags) & CKF_LOGIN_REQUIRED:
            return False
        with suppress(MeshError, CryptokiError):
            return not self._limit.run(partial(self._is_user, session))
        return False

    def forget(self) -> None:
        """Forget the PIN too."""
        with self.lock:
            self.done = False
            self._pin = None

    def log_out(self, session: pkcs11.Session) -> None:
        """C_Logout; that nobody was logged in is fine."""
        with suppress(CryptokiError):
            self.found.library.module.call("C_Logout", handle_of(session))

    def _checked_token(self) -> pkcs11.Token:
        """The token in the slot, asked for again: no PIN goes to another one that took its place.

        SoftHSM tells half of a token while another process writes its file, so it is asked more than once.
        """
        ours = (self.found.token.serial, self.found.token.label)
        for _ in range(ATTEMPTS):
            token = self.found.library.asked(self.found.token.slot.get_token)
            if (token.serial, token.label) == ours:
                return token
            time.sleep(PAUSE_SECONDS)
        raise TokenMismatch(f"{self.found.name} was replaced by {token.label or 'another token'}")

    def _is_user(self, session: pkcs11.Session) -> bool:
        info = _SessionInfo()
        handle = handle_of(session)
        self.found.library.module.call("C_GetSessionInfo", handle, ctypes.byref(info))
        return info.state in _USER_STATES

    def _known_pin(self, token: pkcs11.Token) -> str | None:
        """The PIN to send; None lets the person type it at the token's own keys."""
        flags = int(token.flags)
        if flags & CKF_USER_PIN_LOCKED:
            raise self._locked(None)
        if flags & CKF_PROTECTED_AUTHENTICATION_PATH:
            self._interaction.touch(self.found.name)
            return None
        retries_left = 1 if flags & CKF_USER_PIN_FINAL_TRY else None
        request = PinRequest(PinKind.USER, self._uri, self.found.name, retries_left)
        # Also of a PIN that is known: it was right before, and may have been changed.
        if retries_left == 1 and not self._interaction.final_try(request):
            raise PinFinalTry(f"{self.found.name}: one try of the PIN is left", retries_left=1)
        return self._interaction.pin(request) if self._pin is None else self._pin

    def _send(self, session: pkcs11.Session, pin: str | None) -> None:
        try:
            self._limit.run(partial(self._call_login, session, pin))
        except CryptokiError as error:
            self._pin = None
            raise self._refused(error) from error
        self._pin = pin

    def _call_login(self, session: pkcs11.Session, pin: str | None) -> None:
        octets = None if pin is None else pin.encode()
        length = ctypes.c_ulong(len(octets or b""))
        user = ctypes.c_ulong(CKU_USER)
        try:
            self.found.library.module.call("C_Login", handle_of(session), user, octets, length)
        except CryptokiError as error:
            if error.code != CKR_USER_ALREADY_LOGGED_IN:
                raise

    def _refused(self, error: CryptokiError) -> Exception:
        """What a refused PIN means, with the tries that are left where the module tells."""
        folded = fold(error, self.found.name)
        if isinstance(folded, PinLocked):
            return self._locked(error)
        if not isinstance(folded, PinIncorrect):
            return error
        flags = self._flags_or_none()
        if flags & CKF_USER_PIN_LOCKED:
            return self._locked(error)
        folded.retries_left = 1 if flags & CKF_USER_PIN_FINAL_TRY else None
        return folded

    def _flags_or_none(self) -> int:
        with suppress(MeshError):
            return self.flags()
        return 0

    def _locked(self, error: CryptokiError | None) -> PinLocked:
        query = tuple(pair for pair in self._uri.query if pair[0] != "pin-source")
        unlock = f"`meshhw token unlock '{TokenURI(self._uri.scheme, self._uri.path, query)}'`"
        code = fold(error, self.found.name).code if error is not None else None
        return PinLocked(f"{self.found.name}: the PIN is locked", unlock_hint=unlock, code=code)


def handle_of(session: Any) -> ctypes.c_ulong:
    """CK_SESSION_HANDLE of python-pkcs11's session, for calls that it does not have."""
    return ctypes.c_ulong(session.handle)
