"""`meshhw contact`: whom one knows, on every device of the account that holds the role."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli import catalogs
from meshhw.cli.common import context, verbs

app = verbs("Contacts, on every device that holds the role.")
STORE = "MMM_Contact"
Name = Annotated[str, typer.Argument(metavar="NAME", help="What you call them.")]


@app.command("add")
def add(
    name: Name,
    address: Annotated[list[str] | None, typer.Argument(metavar="ADDRESS...")] = None,
    *,
    full_name: Annotated[str, typer.Option(help="How they are called in full.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Keep a contact, in place of an earlier one of that name."""
    from meshhw.managers.account.entries import contact

    catalogs.add(STORE, account, name, contact(name, full_name or name, address or []))


@app.command("get")
def get(name: Name, *, account: catalogs.Account = None) -> None:
    """Print a contact's name and addresses."""
    from meshhw.managers.account.entries import summary
    from meshhw.schema.entry import CatalogedContact

    found = summary(catalogs.get(STORE, account, name, CatalogedContact))
    value = {"name": name, "full_name": found.full_name, "addresses": list(found.addresses)}
    context().output.show(value, "\n".join([found.full_name, *found.addresses]))


@app.command("list")
def list_contacts(*, account: catalogs.Account = None) -> None:
    """All contacts."""
    from meshhw.managers.account.entries import summary
    from meshhw.schema.entry import CatalogedContact

    catalogs.show_all(
        STORE,
        account,
        CatalogedContact,
        lambda found: {"addresses": list(summary(found).addresses)},
        ["addresses"],
    )


@app.command("delete")
def delete(name: Name, *, account: catalogs.Account = None) -> None:
    """Forget a contact."""
    catalogs.delete(STORE, account, name)
