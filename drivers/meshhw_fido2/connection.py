"""The connection to one authenticator: opened late, bounded in time, taken up again once when it broke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.ctap2.base import Ctap2

from meshhw.errors import TokenFault, TokenRemoved, WireCode
from meshhw.keystore.deadline import Limit
from meshhw_fido2 import transport
from meshhw_fido2.errors import BROKEN_ANSWERS, fold, lost
from meshhw_fido2.transport import Place

T = TypeVar("T")
TOUCH_SECONDS = 60.0
"""What a command that waits for a touch may take beyond the limit; authenticators wait about 30 s."""
_CMD = Ctap2.CMD
_TOUCHED = frozenset({_CMD.MAKE_CREDENTIAL, _CMD.GET_ASSERTION, _CMD.RESET, _CMD.SELECTION})


class Bounded(CtapDevice):
    """A device whose calls end within a limit."""

    def __init__(self, device: CtapDevice, limit: Limit) -> None:
        self.device = device
        self._limit = limit
        self._seconds = limit.seconds

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
        if self._seconds is not None:
            waits = bool(data) and data[0] in _TOUCHED
            self._limit.seconds = self._seconds + (TOUCH_SECONDS if waits else 0.0)
        return self._limit.run(lambda: self.device.call(cmd, data, event, on_keepalive))

    def close(self) -> None:
        if not self._limit.poisoned:  # a device that hangs would hang its closing too
            transport.close(self.device)

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """None: `transport.places` lists them."""
        return iter(())


class Connection:
    """One authenticator. `find` looks for it again after it was lost; `on_loss` is told of each loss."""

    def __init__(
        self, place: Place, limit: Limit, find: Callable[[], Place | None], on_loss: Callable[[], None]
    ) -> None:
        self._place: Place | None = place
        self._limit = limit
        self._find = find
        self._on_loss = on_loss
        self._ctap: Ctap2 | None = None
        self.lock = threading.RLock()

    def run(self, work: Callable[[Ctap2], T]) -> T:
        """`work` on the authenticator; once more when it was lost meanwhile and is back.

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

    def close(self) -> None:
        """Give the device back; the next `run` opens it again."""
        with self.lock:
            if self._ctap is not None:
                self._ctap.device.close()
                self._ctap = None

    def _once(self, work: Callable[[Ctap2], T]) -> T:
        self._place = self._place or self._find()
        if self._place is None:
            raise TokenRemoved("the authenticator was removed")
        try:
            if self._ctap is None:
                self._ctap = Ctap2(Bounded(self._place.open(), self._limit))
            return work(self._ctap)
        except CtapError as error:
            raise fold(error) from error
        except lost() as error:
            self.close()
            self._on_loss()
            raise _Lost from error
        except BROKEN_ANSWERS as error:
            raise TokenFault(
                "the authenticator answered what CTAP does not allow", code=WireCode("CTAP", 0, "malformed")
            ) from error


class _Lost(Exception):
    """The transport says that nobody is there."""
