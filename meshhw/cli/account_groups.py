"""`meshhw account group`: groups whose members hold a threshold key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.cli.account_devices import Account
from meshhw.cli.common import context, verbs
from meshhw.cli.streams import ExportFile, hand_out

if TYPE_CHECKING:
    from meshhw.managers.account.groups import Groups

group = verbs("Groups, whose members hold a threshold key.")
Group = Annotated[str, typer.Argument(metavar="GROUP", help="Its name, address or UDF.")]


@group.command("create")
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="For instance board@example.com.")],
    *,
    threshold: Annotated[
        str, typer.Option(metavar="NAME", help="The threshold key that the members hold; it signs, too.")
    ],
    name: Annotated[
        str | None, typer.Option(help="What the account's catalogs call the group, on every device.")
    ] = None,
    account: Account = None,
) -> None:
    """Make a group of the holders of a threshold key; a quorum of them signs its profile, and opens what is
    encrypted to it."""
    groups = _groups(account)
    new = groups.plan(address, threshold, name)
    output = context().output
    output.note(
        f"{new.needed} of the {new.members} holders of {new.key} sign now, and open what is for the group"
    )
    made = groups.create(new)
    output.show({"udf": made.udf, "address": new.address, "name": made.name}, made.udf)


@group.command("list")
def list_groups(account: Account = None) -> None:
    """The groups that the account knows."""
    rows = [
        {"name": item.name, "address": ",".join(item.addresses), "udf": item.udf}
        for item in _groups(account).all()
    ]
    context().output.table(rows, ["name", "address", "udf"], "no group is known")


@group.command("export")
def export(name: Group, file: ExportFile, *, account: Account = None) -> None:
    """Write a group's signed profile, with which others encrypt to it."""
    envelope = _groups(account).profile(name)
    hand_out(file, envelope.octets(), {}, f"the group's profile is in {file}")


@group.command("delete")
def delete(name: Group, *, account: Account = None) -> None:
    """Forget a group on every device; its threshold key stays."""
    gone = _groups(account).delete(name)
    context().output.show({"deleted": gone.udf}, f"{gone.name} is forgotten")


def _groups(account: str | None) -> Groups:
    from meshhw.managers.account.groups import Groups
    from meshhw.managers.account.standing import standing
    from meshhw.managers.host import Host

    cli = context()
    return Groups(standing(Host(cli.home), account), cli.open_options)
