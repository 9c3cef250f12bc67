"""Looking into every reader at once: which PIV cards are there, and which cannot be asked."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from meshhw.errors import NotSupported
from meshhw.keystore.api import TokenInfo
from meshhw.keystore.deadline import bounded
from meshhw.keystore.holders import RESTART
from meshhw.keystore.turns import turn
from meshhw.keystore.uri import TokenURI
from meshhw_piv.codes import NO_CONNECTION_LEFT, SHARING_VIOLATION, PcscFault, from_pcsc
from meshhw_piv.identity import Identity
from meshhw_piv.pcsc import Connection, Context
from meshhw_piv.session import identified

Found = tuple[Identity, Connection | None]
Answer = Found | Exception


@dataclass(slots=True)
class Survey:
    """What one look found. Connections are those of cards that fit; each is inside a transaction."""

    cards: list[Identity] = field(default_factory=list)
    fitting: list[tuple[Identity, Connection]] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    crowded: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Let every kept card go."""
        while self.fitting:
            self.fitting.pop()[1].drop()


def survey(seconds: float, wanted: TokenURI | None = None) -> Survey:
    """Identify the cards of all readers; those that fit `wanted` stay connected.

    Raises DriverUnavailable when there is no PC/SC service, OperationTimeout when it does not answer.
    """
    desk = _Desk()
    pending = set(bounded(partial(_occupied, wanted), seconds, "the PC/SC service", RESTART))
    for reader in pending:
        threading.Thread(target=_report, args=(reader, wanted, desk), name=reader, daemon=True).start()
    result, end = Survey(), time.monotonic() + seconds
    try:
        while pending and not (result.fitting and _names_one(wanted)):
            reader, answer = desk.answers.get(timeout=max(0.0, end - time.monotonic()))
            pending.discard(reader)
            _sort(result, reader, answer)
    except Empty:
        result.silent = sorted(pending)
    except BaseException:
        result.close()
        raise
    finally:
        desk.close()
    return result


class _Desk:
    """Where each thread hands in what it found. Once it is closed, whoever has a connection lets it go."""

    def __init__(self) -> None:
        self.answers: SimpleQueue[tuple[str, Answer]] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False

    def hand_in(self, reader: str, answer: Answer) -> None:
        """An answer, for whoever asked; let go where he has gone."""
        with self._lock:
            taken = not self._closed
            if taken:
                self.answers.put((reader, answer))
        if not taken:
            _let_go(answer)

    def close(self) -> None:
        """Take nothing any more, and let go of what was handed in and not fetched."""
        with self._lock:
            self._closed = True
        while not self.answers.empty():
            _let_go(self.answers.get()[1])


def _let_go(answer: Answer) -> None:
    if isinstance(answer, tuple) and answer[1] is not None:
        answer[1].drop()


def _report(reader: str, wanted: TokenURI | None, desk: _Desk) -> None:
    try:
        answer: Answer = _look(reader, wanted)
    except Exception as error:  # the thread's boundary: whoever asked raises or sorts it
        answer = error
    desk.hand_in(reader, answer)


def _look(reader: str, wanted: TokenURI | None) -> Found:
    with turn(reader):
        identity, connection = identified(reader)
        if wanted is None or not identity.fits(wanted):
            connection.drop()
            return identity, None
    return identity, connection


def _names_one(wanted: TokenURI | None) -> bool:
    """Whether no second card can fit, so that nobody waits for a neighbour that does not answer."""
    return wanted is not None and any(wanted.get(name) for name in ("serial", "chuid"))


def describe(identity: Identity) -> TokenInfo:
    """What can be said of a card without its PIN."""
    return TokenInfo(
        identity.uri,
        driver="yubikey",
        kind="smartcard",
        vendor="Yubico" if identity.yubikey else "",
        model=f"YubiKey {identity.version[0]}" if identity.yubikey else "PIV card",
        serial=identity.serial,
        firmware=identity.firmware,
        label=identity.label,
        reader=identity.reader,
    )


def _occupied(wanted: TokenURI | None) -> list[str]:
    named = wanted.get("reader") if wanted else None
    try:
        context = Context()
        try:
            readers = context.occupied()
        finally:
            context.close()
    except PcscFault as fault:
        raise from_pcsc(fault, "PC/SC") from fault
    return [reader for reader in readers if named in (None, reader)]


def _sort(result: Survey, reader: str, answer: Answer) -> None:
    if isinstance(answer, tuple):
        identity, connection = answer
        result.cards.append(identity)
        if connection is not None:
            result.fitting.append((identity, connection))
    elif isinstance(answer, PcscFault) and answer.code == SHARING_VIOLATION:
        result.busy.append(reader)
    elif isinstance(answer, PcscFault) and answer.code in NO_CONNECTION_LEFT:
        result.crowded.append(reader)
    elif not isinstance(answer, NotSupported | PcscFault):
        raise answer
