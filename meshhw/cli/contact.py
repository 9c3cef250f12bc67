"""`meshhw contact`: whom one knows, on every device of the account that holds the role."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli import catalogs
from meshhw.cli.account_names import names_of
from meshhw.cli.common import context, verbs
from meshhw.cli.streams import ExportFile, hand_out, naming

app = verbs("Contacts, on every device that holds the role.")
STORE = "MMM_Contact"
Name = Annotated[str, typer.Argument(metavar="NAME", help="What you call them.")]
Who = Annotated[str, typer.Argument(metavar="WHO", help="Their name, address or UDF.")]


@app.command("add")
def add(
    name: Name,
    address: Annotated[
        list[str] | None,
        typer.Argument(metavar="ADDRESS...", help="Their addresses, such as bob@example.com."),
    ] = None,
    *,
    full_name: Annotated[str, typer.Option(help="How they are called in full.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Keep a contact, in place of an earlier one of that name."""
    from meshhw.managers.account.entries import contact

    key = _free(name, account)
    catalogs.add(STORE, account, key, contact(key, full_name or key, address or []))


@app.command("get")
def get(name: Who, *, account: catalogs.Account = None) -> None:
    """Print a contact's name and addresses."""
    from meshhw.managers.account.entries import summary
    from meshhw.schema.entry import CatalogedContact

    key = _key(name, account)
    found = summary(catalogs.get(STORE, account, key, CatalogedContact))
    value = {"name": key, "full_name": found.full_name, "addresses": list(found.addresses)}
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
def delete(name: Who, *, account: catalogs.Account = None) -> None:
    """Forget a contact."""
    catalogs.delete(STORE, account, _key(name, account))


@app.command("self")
def own(
    full_name: Annotated[str, typer.Argument(metavar="FULL-NAME", help="How you are called in full.")] = "",
    *,
    account: catalogs.Account = None,
) -> None:
    """Keep your own contact, with the account's profile."""
    from meshhw.managers.account.contacts import SELF, account_profile, own_contact
    from meshhw.managers.host import Host
    from meshhw.schema.entry import CatalogedContact

    person = own_contact(account_profile(Host(context().home), account), full_name)
    catalogs.add(STORE, account, SELF, CatalogedContact(key=SELF, is_self=True, contact=person))


@app.command("export")
def export(
    file: ExportFile,
    *,
    full_name: Annotated[str, typer.Option(help="How you are called in full.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Write your own contact, signed by the account, to give to others."""
    from meshhw.managers.account.contacts import exported
    from meshhw.managers.host import Host

    cli = context()
    envelope = exported(Host(cli.home), full_name, account, cli.open_options)
    hand_out(file, envelope.octets(), {}, f"your contact is in {file}")


@app.command("import")
def import_contact(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A contact that somebody gave you.")],
    *,
    name: Annotated[str, typer.Option(help="What you call them; default: their address.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Check a contact that somebody gave you, and keep it; compare its UDF with what they tell you."""
    from meshhw.cli.inputs import read_octets
    from meshhw.managers.account.contacts import keep_contact, read_contact, succeeded_contact

    with naming(file):
        found = read_contact(read_octets(file, 1 << 20))
    with catalogs.opened(STORE, account) as store:
        before = succeeded_contact(store, found)
    if before is not None:
        context().require_consent(
            f"{before[0]}: {before[1]}. Both root keys have signed that, which whoever stole the earlier one "
            "can do too. Have they told you this UDF by another way, and shall it replace the earlier one?"
        )
    key = _free(name or (before[0] if before is not None else found.address), account)
    with catalogs.opened(STORE, account, writable=True) as store:
        keep_contact(store, found, key, succeeds=before[0] if before is not None else None)
    value = {"key": key, "address": found.address, "udf": found.udf}
    context().output.show(value, f"{key} is {found.address}, account {found.udf}")


def _free(name: str, account: str | None) -> str:
    """The name, if it is that of a contact already or of nothing in the account. Raises UsageError."""
    from meshhw.managers.account.known import Known, Sort

    return names_of(account).require_free(name, Known(Sort.CONTACT, name, name))


def _key(who: str, account: str | None) -> str:
    """The key of the entry of whom a person means. Raises KeyNotFound, Ambiguous."""
    from meshhw.errors import KeyNotFound
    from meshhw.managers.account.known import Sort
    from meshhw.managers.account.stamp import is_copy

    if is_copy(who):
        return who
    found = names_of(account).find(who)
    if found.sort is not Sort.CONTACT:
        raise KeyNotFound(f"{who!r} is a {found.sort}, no contact")
    return found.key
