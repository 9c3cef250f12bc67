"""Following an account into the one that succeeds it, on a device that stays.

An administrator of the earlier account has connected the device to the new one already. That the earlier root
signed the succession proves nothing, since it is in wrong hands; so the device takes it only from an
administrator whom it knows, only when the person says so, and only once.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshhw.algorithms import PublicKey
from meshhw.errors import Cancelled, FormatError, IntegrityError, Replayed, SignatureInvalid
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.administrators import administrators
from meshhw.managers.account.directory import CATALOGED, AccountDirectory
from meshhw.managers.account.listing import take_brought
from meshhw.managers.account.membership import Membership, install
from meshhw.managers.account.standing import standing
from meshhw.managers.account.succession import Step, is_vouched, profiles_here, require_first, steps
from meshhw.managers.host import Host
from meshhw.schema.message import RespondConnection
from meshhw.schema.profile import ProfileUser

SUCCESSOR = "Successor"
"""The result of an answer that brings a device into the account that succeeds its own."""
_ASK = "compare this UDF with what `meshhw account show` says where the new account was made"


def follow(
    host: Host, answer: RespondConnection, signers: Sequence[PublicKey], options: OpenOptions
) -> Membership:
    """Belong to the successor, after the person has confirmed its UDF; the earlier account stays, to read
    what is old.

    Raises KeyNotFound when this home is not in the earlier account, SignatureInvalid when none of its
    administrators signed, IntegrityError for a second successor, Replayed, Cancelled.
    """
    found, step = successor_in(host, answer)
    held = standing(host, step.predecessor)
    if held.member is None or held.member.device.udf != found.device.udf:
        raise IntegrityError("the answer is for another device than the one that was connected")
    if not set(signers) & set(administrators(found.profile)):
        raise SignatureInvalid("the answer is not signed by an administrator of the new account")
    if not is_vouched(found.profile, administrators(held.profile)):
        raise SignatureInvalid(
            f"no administrator of {step.predecessor} that is known here has signed the succession",
            hint="get the earlier account's newest profile first: `meshhw account sync`",
        )
    require_first(profiles_here(host), found.profile)
    if not options.interaction.confirm(question(step, found.address, held.profile)):
        raise Cancelled("not confirmed, the earlier account stays in force here", hint=_ASK)
    granted = found.brought(options)
    install(host, found, found.kept_envelope(granted, options))
    take_brought(host, found.entry, options)
    return found


def successor_in(host: Host, answer: RespondConnection) -> tuple[Membership, Step]:
    """The device's place in the new account, everything checked that the answer itself tells.

    Raises Replayed when this home is in that account already, FormatError for no successor.
    """
    if answer.cataloged_device is None:
        raise FormatError("the answer brings no successor")
    found = Membership(host, answer.cataloged_device)
    if (AccountDirectory(host.home, found.udf).path / CATALOGED).exists():
        raise Replayed(f"this device follows {found.udf} already")
    leading = steps(found.profile)
    if not leading:
        raise FormatError("the account in the answer succeeds no other")
    return found, leading[-1]


def question(step: Step, address: str, held: ProfileUser) -> str:
    """What the person is asked, with all that speaks for and against it."""
    when = f" on {step.updated:%Y-%m-%d %H:%M}" if step.updated else ""
    later = held.version or 0
    against = (
        f" It follows version {step.version} of the earlier profile, and version {later} is here."
        if step.version != later
        else ""
    )
    return (
        f"{address}: {step}; both root keys have signed that{when}.{against} "
        "Is this the UDF that the new account's administrator shows?"
    )
