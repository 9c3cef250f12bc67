"""The way to a TPM that survives restarts, faults and crowds, and knows which TPM it must be."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

from meshhw import files
from meshhw.errors import MeshError, TokenFull, TokenRemoved
from meshhw.keystore.deadline import Limit
from meshhw.keystore.tally import Tally
from meshhw_tpm import errors
from meshhw_tpm.context import Context
from meshhw_tpm.identity import mismatch
from meshhw_tpm.store import Store
from meshhw_tpm.tss import tss

T = TypeVar("T")
CROWD_PATIENCE, LOCK_PATIENCE = 2.0, 30.0
"""Seconds that an operation waits for a slot of a TPM without a resource manager, and for its turn to try."""
_connections: WeakSet[Connection] = WeakSet()
_open: set[Connection] = set()
"""Those that hold slots of a TPM. Without a resource manager they make room for one another, also when their
token was forgotten without being closed."""
_forsaken: list[Context] = []
"""Contexts whose sockets belong to the parent of this process too: finalising one would end the parent's."""


class Connection:
    """One TPM by its address. Usable from any thread; operations take turns."""

    def __init__(self, tcti: str, expected: bytes | None, *, sessions: bool, deadline: float | None) -> None:
        """`expected` is the name of the storage primary that the TPM must have; None takes any."""
        self.tcti = tcti
        self.expected = expected
        self.owner_auth = b""
        self.lock_directory: Path | None = None
        self.commands = Tally()
        self._sessions = sessions
        self._limit = Limit(f"the TPM at {tcti}", deadline)
        self._turn = threading.Lock()
        self._context: Context | None = None
        _connections.add(self)
        self._pending: set[bytes] = set()
        self._crowded = False

    def run(self, work: Callable[[Context], T]) -> T:
        """The result of `work`, which may be called twice if the TPM was restarted before it.

        Every TSS code leaves as a public error, among them TokenMismatch, TokenRemoved, TokenFull and
        OperationTimeout.
        """
        return self._limit.run(lambda: self._in_turn(work))

    def identify(self) -> bytes:
        """The name of the TPM's storage primary, which is the TPM's identity here."""
        return self.run(lambda context: context.primary_name)

    def make_room(self) -> None:
        """Give back the slots that an idle connection keeps; one that works now is left alone."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            self._release()
        finally:
            self._turn.release()

    def close(self) -> None:
        """Flush, disconnect; a TPM that hangs when it answers after all. Closing twice is fine."""
        if self._limit.poisoned:
            self._limit.leave(self._drop_quietly)
            return
        self._limit.run(self._drop)
        self._limit.close()

    def forsake(self) -> None:
        """In a child of fork: leave the parent's connection alone, never closing it here, and start anew."""
        if self._context is not None:
            _forsaken.append(self._context)
        self._context = None
        self._pending = set()  # what is loaded is the parent's to flush
        self._turn = threading.Lock()
        _open.discard(self)

    def _in_turn(self, work: Callable[[Context], T]) -> T:
        with self._turn:
            if self._crowded:
                return self._in_crowd(work)
            try:
                return self._again_if_restarted(work)
            except TokenFull as full:
                if full.code is None or errors.tpm_code(full.code.value) not in errors.MEMORY:
                    raise
                self._crowded = True
                self._release()  # before waiting for a turn: others need the slots for theirs
                return self._in_crowd(work)

    def _in_crowd(self, work: Callable[[Context], T]) -> T:
        """Take slots for this one operation only, one program of this home after the other."""
        if self.lock_directory is None:
            return self._patiently(work)
        with files.locked(files.private_directory(self.lock_directory) / "slots", LOCK_PATIENCE):
            return self._patiently(work)

    def _patiently(self, work: Callable[[Context], T]) -> T:
        limit = time.monotonic() + CROWD_PATIENCE
        while True:
            for other in list(_open):
                if other is not self and other.tcti == self.tcti:
                    other.make_room()
            try:
                return self._again_if_restarted(work)
            except TokenFull:
                if time.monotonic() > limit:
                    raise
            finally:
                self._release()
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311  (spreads rivals; no secret)

    def _again_if_restarted(self, work: Callable[[Context], T]) -> T:
        try:
            return self._once(work)
        except TokenRemoved as removed:
            if removed.code is None or errors.tpm_code(removed.code.value) not in errors.STALE:
                raise
        return self._once(work)

    def _once(self, work: Callable[[Context], T]) -> T:
        try:
            context = self._context or self._connect()
            result = work(context)
        except tss().TSS2_Exception as error:
            raise self._fold(int(error.rc)) from error
        if context.broken:
            self._drop()
        return result

    def _fold(self, rc: int) -> MeshError:
        """The public error; a connection that may be out of step is given up."""
        code = errors.tpm_code(rc)
        if code is None or code in errors.STALE:
            if self._context is not None:
                self._context.broken = True
            self._drop()
        elif self._context is not None and self._context.broken:
            self._drop()
        return errors.fold(rc)

    def _connect(self) -> Context:
        context = Context(self.tcti, self._sessions, self._pending, self.commands)
        context.owner_auth = self.owner_auth
        try:
            name = context.open_primary(self.expected)
        except tss().TSS2_Exception:
            context.close()
            raise
        if self.expected is not None and name != self.expected:
            context.close()
            raise mismatch(Store(self.expected))
        self.expected = name
        self._context = context
        _open.add(self)
        return context

    def _release(self) -> None:
        if self._context is not None:
            self._context.release()

    def _drop_quietly(self) -> None:
        with suppress(tss().TSS2_Exception):
            self._drop()

    def _drop(self) -> None:
        _open.discard(self)
        context, self._context = self._context, None
        if context is not None:
            context.close()


def _after_fork() -> None:
    for connection in list(_connections):
        connection.forsake()


os.register_at_fork(after_in_child=_after_fork)
