"""PINs that connect devices: made by an administrator, told to a person, good once (digest sections 2 and 7).

The account keeps a MessagePin in its Local spool: the salted PIN, never the PIN itself. A request that proves
to know the PIN is accepted without anybody comparing anything, and closes the message; the completion names
the request, so that an administrator that was interrupted finishes that same request and no other.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.spool import Contents, MessageState, append_message, complete, contents, create_spool
from meshhw.errors import (
    Expired,
    FormatError,
    KeyNotFound,
    NotSupported,
    Replayed,
    UsageError,
    WitnessMismatch,
)
from meshhw.managers.account.authority import Authority
from meshhw.managers.account.granted import store_ring
from meshhw.managers.account.request import ACTION, Request, payload_digest
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.stores import spool_path
from meshhw.managers.host import now
from meshhw.schema.activation import ActivationCommon
from meshhw.schema.codec import decode, encode
from meshhw.schema.message import MessagePin, RequestConnection
from meshhw.udf import UDF
from meshhw.udf.message import SaltedPin, new_pin, response_id

STORE = "MMM_Local"
LIFETIME = timedelta(hours=24)
LONGEST = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class KnownPin:
    """A PIN that was issued, and what has become of it."""

    message: MessagePin
    state: MessageState
    used_by: str
    """The ResponseId of the request that closed it; empty for one that is open or was taken back."""

    @property
    def pin_id(self) -> str:
        """Its name in the account."""
        return self.message.message_id or ""


class PinSpool:
    """The account's Local spool, open for writing and locked until the end."""

    def __init__(self, spool: SequenceWriter, ring: Sequence[LocalKey], account: str) -> None:
        self._spool = spool
        self._ring = KeyRing(ring)
        self._account = account

    def issue(self, roles: tuple[str, ...], lifetime: timedelta = LIFETIME) -> tuple[UDF, MessagePin]:
        """A new PIN for one device with these roles. Raises UsageError for a lifetime that is none."""
        rights_of(roles)
        if not timedelta() < lifetime <= LONGEST:
            raise UsageError("a PIN is good for a while between now and 31 days", hint="--expires 24h")
        pin = new_pin()
        salted = SaltedPin.of(pin, ACTION)
        message = MessagePin(
            message_id=salted.pin_id(self._account),
            account=self._account,
            expires=now() + lifetime,
            automatic=True,
            salted_pin=salted.name,
            action=ACTION,
            roles=roles,
        )
        append_message(self._spool, message.message_id or "", "MessagePin", encode(message))
        self._spool.flush(sync=True)
        return pin, message

    def all(self) -> list[KnownPin]:
        """Every PIN that was issued, the newest first."""
        return _pins(self._contents())

    def valid_for(self, request: Request) -> MessagePin:
        """The PIN that a request proves to know, if it is still good, or was closed by this very request.

        Raises WitnessMismatch for one that was never issued or is not proved, Replayed for one that was used
        or taken back, Expired.
        """
        message, found = request.message, self._contents()
        known = next((pin for pin in _pins(found) if pin.pin_id == message.pin_id), None)
        if known is None and message.pin_id in found.gone:
            raise _used_up()
        if known is None:
            raise WitnessMismatch(
                "the request's PIN is none of this account", hint="make one with `meshhw account pin`"
            )
        _require_witness(known.message, message, request)
        if known.state is MessageState.CLOSED and known.used_by != response_id(request.message_id):
            raise _used_up()
        if is_over(known.message, now()):
            raise Expired("the PIN has expired", hint="make a new one: `meshhw account pin`")
        return known.message

    def close(self, pin_id: str, request_id: str = "") -> None:
        """Close a PIN, for good. `request_id` is the message that used it. Closing twice changes nothing.

        Raises KeyNotFound.
        """
        found = self._contents()
        known = next((pin for pin in _pins(found) if pin.pin_id == pin_id), None)
        if known is None and pin_id in found.gone:
            return
        if known is None:
            raise KeyNotFound("no such PIN was issued", hint="`meshhw account pins` lists them")
        if known.state is not MessageState.CLOSED:
            cause = response_id(request_id) if request_id else ""
            complete(self._spool, {pin_id: MessageState.CLOSED}, cause)
            self._spool.flush(sync=True)

    def _contents(self) -> Contents:
        return contents(SequenceReader(self._spool, self._ring))


@contextmanager
def pins_of(authority: Authority, held: ActivationCommon) -> Iterator[PinSpool]:
    """The account's PINs, with keys that were opened already; nobody else writes meanwhile.

    Raises NotSupported without the key of the Local spool.
    """
    ring = store_ring(held, STORE)
    if not ring:
        raise NotSupported(f"this device was not granted {STORE}, where the account's PINs are")
    with pin_spool(authority.directory.path, ring, authority.address) as spool:
        yield spool


@contextmanager
def pin_spool(directory: Path, ring: Sequence[LocalKey], account: str) -> Iterator[PinSpool]:
    """The Local spool below an account's directory, made when there is none; the first key is written to."""
    path = spool_path(directory, STORE)
    readers = [RecipientKey(ring[0].public)]
    if not path.exists():
        create_spool(path, readers)
    with SequenceWriter(path, readers) as spool:
        yield PinSpool(spool, ring, account)


def lifetime_of(text: str) -> timedelta:
    """`30m`, `24h` or `7d`. Raises UsageError."""
    units = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
    if not text[:-1].isdecimal() or len(text) > 6 or text[-1] not in units:
        raise UsageError(f"{text!r} is no time", hint="for instance 30m, 24h or 7d")
    return int(text[:-1]) * units[text[-1]]


def standing_of(known: KnownPin) -> str:
    """`open`, `used`, `expired` or `closed`."""
    if known.state is MessageState.CLOSED:
        return "used" if known.used_by else "closed"
    return "expired" if is_over(known.message, now()) else "open"


def is_over(message: MessagePin, at: datetime) -> bool:
    """Whether a PIN's time is over."""
    return message.expires is None or message.expires <= at


def _used_up() -> Replayed:
    return Replayed(
        "the PIN was used already, or taken back", hint="a PIN is good once: `meshhw account pin`"
    )


def _pins(found: Contents) -> list[KnownPin]:
    """Those that are there whole, the newest first."""
    return [
        KnownPin(decode(one.payload, MessagePin), one.state, one.answered_by)
        for one in found.messages
        if one.message_type == "MessagePin"
    ]


def _require_witness(pin: MessagePin, message: RequestConnection, request: Request) -> None:
    if pin.salted_pin is None or pin.account is None:
        raise FormatError("the PIN's message lacks what a witness is checked by")
    salted = SaltedPin(UDF.parse(pin.salted_pin))
    expected = salted.witness(pin.account, message.client_nonce or b"", payload_digest(request.profile))
    if not hmac.compare_digest(expected, message.pin_witness or b""):
        raise WitnessMismatch("the request does not prove that its device knows the PIN")
