"""PC/SC: readers, and a connection to one card that never ends another program to get at it.

Cards are shared: a connection stays open between operations, but only a transaction keeps others out, and
it is short. Both waits for another program are bounded. This module needs pyscard; import it late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from smartcard import scard  # type: ignore[import-untyped]  # pyscard ships no types
from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from meshhw.keystore.tally import Tally
from meshhw.keystore.transmission import attribute, transmit
from meshhw.keystore.waiting import wait_for
from meshhw_piv.codes import CARD_GONE, RESET_CARD, SHARING_VIOLATION, PcscFault, name_of
from meshhw_piv.instructions import AUTHENTICATE, GENERATE, GET_DATA

BUSY_SECONDS, RESET_SECONDS = 3.0, 1.0
"""How long another program's hold on the card is waited for, and that a card is reset."""
POLL_SECONDS = 0.05
RESETS = 10
"""How often others may reset the card between this program's attempts to take it up."""

WRONG_LE = 0x6C
SHORTEST_APDU = 5
CHAINED = 0x10
ANSWERED = frozenset({GENERATE, AUTHENTICATE, GET_DATA})
"""Instructions that send data and are answered with data."""

_PRESENT, _MUTE = scard.SCARD_STATE_PRESENT, scard.SCARD_STATE_MUTE
_PROTOCOLS = {
    scard.SCARD_PROTOCOL_T0: scard.SCARD_PCI_T0,
    scard.SCARD_PROTOCOL_T1: scard.SCARD_PCI_T1,
}


def check(result: int) -> None:
    """Raises PcscFault for everything but success."""
    code = result & 0xFFFFFFFF
    if code:
        raise PcscFault(code, name_of(code))


class Impatient(PcscFault):
    """A call into PC/SC was left behind, since another program does not let go of the card."""


class Context:
    """A PC/SC context: what lists readers and watches them."""

    def __init__(self) -> None:
        """Raises PcscFault when no PC/SC service answers."""
        result, self.handle = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        check(result)

    def readers(self) -> list[str]:
        """The names of the readers, with or without a card."""
        result, names = scard.SCardListReaders(self.handle, [])
        if result & 0xFFFFFFFF == scard.SCARD_E_NO_READERS_AVAILABLE:
            return []
        check(result)
        return list(names)

    def occupied(self) -> list[str]:
        """The readers that hold a card which answers."""
        names = self.readers()
        if not names:
            return []
        _, states = self.changes([(name, scard.SCARD_STATE_UNAWARE) for name in names], 0)
        return [name for name, state in states if state & _PRESENT and not state & _MUTE]

    def changes(self, known: Sequence[tuple[str, int]], seconds: float) -> tuple[bool, list[tuple[str, int]]]:
        """Wait until a reader's state differs from the known one; whether it did, and the states now."""
        result, states = scard.SCardGetStatusChange(self.handle, int(seconds * 1000), list(known))
        if result & 0xFFFFFFFF == scard.SCARD_E_TIMEOUT:
            return False, list(known)
        check(result)
        return True, [(name, state & ~scard.SCARD_STATE_CHANGED) for name, state, _ in states]

    def atr(self, reader: str) -> bytes:
        """The answer to reset of the card in a reader."""
        result, states = scard.SCardGetStatusChange(self.handle, 0, [(reader, scard.SCARD_STATE_UNAWARE)])
        check(result)
        return bytes(states[0][2])

    def close(self) -> None:
        """Give the context back; harmless when the service is gone."""
        scard.SCardReleaseContext(self.handle)


class Connection(SmartCardConnection):
    """One shared connection to the card in a reader; yubikit's protocols run over it."""

    def __init__(self, reader: str) -> None:
        """Connect, waiting a bounded time for a program that holds the card alone. Raises PcscFault."""
        self.reader = reader
        self.apdus = Tally()
        self._context = Context()
        self._card = 0
        self._left = False
        """Whether a call was left behind. It ends this connection when it returns; until then nothing more
        may be asked of its context, for which libpcsclite would wait, and let nobody else in meanwhile."""
        try:
            # SCardStatus would wait for another's transaction; the reader's state tells the ATR at once.
            self.atr = self._context.atr(reader)
            self._waited(self._connect, self._release)
        except Impatient:
            raise  # the call that was left behind closes what it opened
        except PcscFault:
            self._context.close()
            raise

    @property
    def transport(self) -> TRANSPORT:
        """USB where the ATR says so: such cards take extended APDUs."""
        usb = len(self.atr) > 1 and self.atr[1] & 0xF0 == 0xF0
        return TRANSPORT.USB if usb else TRANSPORT.NFC

    @property
    def whole(self) -> bool:
        """Whether the protocol carries commands of any length in one piece, which T=0 does not."""
        return bool(self._protocol == scard.SCARD_PROTOCOL_T1)

    def room(self) -> int | None:
        """How long a command the reader takes; None where it does not tell."""
        code, octets = attribute(self._card, scard.SCARD_ATTR_MAXINPUT)
        return int.from_bytes(octets, "little") if not code and len(octets) == 4 else None

    def begin(self) -> None:
        """Keep others out. Raises PcscFault (sharing violation) when they do not let go in time."""
        self._waited(lambda: check(scard.SCardBeginTransaction(self._card)), self._drop)

    def take(self) -> bool:
        """Begin, taking up a card that others have reset; whether they have. Raises PcscFault."""
        for attempt in range(RESETS):
            try:
                self.begin()
            except PcscFault as fault:
                if fault.code != RESET_CARD:
                    raise
                self.reconnect()
            else:
                return attempt > 0
        raise PcscFault(SHARING_VIOLATION, name_of(SHARING_VIOLATION))

    def end(self) -> None:
        """Let others in; the card keeps its state."""
        scard.SCardEndTransaction(self._card, scard.SCARD_LEAVE_CARD)

    def reconnect(self) -> None:
        """Take up a card that another program has reset. Raises PcscFault."""
        result, protocol = scard.SCardReconnect(
            self._card, scard.SCARD_SHARE_SHARED, self._any_protocol, scard.SCARD_LEAVE_CARD
        )
        check(result)
        self._protocol = protocol

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """One APDU; the answer's data and SW1SW2. Raises PcscFault.

        Cards that want to be told the answer's length are told what they ask for (ISO 7816-3, 12.2.1).
        """
        data, status = self._transmit(self._whole(apdu))
        if status >> 8 == WRONG_LE and len(apdu) >= SHORTEST_APDU:
            data, status = self._transmit(_with_le(apdu, status & 0xFF))
        return data, status

    def _whole(self, apdu: bytes) -> bytes:
        """A short command that is answered with data asks for it (Le), which T=0 has no place for."""
        asks = len(apdu) > SHORTEST_APDU and apdu[1] in ANSWERED and not apdu[0] & CHAINED
        short = asks and len(apdu) == SHORTEST_APDU + apdu[4]
        return apdu + b"\0" if short and self._protocol == scard.SCARD_PROTOCOL_T1 else apdu

    def _transmit(self, apdu: bytes) -> tuple[bytes, int]:
        self.apdus.note()
        code, octets = transmit(self._card, _PROTOCOLS[self._protocol], apdu)
        check(code)
        if len(octets) < 2:
            raise PcscFault(CARD_GONE, "no answer")
        return octets[:-2], int.from_bytes(octets[-2:], "big")

    def close(self, *, reset: bool = False) -> None:
        """Disconnect; leave the card as it is, or `reset` it."""
        if not self._left:
            self._release(reset=reset)

    def drop(self) -> None:
        """End the transaction, and disconnect."""
        if not self._left:
            self._drop()

    def _drop(self) -> None:
        self.end()
        self._release()

    def _waited(self, work: Callable[[], None], undo: Callable[[], None]) -> None:
        """Work that waits for other programs; left behind when patience ends, or by Ctrl-C."""
        self._left = True
        try:
            wait_for(work, _until_busy(), undo)
        except PcscFault as fault:
            self._left = isinstance(fault, Impatient)
            raise
        self._left = False

    def _release(self, *, reset: bool = False) -> None:
        if self._card:
            scard.SCardDisconnect(self._card, scard.SCARD_RESET_CARD if reset else scard.SCARD_LEAVE_CARD)
        self._context.close()

    @property
    def _any_protocol(self) -> int:
        return int(scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1)

    def _connect(self) -> None:
        """PC/SC refuses while another has the card alone, and blocks while another has a transaction. While
        it resets a card, as when a program in a transaction ended, it knows no protocol of the card."""
        start = time.monotonic()
        patience = {
            scard.SCARD_E_SHARING_VIOLATION: BUSY_SECONDS,
            scard.SCARD_E_PROTO_MISMATCH: RESET_SECONDS,
        }
        while True:
            result, card, self._protocol = scard.SCardConnect(
                self._context.handle, self.reader, scard.SCARD_SHARE_SHARED, self._any_protocol
            )
            seconds = patience.get(result & 0xFFFFFFFF)
            if seconds is None or time.monotonic() > start + seconds:
                check(result)
                self._card = card
                return
            time.sleep(POLL_SECONDS)


def _with_le(apdu: bytes, length: int) -> bytes:
    """A short command APDU with another expected length; an extended one is left as it is."""
    if len(apdu) == SHORTEST_APDU:
        return apdu[:4] + bytes([length])
    if apdu[4] == 0:
        return apdu
    return apdu[: SHORTEST_APDU + apdu[4]] + bytes([length])


def _until_busy() -> Callable[[], None]:
    """Patience with other programs, which ends in a sharing violation."""
    end = time.monotonic() + BUSY_SECONDS + POLL_SECONDS

    def patience() -> None:
        if time.monotonic() > end:
            raise Impatient(SHARING_VIOLATION, name_of(SHARING_VIOLATION))

    return patience
