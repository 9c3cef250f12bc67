"""`meshhw account disconnect`: what a lost device could use is changed, and what it still reads is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.account_devices import Account, RootOn, announce, going_on, token_named
from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.keystore.uri import TokenURI
    from meshhw.managers.account.authority import Authority
    from meshhw.managers.account.disconnecting import Lost


def disconnect(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Its UDF, or what the account calls it.")],
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write the other devices' updates here.")
    ] = None,
    root_on: RootOn = None,
    require_hardware: Annotated[
        bool, typer.Option("--require-hardware", help="Fail rather than keep the new keys in software here.")
    ] = False,
    account: Account = None,
) -> None:
    """Disconnect a device that was lost, and change every key that it could use."""
    from meshhw.managers.account.authority import authority
    from meshhw.managers.account.disconnecting import disconnect as making
    from meshhw.managers.account.disconnecting import lost_device
    from meshhw.managers.account.journal import apply, commit
    from meshhw.managers.account.replacing import require_hardware as refuse_software
    from meshhw.managers.host import Host

    cli = context()
    found = going_on(authority(Host(cli.home), account, cli.open_options))
    held = found.held(common=False)
    lost = lost_device(found, held, device)
    if require_hardware:
        refuse_software(found, common=lost.rights.common_keys)
    _announce(found, lost, token_named(root_on))
    cli.require_consent(f"Disconnect {lost.entry.local_name or lost.udf}?")
    if lost.rights.common_keys:
        held = found.held()
    journal = making(found, lost, held, token_named(root_on))
    commit(found, journal)
    apply(found, journal)
    note_still_listed(lost, journal.still_listed)
    for line in lost.still_reads:
        cli.output.note(f"it may still read {line}")
    cli.output.note("until a device has its update, it still takes what the lost one signs")
    value = _told(found, lost, write_updates(found.udf, journal.updates, out), journal.still_listed)
    count = len(journal.updates)
    cli.output.show(
        value, f"{value['device']} is disconnected; {count} update{'s' if count != 1 else ''} to be brought"
    )


def _announce(found: Authority, lost: Lost, root_on: TokenURI | None) -> None:
    """Which case this is, and what it will ask for, before anything is changed."""
    from meshhw.managers.account.costs import unlisting
    from meshhw.managers.account.listing import device_key

    output = context().output
    name = lost.entry.local_name or lost.udf
    output.note(f"{name} is connected as {', '.join(lost.rights.roles)}; case: {lost.case}")
    if lost.lists:
        output.note(f"it is taken out of the threshold keys that list it: {', '.join(lost.lists)}")
    own = device_key(lost.entry) if lost.lists else None
    more = unlisting(found, own) if own is not None else []
    announce(found, lost.signatures, root=root_on, by_root=lost.needs_root, more=more)


def rekey(
    *,
    common: Annotated[
        bool, typer.Option("--common", help="The account's common keys, too; the root key signs the profile.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write the other devices' updates here.")
    ] = None,
    root_on: RootOn = None,
    account: Account = None,
) -> None:
    """Give all stores new keys, though no device leaves: after a suspicion, or where two administrators
    disconnected devices at the same time."""
    from meshhw.managers.account.authority import authority, opened_catalog
    from meshhw.managers.account.disconnecting import rekey as making
    from meshhw.managers.account.disconnecting import remaining
    from meshhw.managers.account.journal import apply, commit
    from meshhw.managers.host import Host

    cli = context()
    found = going_on(authority(Host(cli.home), account, cli.open_options))
    held = found.held(common=common)
    with opened_catalog(found, held) as devices:
        count = len(list(remaining(found, devices)))
    announce(found, 2 + 2 * count, root=token_named(root_on), by_root=common)
    cli.require_consent(f"Give the stores of {found.address} new keys?")
    journal = making(found, held, token_named(root_on), common=common)
    commit(found, journal)
    apply(found, journal)
    updates = write_updates(found.udf, journal.updates, out)
    value = {"udf": found.udf, "version": found.profile.version, "updates": updates}
    cli.output.show(value, f"all stores have new keys; {len(updates)} updates to be brought")


def note_still_listed(lost: Lost, names: dict[str, str]) -> None:
    """Which threshold keys' holders the lost device may still ask, and what ends that."""
    from meshhw.managers.account.listing import device_key
    from meshhw.udf import fingerprint

    own = device_key(lost.entry)
    for name, reason in names.items():
        context().output.note(
            f"the threshold key {name} still lists it: {reason}; where it can be signed, "
            f"`meshhw threshold device {name} --remove {fingerprint(own) if own else lost.udf}`"
        )


def write_updates(account: str, updates: dict[str, bytes], out: Path | None) -> list[str]:
    """Where each device's update is."""
    from meshhw.dare.output import replacing
    from meshhw.managers.account.directory import AccountDirectory
    from meshhw.managers.account.updates import update_path

    if out is None:
        directory = AccountDirectory(context().home, account).path
        return [str(update_path(directory, device)) for device in updates]
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for device, octets in updates.items():
        with replacing(out / f"{device}.dare") as target:
            target.write(octets)
        written.append(str(out / f"{device}.dare"))
    return written


def described(lost: Lost) -> dict[str, Any]:
    """What a lost device may still read from before, for `--json`."""
    stores = [
        {"store": item.store, "key": item.epoch, "entries": item.entries, "versions": item.versions}
        for item in lost.reads
    ]
    return {"stores": stores, "letters": lost.letters}


def _told(found: Authority, lost: Lost, updates: list[str], still_listed: dict[str, str]) -> dict[str, Any]:
    return {
        "device": lost.entry.local_name or lost.udf,
        "udf": lost.udf,
        "version": found.profile.version,
        "administrator_removed": lost.administrator is not None,
        "rekeyed": sorted(lost.rights.stores),
        "threshold_keys": [name for name in lost.lists if name not in still_listed],
        "still_listed": still_listed,
        "still_reads": described(lost),
        "updates": updates,
    }
