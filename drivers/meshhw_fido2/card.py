"""A card in a PC/SC reader, for python-fido2: shared, left as it is, and held only while it works.

Others may use the card between operations and select another application; each transaction therefore begins
with the selection of the FIDO application. This module needs pyscard; import it late.
"""

from __future__ import annotations

import time

from fido2.pcsc import CtapPcscDevice
from smartcard import scard  # type: ignore[import-untyped]  # pyscard ships no types

from meshhw.errors import TokenBusy, WireCode
from meshhw.keystore.holders import holder
from meshhw.keystore.transmission import transmit
from meshhw.keystore.turns import Queue
from meshhw.keystore.waiting import POLL_SECONDS, wait_for

BUSY_SECONDS, RESET_SECONDS = 3.0, 1.0
"""How long another program's hold on the card is waited for, and that a card is reset."""
_NO_CONNECTION_LEFT = (scard.SCARD_F_INTERNAL_ERROR, scard.SCARD_E_NO_MEMORY)
_ANY = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
_HEADERS = {scard.SCARD_PROTOCOL_T0: scard.SCARD_PCI_T0, scard.SCARD_PROTOCOL_T1: scard.SCARD_PCI_T1}


class PcscError(OSError):
    """The reader, the card or the PC/SC service is gone."""


class _Impatient(TokenBusy):
    """A call was left behind, since another program does not let go of the card."""


class _Handle:
    """The calls of PC/SC on one connection."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._queue = Queue(reader)
        self._context = self._card = self._protocol = 0

    def open(self, end: float) -> None:
        """Connect, while somebody keeps the card to himself until `end`, and begin a transaction."""
        code, self._context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        _check(code)
        self._queue.join()
        try:
            self._connect(end)
            _check(scard.SCardBeginTransaction(self._card))
        except BaseException:
            self.close()
            raise

    def _connect(self, end: float) -> None:
        start = time.monotonic()
        while True:
            code, self._card, self._protocol = scard.SCardConnect(
                self._context, self._reader, scard.SCARD_SHARE_SHARED, _ANY
            )
            if code & 0xFFFFFFFF == scard.SCARD_E_PROTO_MISMATCH:  # said of a card that is being reset
                end = min(end, start + RESET_SECONDS)
            elif code & 0xFFFFFFFF != scard.SCARD_E_SHARING_VIOLATION:
                return _check(code)
            if time.monotonic() > end:
                return _check(code)
            time.sleep(POLL_SECONDS)

    def begin(self) -> None:
        """Waits, for ever if need be, until no other program is in a transaction."""
        self._queue.join()
        try:
            _check(scard.SCardBeginTransaction(self._card))
        except BaseException:
            self._queue.leave()
            raise

    def end(self) -> None:
        scard.SCardEndTransaction(self._card, scard.SCARD_LEAVE_CARD)
        self._queue.leave()

    def transmit(self, command: list[int]) -> list[int]:
        code, answer = transmit(self._card, _HEADERS[self._protocol], bytes(command))
        _check(code)
        if len(answer) < 2:
            raise PcscError("the card gave no status word")
        return list(answer)

    def close(self) -> None:
        if self._card:
            scard.SCardDisconnect(self._card, scard.SCARD_LEAVE_CARD)  # ends a transaction too
        if self._context:
            scard.SCardReleaseContext(self._context)
        self._context = self._card = 0
        self._queue.leave()


class Card:
    """One connection, with what `CtapPcscDevice` asks of pyscard's connections."""

    def __init__(self, reader: str) -> None:
        self.reader = reader
        self._handle: _Handle | None = None
        self._held = False

    def connect(self) -> None:
        """Connect and begin a transaction. Raises PcscError, TokenBusy.

        pcscd lets nobody connect while another program is in a transaction, so this too may have to wait.
        """
        end = time.monotonic() + BUSY_SECONDS
        handle = _Handle(self.reader)
        try:
            wait_for(lambda: handle.open(end), lambda: self._patience(end), handle.close)
        except _Impatient as error:
            raise TokenBusy(error.message, holder=error.holder) from error
        self._handle, self._held = handle, True

    def begin(self) -> bool:
        """Keep others out; false when they were out already. Raises PcscError, TokenBusy."""
        if self._held:
            return False
        end = time.monotonic() + BUSY_SECONDS
        # A call that is left behind ends this connection; until then nothing more may be asked of its
        # context, for which libpcsclite would wait, and let nobody else in meanwhile.
        handle, self._handle = self._open_handle, None
        try:
            wait_for(handle.begin, lambda: self._patience(end), handle.close)
        except _Impatient as error:
            raise TokenBusy(error.message, holder=error.holder) from error
        except (PcscError, TokenBusy):
            self._handle = handle
            raise
        self._handle, self._held = handle, True
        return True

    def end(self) -> None:
        """Let others in; the card keeps its state."""
        if self._held:
            self._held = False
            self._open_handle.end()

    def transmit(self, command: list[int], protocol: int | None = None) -> tuple[list[int], int, int]:
        """One APDU: data, SW1, SW2. Raises PcscError."""
        octets = self._open_handle.transmit(command)
        return octets[:-2], octets[-2], octets[-1]

    def disconnect(self) -> None:
        """Let the card go, as it is; once more, or when the service is gone, is fine."""
        self.end()
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    @property
    def _open_handle(self) -> _Handle:
        if self._handle is None:
            raise PcscError("the card is not connected")
        return self._handle

    def _patience(self, end: float) -> None:
        if time.monotonic() > end:
            who = holder()
            raise _Impatient(f"{who or 'another program'} holds the card in {self.reader}", holder=who)


class CardDevice(CtapPcscDevice):
    """An authenticator on a card. It is in a transaction when it was made, until `end`."""

    def __init__(self, reader: str) -> None:
        """Raises PcscError, TokenBusy, and what python-fido2 raises when the card holds no authenticator."""
        self._held_card = Card(reader)
        try:
            super().__init__(self._held_card, reader)
        except BaseException:
            self._held_card.disconnect()
            raise

    def begin(self) -> None:
        """Keep others out, and select the FIDO application again."""
        if self._held_card.begin():
            self._select()

    def end(self) -> None:
        """Let others in."""
        self._held_card.end()

    def close(self, release: bool = False) -> None:
        """Disconnect."""
        self._held_card.disconnect()


def readers() -> list[str]:
    """The names of the readers; none where no PC/SC service runs."""
    code, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    if code:
        return []
    try:
        code, names = scard.SCardListReaders(context, [])
    finally:
        scard.SCardReleaseContext(context)
    return [] if code else list(names)


def _check(code: int) -> None:
    if code:
        number = code & 0xFFFFFFFF
        if number == scard.SCARD_E_SHARING_VIOLATION:
            who = holder()
            raise TokenBusy(
                f"{who or 'another program'} keeps the card to itself",
                holder=who,
                code=WireCode("PC/SC", number, "SCARD_E_SHARING_VIOLATION"),
            )
        if number in _NO_CONNECTION_LEFT:
            who = holder()
            raise TokenBusy(
                f"the PC/SC service has no connection left; {who or 'other programs'} took them",
                holder=who,
                code=WireCode("PC/SC", number),
            )
        raise PcscError(f"PC/SC {number:#x}")
