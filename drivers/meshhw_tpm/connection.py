"""The way to a TPM that survives restarts, faults and crowds, and knows which TPM it must be."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from meshhw import files
from meshhw.errors import MeshError, TokenFull, TokenMismatch, TokenRemoved
from meshhw.keystore.deadline import Limit
from meshhw_tpm import errors
from meshhw_tpm.context import Context
from meshhw_tpm.tss import tss

T = TypeVar("T")
CROWD_PATIENCE = 5.0
"""Seconds that an operation waits for a slot of a TPM that several programs share without a manager."""


class Connection:
    """One TPM by its address. Usable from any thread; operations take turns."""

    def __init__(self, tcti: str, expected: bytes | None, *, sessions: bool, deadline: float | None) -> None:
        """`expected` is the name of the storage primary that the TPM must have; None takes any."""
        self.tcti = tcti
        self.expected = expected
        self.owner_auth = b""
        self.lost: Callable[[bytes], str] = lambda _: ""
        self.lock_directory: Path | None = None
        self._sessions = sessions
        self._limit = Limit(f"the TPM at {tcti}", deadline)
        self._turn = threading.Lock()
        self._context: Context | None = None
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

    def close(self) -> None:
        """Flush, disconnect. A TPM that hangs is left as it is. Closing twice is fine."""
        if self._limit.poisoned:
            return
        self._limit.run(self._drop)
        self._limit.close()

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
                return self._in_crowd(work)

    def _in_crowd(self, work: Callable[[Context], T]) -> T:
        """Take slots for this one operation only, one program of this home after the other."""
        if self.lock_directory is None:
            return self._patiently(work)
        with files.locked(files.private_directory(self.lock_directory) / "slots", CROWD_PATIENCE * 2):
            return self._patiently(work)

    def _patiently(self, work: Callable[[Context], T]) -> T:
        limit = time.monotonic() + CROWD_PATIENCE
        while True:
            try:
                return self._again_if_restarted(work)
            except TokenFull:
                if time.monotonic() > limit:
                    raise
            finally:
                if self._context is not None:
                    self._context.release()
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
        context = Context(self.tcti, self._sessions, self._pending)
        context.owner_auth = self.owner_auth
        try:
            name = context.open_primary(self.expected)
        except tss().TSS2_Exception:
            context.close()
            raise
        if self.expected is not None and name != self.expected:
            context.close()
            raise TokenMismatch(
                "the TPM was cleared or replaced" + self.lost(self.expected),
                hint="restore from escrow or enrol anew: what the former state protected cannot be opened",
            )
        self.expected = name
        self._context = context
        return context

    def _drop(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.close()
