"""`meshhw account name` and `meshhw account names`: what a person calls devices, contacts and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.cli.account_devices import Account
from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.managers.account.names import Names


def rename(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A name, an address, or a UDF.")],
    wanted: Annotated[str, typer.Argument(metavar="NAME", help="What it shall be called.")],
    account: Account = None,
) -> None:
    """Call a device, contact or group by a name, on every device of the account.

    A device's name is an administrator's to give.
    """
    names = names_of(account)
    found = names.find(what)
    renamed = names.rename(found, wanted)
    value = {"sort": renamed.sort, "name": renamed.name, "udf": renamed.udf}
    context().output.show(value, f"the {found.sort} {found.udf or found.name} is now {renamed.name}")


def list_names(account: Account = None) -> None:
    """The devices, contacts and groups that this device knows, and what they are called."""
    rows = [
        {"name": item.name, "sort": item.sort, "udf": item.udf, "addresses": list(item.addresses)}
        for item in names_of(account).all()
    ]
    context().output.table(rows, ["name", "sort", "udf", "addresses"], "nothing has a name yet")


def names_of(account: str | None) -> Names:
    """The names of an account of this home."""
    from meshhw.managers.account.names import Names
    from meshhw.managers.account.standing import standing
    from meshhw.managers.host import Host

    cli = context()
    return Names.of(standing(Host(cli.home), account), cli.open_options)
