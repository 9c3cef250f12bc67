"""The connection to one authenticator: opened late, bounded in time, taken up again once when it broke."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.ctap2.base import Ctap2

from meshhw.errors import TokenFault, TokenRemoved, WireCode
from meshhw.keystore.deadline import Limit
from meshhw.keystore.tally import Tally
from meshhw_fido2 import transport
from meshhw_fido2.errors import BROKEN_ANSWERS, LOST, fold
from meshhw_fido2.transport import Place

T = TypeVar("T")
CONTESTS = 5
"""How often another program may take the authenticator's one PIN token away before this one gives up."""
GRACE = 1.0
"""Seconds beyond the limit in which a cancelled authenticator may still answer before it is given up."""


_CANCELLED, _TIMED_OUT = bytes([CtapError.ERR.KEEPALIVE_CANCEL]), bytes([CtapError.ERR.ACTION_TIMEOUT])


class Bounded(CtapDevice):
    """A device whose calls end within a limit: one that waits for a touch is told to stop, then given up."""

    def __init__(self, device: CtapDevice, limit: Limit, seconds: float | None, commands: Tally) -> None:
        self.device = device
        self._commands = commands
        self._limit = limit
        self._seconds = seconds

    @property
    def capabilities(self) -> int:
        return self.device.capabilities

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: threading.Event | None = None,
        on_keepalive: Callable[[STATUS], None] | None = None,
    ) -> bytes:
        self._commands.note()
        if self._seconds is None:
            return self.device.call(cmd, data, event, on_keepalive)
        stop = event or threading.Event()
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            stop.set()

        timer = threading.Timer(self._seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            answer = self._limit.run(lambda: self.device.call(cmd, data, stop, on_keepalive))
        finally:
            timer.cancel()
        return _TIMED_OUT if expired.is_set() and answer == _CANCELLED else answer

    def begin(self) -> None:
        """Keep other programs out until `end`."""
        self._limit.run(lambda: transport.begin(self.device))

    def end(self) -> None:
        """Let other programs in."""
        if not self._limit.poisoned:
            transport.end(self.device)

    def close(self) -> None:
        if self._limit.poisoned:  # closing now would hang too; but its late answer must not leave it open
            self._limit.leave(lambda: transport.close(self.device))
        else:
            transport.close(self.device)

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """None: `transport.places` lists them."""
        return iter(())


class Connection:
    """One authenticator. `find` looks for it again after it was lost; each of `on_loss` is told of a loss."""

    def __init__(self, place: Place, limit: Limit, find: Callable[[], Place | None]) -> None:
        self._place: Place | None = place
        self._seconds = limit.seconds
        limit.seconds = None if limit.seconds is None else limit.seconds + GRACE
        self._limit = limit
        self._find = find
        self._device: Bounded | None = None
        self._ctap: Ctap2 | None = None
        self._process = os.getpid()
        self.on_loss: list[Callable[[], None]] = []
        self.commands = Tally()
        self.lock = threading.RLock()

    def run(self, work: Callable[[Ctap2], T]) -> T:
        """`work` on the authenticator, in one turn; once more when it was lost meanwhile and is back.

        Raises the public errors.
        """
        with self.lock:
            try:
                return self._once(work)
            except _Lost:
                self._place = None
            try:
                return self._once(work)
            except _Lost as error:
                raise TokenRemoved("the authenticator was removed") from error.__cause__

    def contested(self, work: Callable[[Ctap2], T]) -> T:
        """`run` for what is proven by a PIN token, of which an authenticator has one for all programs.

        Another program's proof makes this one's void; it costs no try, so it is begun again.
        """

        def persistent(ctap: Ctap2) -> T:
            for _ in range(CONTESTS):
                try:
                    return work(ctap)
                except CtapError as error:
                    if error.code != CtapError.ERR.PIN_AUTH_INVALID:
                        raise
            return work(ctap)

        return self.run(persistent)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within `run`: others may have their turn, while a person is asked."""
        if self._device is None:
            yield
            return
        self._device.end()
        yield
        self._device.begin()

    def close(self) -> None:
        """Give the device back; the next `run` opens it again."""
        with self.lock:
            if self._device is not None:
                self._device.close()
            self._device = self._ctap = None

    def _once(self, work: Callable[[Ctap2], T]) -> T:
        try:
            try:
                return work(self._begin())
            finally:
                if self._device is not None:
                    self._device.end()
        except CtapError as error:
            raise fold(error) from error
        except LOST as error:
            self.close()
            for told in self.on_loss:
                told()
            raise _Lost from error
        except BROKEN_ANSWERS as error:
            raise TokenFault(
                "the authenticator answered what CTAP does not allow", code=WireCode("CTAP", 0, "malformed")
            ) from error

    def _begin(self) -> Ctap2:
        if self._process != os.getpid():  # the parent's connection is not this process's to use
            self._device, self._ctap, self._process = None, None, os.getpid()
        self._place = self._place or self._find()
        if self._place is None:
            raise TokenRemoved("the authenticator was removed")
        if self._device is None:
            device = self._limit.run(self._place.open, _close_late)
            self._device = Bounded(device, self._limit, self._seconds, self.commands)
        self._device.begin()
        if self._ctap is None:
            self._ctap = Ctap2(self._device)
        return self._ctap


def _close_late(device: CtapDevice | None) -> None:
    """Give back a device that opens after it was given up."""
    if device is not None:
        transport.close(device)


class _Lost(Exception):
    """The transport says that nobody is there."""
