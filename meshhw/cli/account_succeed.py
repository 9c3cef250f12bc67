"""`meshhw account succeed`: a new account in the place of one whose seed or root is in wrong hands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.algorithms import Suite
from meshhw.cli.account_devices import Account, RootOn, going_on, token_named
from meshhw.cli.account_devices import announce as announce_signatures
from meshhw.cli.account_disconnect import described, note_still_listed, write_updates
from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.managers.account.authority import Authority
    from meshhw.managers.account.succeeding import Succession
    from meshhw.managers.host import ProfileRecord


def succeed(
    lost: Annotated[
        list[str], typer.Argument(metavar="DEVICE...", help="The lost devices: UDFs or local names.")
    ],
    *,
    on: Annotated[
        list[str] | None, typer.Option(metavar="TOKEN", help="Where the new keys go; in order of preference.")
    ] = None,
    new_root_on: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Where the new root key goes; a token kept offline.")
    ] = None,
    root_threshold: Annotated[
        str | None, typer.Option(metavar="NAME", help="The threshold key that is the new root.")
    ] = None,
    root_on: RootOn = None,
    suite: Annotated[
        Suite | None, typer.Option(help="Default: the strongest that the token does natively.")
    ] = None,
    require_hardware: Annotated[
        bool, typer.Option("--require-hardware", help="Fail rather than keep a key outside a token.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write what the other devices must get here.")
    ] = None,
    account: Account = None,
) -> None:
    """Replace an account whose seed, root or escrow key was lost with a device: a new seed, a new root, new
    keys, the same address, entries and remaining devices."""
    from meshhw.cli.account import announce, manager
    from meshhw.keystore.registry import find_token
    from meshhw.managers.account.authority import authority
    from meshhw.managers.account.costs import unlisting
    from meshhw.managers.account.listing import device_key, take_out
    from meshhw.managers.account.succeeding import Succession, still_reads
    from meshhw.managers.account.updates import pending_updates
    from meshhw.managers.host import Host
    from meshhw.managers.profilemaking import ROOT, ProfileRequest

    cli = context()
    found = going_on(authority(Host(cli.home), account, cli.open_options))
    passing = Succession(found, lost, token_named(root_on))
    request = ProfileRequest(
        tokens=[find_token(name) for name in on or []],
        assigned={ROOT: find_token(new_root_on)} if new_root_on else {},
        suite=suite,
        require_hardware=require_hardware,
    )
    with manager() as accounts:
        shared = {ROOT: root_threshold} if root_threshold else {}
        new = accounts.plan(passing.address, request, predecessor=passing, shared=shared)
        announce(new)
        owners = (device_key(item.entry) for item in passing.lost if item.lists)
        more = [part for own in owners if own is not None for part in unlisting(found, own)]
        announce_signatures(found, 1, root=token_named(root_on), by_root=True, more=more)
        _tell(passing)
        cli.require_consent(f"Replace {passing.address} ({found.udf}) by a new account?")
        for item in passing.lost:
            note_still_listed(item, take_out(found.host, item.entry, cli.open_options))
        record = accounts.create(new)
    for line in still_reads(passing):
        cli.output.note(f"the lost device may still read {line}")
    cli.output.note("until a device has followed, it still takes what the lost one signs")
    updates = write_updates(record.udf, pending_updates(cli.home, record.udf), out)
    value = _told(found, passing, record, updates)
    cli.output.show(value, f"{record.udf} succeeds {found.udf}; {len(updates)} to be brought to devices")


def _tell(passing: Succession) -> None:
    """Which devices go over, and which must ask anew."""
    note = context().output.note
    for item in passing.lost:
        note(f"left out: {item.entry.local_name or item.udf}, connected as {', '.join(item.rights.roles)}")
    for entry in passing.left_out:
        note(f"must ask anew with `meshhw device request`: {entry.local_name or entry.device_udf}")


def _told(found: Authority, passing: Succession, record: ProfileRecord, updates: list[str]) -> dict[str, Any]:
    return {
        "udf": record.udf,
        "succeeds": found.udf,
        "address": record.label,
        "lost": [item.udf for item in passing.lost],
        "ask_anew": [item.device_udf for item in passing.left_out],
        "still_reads": {item.udf: described(item) for item in passing.lost},
        "updates": updates,
    }
