"""The way to one card: short transactions, and finding it again after others' use, resets and removal.

Nothing is sent to a card before it has been identified: whatever made this program lose sight of the card,
a PIN goes to the card that was opened and to no other.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from yubikit.core import TRANSPORT, ApplicationNotAvailableError, NotSupportedError
from yubikit.core.smartcard import AID, ApduError, SmartCardProtocol
from yubikit.piv import MANAGEMENT_KEY_TYPE

from meshhw.algorithms import Algorithm, PublicKey
from meshhw.errors import (
    Cancelled,
    NotSupported,
    OperationTimeout,
    TokenError,
    TokenFault,
    TokenMismatch,
    TokenRemoved,
    TouchTimeout,
)
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.deadline import Limit
from meshhw.keystore.holders import holder
from meshhw.keystore.waiting import wait_for
from meshhw_piv import lengths
from meshhw_piv.codes import (
    LOST_SELECTION,
    OK,
    SHARING_VIOLATION,
    WRONG_LENGTH,
    PcscFault,
    from_pcsc,
    from_status,
)
from meshhw_piv.identity import Identity, identify, select_piv
from meshhw_piv.instructions import PIN, VERIFY
from meshhw_piv.pcsc import Connection, Context, Impatient

Result = TypeVar("Result")

LONG = 240
"""Octets that fit no short command any more once they are wrapped."""
MORE, GET_RESPONSE = 0x61, bytes.fromhex("00c0000000")


class CardSession:
    """One opened card. `run` is the door for every operation; it may be used from any thread."""

    def __init__(self, identity: Identity, connection: Connection, options: OpenOptions) -> None:
        """Take over a connection inside a transaction with PIV selected; `end` it soon."""
        self.identity = identity
        self.options = options
        self.protocol = SmartCardProtocol(connection)
        self.apdus = connection.apdus
        """What was sent to the card, also over connections that follow this one."""
        self.pin: str | None = None
        self.verified = False
        self.managed = False
        self.management_kind: MANAGEMENT_KEY_TYPE | None = None
        """The algorithm of the management key that was proven."""
        self.destroyed: set[PublicKey] = set()
        """What was deleted here: on some cards a held handle would not notice that its key was replaced."""
        self.refused: set[Algorithm] = set()
        """Algorithms that the card would make no key of, whatever its version or its list says."""
        self.missing: set[int] = set()
        """Slots that the card turned out not to have."""
        self.unfinished: set[int] = set()
        """Slots whose key was begun and not finished, as far as they were looked at."""
        self.unfit: set[tuple[int, Algorithm]] = set()
        """Slots that the card turned out to keep for keys of other algorithms."""
        self.longest: int | None = None
        """The most octets that fit one command; None while nobody has asked."""
        self.signs_long: bool | None = None
        """Whether Ed25519 signs messages of more than 32 octets; None while nobody has seen it."""
        self.metadata: bool | None = None
        """Whether the card answers GET METADATA; None while it was not asked."""
        self.attested: dict[tuple[int, PublicKey], tuple[str, str] | None] = {}
        """PIN and touch policy of keys that tell them by an attestation alone; None where there is none."""
        self.pin_reference: int | None = None
        """The PIN's reference: the application's own, or the one that all applications of the card share."""
        self._limit = Limit(identity.label, options.deadline)
        self._lock = threading.RLock()
        self._holds = 0
        self._connection: Connection | None = connection
        self._inside = True
        self._fresh = True
        self._process = os.getpid()
        self.protocol.configure(identity.version)

    def run(self, doing: str, work: Callable[[], Result], *, limited: bool = True) -> Result:
        """`work()` within a transaction; codes of card and PC/SC become errors that say what was being done.

        `limited=False` is for calls that wait for a touch, which keep the deadline themselves.
        """
        with self._turn():
            if not limited:
                return self._guarded(doing, work)
            return self._limit.run(lambda: self._guarded(doing, work), self._late)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """One transaction for all that happens inside."""
        with self._turn():
            self._limit.run(self._begin, self._late)
            self._holds += 1
            try:
                yield
            finally:
                self._holds -= 1
                if not self._holds:
                    self._limit.run(self._end, self._late)

    @property
    def held(self) -> bool:
        """Whether a batch is under way."""
        return self._holds > 0

    @property
    def fresh(self) -> bool:
        """Whether PIV was selected within this transaction, so that no other program came between."""
        return self._fresh

    def send(self, ins: int, p1: int, p2: int, data: bytes = b"") -> bytes:
        """One instruction of the PIV application. Raises ApduError, PcscFault."""
        if lengths.SHORT < len(data) <= (self.longest or 0):
            answer, status = self._connected().send_and_receive(lengths.extended(ins, p1, p2, data))
            while status >> 8 == MORE:
                rest, status = self._connected().send_and_receive(GET_RESPONSE)
                answer += rest
            if status == OK:
                return answer
            if status != WRONG_LENGTH:
                raise ApduError(answer, status)
            self.longest = lengths.SHORT
        return self.protocol.send_apdu(0, ins, p1, p2, data)

    def measure(self, length: int) -> None:
        """Before long data, and before the PIN: find out once how long a command the card takes."""
        if length < LONG or self.longest is not None:
            return
        self.longest = lengths.SHORT
        connection = self._connected()
        if self.identity.yubikey and connection.transport is TRANSPORT.USB:
            return  # yubikit sends such a card extended commands itself
        self.settle()
        try:
            self.longest = lengths.longest(connection)
        except PcscFault:
            connection.reconnect()
            self.renew()

    def steady(self, work: Callable[[], Result]) -> Result:
        """`work()`, and once more if it failed since another program has used the card in between."""
        try:
            return work()
        except ApduError as error:
            if self._fresh or error.sw not in LOST_SELECTION:
                raise
        self.renew()
        return work()

    def renew(self) -> None:
        """Select and identify again, forgetting what the card was thought to know."""
        connection = self._connected()
        self._check(identify(self.protocol, self.identity.reader, connection.atr))

    def settle(self) -> None:
        """Make sure that PIV is selected before a secret is sent: another program may have selected else."""
        if not self._fresh:
            select_piv(self.protocol)
            self.protocol.configure(self.identity.version)
            self.proven()

    def proven(self) -> None:
        """What was answered only PIV answers: it is selected until the transaction ends, by whomever."""
        if not self._fresh:
            self.verified = self.managed = False
            self._fresh = True

    def touched(self, work: Callable[[], Result]) -> Result:
        """`work()`, which waits for a touch: announced first, cancellable, under the deadline.

        Raises Cancelled, TouchTimeout; the card is then left to end its waiting by itself.
        """
        interaction, limit = self.options.interaction, self.options.deadline
        end = None if limit is None else time.monotonic() + limit
        connection = self._connected()

        def patience() -> None:
            if interaction.cancelled():
                raise Cancelled(f"{self.identity.label}: cancelled while it waited for a touch")
            if end is not None and time.monotonic() > end:
                raise TouchTimeout(f"{self.identity.label} was not touched within {limit:g} s")

        interaction.touch(self.identity.label)
        try:
            return wait_for(work, patience, connection.drop)
        except (Cancelled, TouchTimeout, KeyboardInterrupt):
            self._lose()
            raise

    def close(self) -> None:
        """Log out and disconnect. The card is reset only if it keeps a PIN that this program verified."""
        with self._turn():
            self.pin = None
            if self._limit.poisoned:
                return  # the call that did not return disconnects if it ever does
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                self._log_out(connection)
            self._limit.close()

    def end(self) -> None:
        """End the transaction that the opening began."""
        self._end()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        limit = self.options.deadline
        if not self._lock.acquire(timeout=-1 if limit is None else limit):
            raise OperationTimeout(f"{self.identity.label} is still busy with another operation")
        try:
            yield
        finally:
            self._lock.release()

    def _guarded(self, doing: str, work: Callable[[], Result]) -> Result:
        self._begin()
        try:
            return work()
        except PcscFault as fault:
            raise self._fold(fault) from fault
        except ApduError as error:
            unlock = f"meshhw token unlock '{self.identity.uri}'"
            raise from_status(error.sw, self.identity.label, doing, unlock) from error
        except NotSupportedError as error:  # yubikit's: longer than the card's buffer
            raise NotSupported(f"{self.identity.label} takes no message that long: {doing}") from error
        except ValueError as error:  # what yubikit's TLV reader raises for a torn answer
            raise TokenFault(f"{self.identity.label} gives an answer that cannot be read: {doing}") from error
        finally:
            if not self._holds:
                self._end()

    def _begin(self) -> None:
        if self._process != os.getpid():  # the parent's connection is not this process's to use
            self._connection, self._process, self._inside = None, os.getpid(), False
        if self._inside:
            return
        try:
            if self._connection is None:
                self._find()
            else:
                self._resume(self._connection)
        except PcscFault as fault:
            raise self._fold(fault) from fault
        self._inside = True

    def _resume(self, connection: Connection) -> None:
        try:
            was_reset = connection.take()
            self._inside = True
            if was_reset:
                self.renew()
        except PcscFault as fault:
            if not isinstance(fault, Impatient):  # else the waiting call disconnects when it ends
                connection.close()  # until then the service lets nobody have the reader's card alone
            if fault.code == SHARING_VIOLATION:
                self._connection = None
                self.verified = self.managed = False
                raise
            self._lose()
            self._find()

    def _find(self) -> None:
        """Look for the card in every reader. Raises TokenRemoved, TokenMismatch, PcscFault."""
        while True:
            try:
                self._look()
                return
            except (TokenRemoved, TokenMismatch):
                if not self.options.interaction.insert(self.identity.uri, self.identity.label):
                    raise

    def _look(self) -> None:
        other: Identity | None = None
        busy: PcscFault | None = None
        for reader in self._readers():
            try:
                found, connection = identified(reader)
            except NotSupported:
                continue
            except PcscFault as fault:
                if fault.code == SHARING_VIOLATION and reader == self.identity.reader:
                    busy = fault
                continue
            if found.is_same(self.identity):
                self._adopt(found, connection)
                return
            connection.drop()
            other = found if reader == self.identity.reader else other
        if other is not None:
            raise TokenMismatch(f"{other.label} sits where {self.identity.label} was")
        if busy is not None:  # it may well be there, with another program
            raise busy
        raise TokenRemoved(f"{self.identity.label} is not in any reader")

    def _readers(self) -> list[str]:
        context = Context()
        try:
            return sorted(context.occupied(), key=lambda name: name != self.identity.reader)
        finally:
            context.close()

    def _adopt(self, identity: Identity, connection: Connection) -> None:
        self._connection, self._inside = connection, True
        connection.apdus = self.apdus
        if identity.reader != self.identity.reader:
            self.longest = None  # another reader may take less
        self.protocol = SmartCardProtocol(connection)
        self.protocol.configure(identity.version)
        self._check(identity)

    def _check(self, identity: Identity) -> None:
        self.verified = self.managed = False
        if not identity.is_same(self.identity):
            self.pin = None
            raise TokenMismatch(f"{identity.label} sits where {self.identity.label} was")
        self.identity = identity
        self.attested.clear()
        self._fresh = True

    def _end(self) -> None:
        self._fresh = False
        connection = self._connection
        if self._inside and connection is not None:
            connection.end()
        self._inside = False

    def _late(self, _: object) -> None:
        """A call has ended that nobody waited for: nothing is sent to the card any more, so let it go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    def _lose(self) -> None:
        """The card is gone: so is its PIN, here too."""
        self._connection, self._inside = None, False
        self.verified = self.managed = False
        self.pin = None

    def _fold(self, fault: PcscFault) -> TokenError:
        busy = fault.code == SHARING_VIOLATION
        error = from_pcsc(fault, self.identity.label, holder() if busy else None)
        if isinstance(error, TokenRemoved) and self._connection is not None:
            self._connection.close()
            self._lose()
        return error

    def _connected(self) -> Connection:
        if self._connection is None:
            raise TokenRemoved(f"{self.identity.label} is not in any reader")
        return self._connection

    def _log_out(self, connection: Connection) -> None:
        """Leave no PIN behind in the card: a YubiKey forgets it when another application is selected."""
        if not (self.verified or self.managed):
            connection.close()
            return
        try:
            connection.take()
            if self.identity.yubikey:
                self.protocol.select(AID.MANAGEMENT)
            else:  # SP 800-73-4 part 2, 3.2.1: P1 = FF takes the PIN's verification back
                self.send(VERIFY, 0xFF, self.pin_reference or PIN)
            forgotten = self.identity.yubikey or not self.managed
            connection.end()
        except (PcscFault, ApduError, ApplicationNotAvailableError):
            forgotten = False
        connection.close(reset=not forgotten)


def identified(reader: str) -> tuple[Identity, Connection]:
    """Connect to the card of a reader and identify it, within a transaction that stays open.

    Raises NotSupported for cards without PIV, PcscFault.
    """
    connection = Connection(reader)
    try:
        connection.begin()
    except Impatient:
        raise  # as above
    except PcscFault:
        connection.close()
        raise
    try:
        return identify(SmartCardProtocol(connection), reader, connection.atr), connection
    except BaseException:
        connection.drop()
        raise
