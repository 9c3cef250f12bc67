"""Completing a connection on the device: the administrator's answer is checked whole before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyFinder
from meshhw.dare.read import open_envelope
from meshhw.errors import Cancelled, IntegrityError, Rejected, Replayed, SignatureInvalid
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.connect import ACCEPT
from meshhw.managers.account.directory import AccountDirectory
from meshhw.managers.account.following import SUCCESSOR, follow, successor_in
from meshhw.managers.account.listing import require_takeable, take_brought
from meshhw.managers.account.membership import Membership, install
from meshhw.managers.account.rekeying import statements_of, take_statements
from meshhw.managers.account.request import Pending, pending_requests
from meshhw.managers.account.standing import standing
from meshhw.managers.account.updates import UPDATE, take_update
from meshhw.managers.host import Host
from meshhw.managers.openers import Keys
from meshhw.schema.codec import decode
from meshhw.schema.message import RespondConnection
from meshhw.udf import same_name
from meshhw.udf.message import response_id

OPENINGS = 4
"""At most with the device's encryption key: the answer, its two layers, and what was held before."""
KEEPING = 1
"""Signatures under what the device keeps for itself."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What an administrator's answer or update has brought."""

    account: str
    address: str
    device: str
    roles: tuple[str, ...]
    update: bool = False


def receive(host: Host, octets: bytes, options: OpenOptions, *, following: bool = False) -> Completed:
    """Install what an administrator has made for this machine: the answer to its request, or an update of
    what it holds; with `following` also its place in the account that succeeds its own, which a person
    confirms. Raises as `complete`, `take_update` and `follow`, Cancelled for a successor without a person."""
    with Keys(host.home, options) as keys:
        answer, signers = _opened(octets, keys)
    if answer.result == UPDATE:
        udf, connection = take_update(host, answer, signers, options)
        address = standing(host, udf).profile.account_address or ""
        return Completed(udf, address, connection.subject or "", connection.roles, update=True)
    if answer.result == SUCCESSOR:
        if not following:
            raise _waiting(host, answer)
        successor = follow(host, answer, signers, options)
        device, roles = successor.device.udf, successor.connection.roles
        return Completed(successor.udf, successor.address, device, roles)
    found = _complete(host, answer, signers, options)
    return Completed(found.udf, found.address, found.device.udf, found.connection.roles)


def complete(host: Host, octets: bytes, options: OpenOptions) -> Membership:
    """Install the answer to a request of this machine.

    Raises KeyNotFound when it is for no device here, Rejected when the administrator refused,
    SignatureInvalid when no administrator signed it, Replayed when it answers nothing that was asked, and
    IntegrityError when it is of another account or gives other keys.
    """
    with Keys(host.home, options) as keys:
        answer, signers = _opened(octets, keys)
    return _complete(host, answer, signers, options)


def _complete(
    host: Host, answer: RespondConnection, signers: Sequence[PublicKey], options: OpenOptions
) -> Membership:
    path, pending = _asked(host, answer)
    if answer.result != ACCEPT or answer.cataloged_device is None:
        path.unlink(missing_ok=True)
        raise Rejected(
            f"the administrator's answer is {(answer.result or 'nothing')[:32]!r}",
            hint="ask the administrator why, then make a new request",
        )
    found = Membership(host, answer.cataloged_device)
    if not set(signers) & set(administrators(found.profile)):
        raise SignatureInvalid("the answer is not signed by an administrator of the account")
    _require_asked(found, pending)
    granted = found.brought(options)  # every layer, which proves that this device can use what it was given
    require_takeable(host, found.entry)
    install(host, found, found.kept_envelope(granted, options))
    take_statements(AccountDirectory(host.home, found.udf), statements_of(found.entry))
    take_brought(host, found.entry, options)
    path.unlink(missing_ok=True)
    return found


def _waiting(host: Host, answer: RespondConnection) -> Cancelled:
    """That a person must say whether to follow. Raises Replayed when this home has followed already."""
    found, step = successor_in(host, answer)
    return Cancelled(
        f"{found.address} has a successor, as its administrator says: {step}",
        hint="give this file to `meshhw device complete` to follow",
    )


def _opened(octets: bytes, keys: KeyFinder) -> tuple[RespondConnection, tuple[PublicKey, ...]]:
    """The answer, and by which keys it is signed; whose they are is not known yet."""
    opened = open_envelope(Envelope.parse(octets), keys)
    if not opened.signers:
        raise SignatureInvalid("nobody signed the answer")
    return decode(opened.payload, RespondConnection), opened.signers


def _asked(host: Host, answer: RespondConnection) -> tuple[Path, Pending]:
    for path, pending in pending_requests(host.home):
        if response_id(pending.message_id) == answer.message_id:
            return path, pending
    raise Replayed("this answers no request of this machine, or one that was completed already")


def _require_asked(found: Membership, pending: Pending) -> None:
    if found.device.udf != pending.device:
        raise IntegrityError("the answer is for another device than the one that asked")
    if found.address != pending.address:
        raise IntegrityError(f"the answer is of {found.address!r}, {pending.address!r} was asked")
    if pending.account and not same_name(pending.account, found.udf):
        raise IntegrityError(f"the answer is of the account {found.udf}, {pending.account} was asked")
