"""The session with one token: opened when needed, logged in when needed, opened again once when it was lost.

Sessions are opened without a PIN and logged in by C_Login on the very handle, so that a wrong PIN leaves no
session behind. The login belongs to all of a process's sessions with the token (PKCS#11 v2.40 section 2.6.2),
so the last one to close logs out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from pkcs11.exceptions import PKCS11Error

from meshhw.errors import MeshError, OperationTimeout, TokenFault, TokenMismatch, TokenRemoved
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.deadline import Limit
from meshhw.keystore.uri import TokenURI
from meshhw_pkcs11.cryptoki import CryptokiError
from meshhw_pkcs11.discovery import CKF_WRITE_PROTECTED, Found
from meshhw_pkcs11.errors import code_of, fold
from meshhw_pkcs11.keytypes import TolerantMapper
from meshhw_pkcs11.library import ATTEMPTS, PAUSE_SECONDS
from meshhw_pkcs11.login import Login

if TYPE_CHECKING:
    import pkcs11

Result = TypeVar("Result")

FAULTS = (PKCS11Error, CryptokiError)
# The session or the whole token went away (and may be back).
_LOST = frozenset({0x03, 0x32, 0xB0, 0xB3, 0xE0, 0xE1, 0x190})
# An operation was begun and never ended on this session: only another session helps.
_STUCK = 0x90
# What tpm2-pkcs11 says of a key that another operation of this process uses, and other modules of much else.
_IN_USE = 0x06
IN_USE_SECONDS = 5.0
# Somebody else logged out, or the handle is of an object that was deleted or hidden meanwhile.
_OUTDATED = frozenset({0x60, 0x82, 0x101})


_sessions: WeakSet[Session] = WeakSet()


class Session:
    """What the keys and functions of one open token run their calls through."""

    def __init__(self, found: Found, uri: TokenURI, options: OpenOptions) -> None:
        """Nothing is sent to the token yet. `uri` is the name that PIN questions will show."""
        self.name = found.name
        self.epoch = 0
        """Changes whenever handles of objects may have lost their meaning."""
        self.limit = Limit(found.name, options.deadline)
        self._found = found
        self._login = Login(found, uri, options.interaction, self.limit)
        self._generation = 0
        self._open: pkcs11.Session | None = None
        self.renew_locks()
        _sessions.add(self)

    def renew_locks(self) -> None:
        """A child of fork may have copied a lock that another thread of its parent held."""
        self._lock = threading.RLock()
        self._login.lock = threading.RLock()

    @property
    def login(self) -> Login:
        """The state of the login."""
        return self._login

    @property
    def found(self) -> Found:
        """The token as it was last seen."""
        return self._found

    def run(self, work: Callable[[pkcs11.Session], Result], *, login: bool = True) -> Result:
        """`work(session)` on the token, logged in first. Both are tried once more after a session or a handle
        was lost.

        Raises the errors of `meshhw.errors` alone.
        """
        session = self._ready()
        try:
            return self._attempt(session, work, login)
        except FAULTS as error:
            self._recover(error, session)
        session = self._ready()
        try:
            return self._attempt(session, work, login)
        except FAULTS as error:
            raise self._final(error, session) from error

    def run_unused(self, work: Callable[[pkcs11.Session], Result]) -> Result:
        """`work(session)` that destroys an object, tried for a while when the token says that it failed.

        tpm2-pkcs11 destroys no key while any session of this process signs with it, be it another thread's or
        one that was given up and is answered late. Raises what `run` raises.
        """
        end = time.monotonic() + IN_USE_SECONDS
        while True:
            try:
                return self.run(work)
            except TokenFault as error:
                if error.code is None or error.code.value != _IN_USE or time.monotonic() > end:
                    raise
            time.sleep(PAUSE_SECONDS)

    def _attempt(
        self, session: pkcs11.Session, work: Callable[[pkcs11.Session], Result], login: bool
    ) -> Result:
        if login and not self._login.done:
            self._login.perform(session)
        return self.guarded(partial(work, session))

    def flags(self) -> int:
        """CK_TOKEN_INFO's flags as they are now. Raises TokenMismatch when another token is there."""
        try:
            return self._login.flags()
        except FAULTS as error:
            raise self._final(error, self._open) from error

    def close(self) -> None:
        """Forget the PIN, log out when this is the last one, close the session. Twice is fine.

        A session that hangs is closed when its call returns after all.
        """
        with self._lock:
            self._login.forget()
            session, self._open = self._open, None
            if session is None:
                self.limit.close()
            elif self.limit.poisoned:
                self.limit.leave(partial(self._close_quietly, session))
            else:
                if self.limit.busy:  # with a call that may never return
                    self._found.library.abandon()
                with suppress(MeshError):
                    self.limit.run(partial(self._close_quietly, session))
                self.limit.close()

    def _ready(self) -> pkcs11.Session:
        session, module = self._open, self._found.library.module
        if session is None or module.stale or self._generation != module.generation:
            session = self._reopened()
        return session

    def _reopened(self) -> pkcs11.Session:
        with self._lock:
            module = self._found.library.module
            if self._open is None or module.stale or self._generation != module.generation:
                self._login.lapse()
                self._open = self._new_session()
                self._generation = module.generation
                self.epoch += 1
            return self._open

    def _new_session(self) -> pkcs11.Session:
        try:
            return self.guarded(self._opened)
        except FAULTS as error:
            raise fold(error, self.name) from error

    def _opened(self) -> pkcs11.Session:
        library = self._found.library
        library.refresh()
        if self.epoch:  # at the first time the token was found a moment ago
            self._found = self._login.found = self._same_token()
        token = self._found.token
        writable = not int(token.flags) & CKF_WRITE_PROTECTED
        session = token.open(rw=writable, attribute_mapper=TolerantMapper())
        with library.lock:
            library.users[token.slot.slot_id] += 1
        return session

    def _same_token(self) -> Found:
        """The same token wherever it is plugged now. Raises TokenRemoved, TokenMismatch.

        SoftHSM tells half of a token while another process writes its file, so it is asked more than once.
        """
        for _ in range(ATTEMPTS):
            present = [Found(self._found.library, token) for token in self._found.library.tokens()]
            for found in present:
                if found.uri == self._found.uri:
                    return found
            time.sleep(PAUSE_SECONDS)
        slot = self._found.token.slot.slot_id
        for found in present:
            if found.token.slot.slot_id == slot:
                raise TokenMismatch(f"{self.name} was replaced by {found.name}")
        raise TokenRemoved(f"{self.name} was removed")

    def _recover(self, error: Exception, session: pkcs11.Session) -> None:
        """Prepare another try, or raise what the error means."""
        code = code_of(error)
        if code in _LOST:
            self._drop(session)
        elif code == _STUCK:
            self._renew(session)
        elif code in _OUTDATED or self._login.was_ended(session):
            with self._lock:
                self._login.lapse()
                self.epoch += 1
        else:
            raise fold(error, self.name) from error

    def _drop(self, lost: pkcs11.Session | None) -> None:
        """The token went: what it was told in confidence is forgotten with it.

        Another thread may have noticed before, and may have a new session by now, which is kept.
        """
        with self._lock:
            if lost is not None and self._open is lost:
                self._login.forget()
                self._open = None
                self._release()

    def _renew(self, stuck: pkcs11.Session) -> None:
        """Another session with the same token; whoever is logged in stays so."""
        with self._lock:
            if self._open is not stuck:
                return
            self._open = self._new_session()
            self.epoch += 1
            self._login.lapse()
            self._release()
            with suppress(*FAULTS):
                self.limit.run(stuck.close)

    def _close_quietly(self, session: pkcs11.Session) -> None:
        with suppress(*FAULTS):
            if self._release() == 0:
                self._login.log_out(session)
            session.close()

    def _release(self) -> int:
        library, slot = self._found.library, self._found.token.slot.slot_id
        with library.lock:
            library.users[slot] = max(0, library.users[slot] - 1)
            return library.users[slot]

    def _final(self, error: Exception, session: pkcs11.Session | None) -> MeshError:
        """The public error, after which the session is new if this one was lost."""
        if code_of(error) in _LOST:
            self._drop(session)
        return fold(error, self.name)

    def guarded(self, step: Callable[[], Result]) -> Result:
        """One step within the deadline; a module that hangs is left alone for good."""
        try:
            return self.limit.run(step)
        except OperationTimeout:
            if self.limit.poisoned:
                self._found.library.abandon()
            raise


def _after_fork() -> None:
    for session in list(_sessions):
        session.renew_locks()


os.register_at_fork(after_in_child=_after_fork)
