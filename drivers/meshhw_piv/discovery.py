"""Looking into every reader at once: which PIV cards are there, and which cannot be asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
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
    late = threading.Event()

    def look(reader: str) -> Found:
        with turn(reader):
            identity, connection = identified(reader)
            if late.is_set() or wanted is None or not identity.fits(wanted):
                connection.drop()
                return identity, None
        return identity, connection

    answers: SimpleQueue[tuple[str, Answer]] = SimpleQueue()
    pending = set(bounded(partial(_occupied, wanted), seconds, "the PC/SC service", RESTART))
    for reader in pending:
        threading.Thread(target=_report, args=(reader, look, answers), name=reader, daemon=True).start()
    result, end = Survey(), time.monotonic() + seconds
    while pending and not (result.fitting and _names_one(wanted)):
        try:
            reader, answer = answers.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            result.silent = sorted(pending)
            break
        pending.discard(reader)
        _sort(result, reader, answer)
    late.set()  # a card that answers from now on is let go by its own thread
    return result


def _report(reader: str, look: Callable[[str], Found], answers: SimpleQueue[tuple[str, Answer]]) -> None:
    try:
        answers.put((reader, look(reader)))
    except Exception as error:  # the thread's boundary: whoever asked raises or sorts it
        answers.put((reader, error))


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
