"""`meshhw account sync`: the account's stores on several devices, through a directory that they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshhw.cli.account_devices import Account
from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.managers.sync.syncing import Report


def sync(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="A stick, a network drive, a synchronised folder.")
    ],
    *,
    older: Annotated[
        bool, typer.Option("--older", help="Go on with a directory that holds less than was seen before.")
    ] = False,
    account: Account = None,
) -> None:
    """Take what the account's other devices have written to a directory, and write what is new here.

    Nothing in the directory is believed: what no device of the account has signed is not taken.
    """
    from meshhw.errors import IntegrityError
    from meshhw.managers.account.standing import standing
    from meshhw.managers.host import Host
    from meshhw.managers.sync.syncing import Synchroniser

    cli = context()
    found = standing(Host(cli.home), account)
    report = Synchroniser(found, directory, cli.open_options, older=older).run()
    _note(report)
    cli.output.show(_described(report), lambda: "\n".join(_told(report)))
    if report.problems:
        raise IntegrityError(
            f"{len(report.problems)} of the account's devices could not be taken over whole",
            hint="the lines above say why; everything else is synchronised",
        )


def _note(report: Report) -> None:
    """On stderr: what was passed over, and which versions did not win."""
    from meshhw.managers.sync.spools import SPOOLS

    output = context().output
    for line in report.refused:
        output.note(line)
    for item in report.authors:
        if item.problem:
            output.note(f"{item.author}: {item.problem}")
        elif item.state == "incomplete":
            output.note(f"{item.author}: the directory does not hold all of it yet; repeat later")
        if item.unverified:
            output.note(f"{item.author}: {item.unverified} unverified frames, signed by no device, left")
    for store, tally in report.stores.items():
        for key in tally.conflicts:
            if store in SPOOLS:
                output.note(f"{store}: {key} was used on two devices that did not know of each other")
            else:
                output.note(
                    f"{store}: written on two devices at once; the earlier version is kept as {key!r}"
                )
        if tally.refused:
            output.note(f"{store}: {tally.refused} entries are not what the store holds, left")


def _described(report: Report) -> dict[str, Any]:
    return {
        "udf": report.udf,
        "profile": report.profile or "same",
        "updated": report.updated,
        "updates_written": report.updates_written,
        "refused": report.refused,
        "stores": [
            {
                "store": store,
                "taken": tally.taken,
                "deleted": tally.deleted,
                "conflicts": tally.conflicts,
                "refused": tally.refused,
            }
            for store, tally in report.stores.items()
        ],
        "written": report.published,
        "devices": [
            {
                "author": item.author,
                "state": item.state or "ignored",
                "unverified": item.unverified,
                "problem": item.problem or None,
            }
            for item in report.authors
        ],
    }


def _told(report: Report) -> list[str]:
    lines = ["an administrator's update was installed"] if report.updated else []
    lines += [f"the profile was {report.profile}"] if report.profile else []
    lines += (
        [f"updates for other devices: {report.updates_written} written"] if report.updates_written else []
    )
    for store, tally in report.stores.items():
        conflicts = len(tally.conflicts)
        counts = {"taken": tally.taken, "deleted": tally.deleted}
        counts["conflict" if conflicts == 1 else "conflicts"] = conflicts
        told = [f"{count} {what}" for what, count in counts.items() if count]
        lines += [f"{store}: {', '.join(told)}"] if told else []
    lines += [f"{store}: written" for store in report.published]
    return lines or ["everything is alike already"]
