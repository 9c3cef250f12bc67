"""`meshhw password`: user names and passwords, on every device of the account that holds the role."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli import catalogs
from meshhw.cli.common import context, verbs

app = verbs("User names and passwords, on every device that holds the role.")
STORE = "MMM_Credential"
Service = Annotated[str, typer.Argument(metavar="SERVICE", help="For instance ftp.example.com.")]


@app.command("add")
def add(
    service: Service,
    username: Annotated[str, typer.Argument(metavar="USERNAME", help="The name to log in with.")],
    password: Annotated[
        str | None, typer.Argument(metavar="PASSWORD", help="-, @FILE, or the password; none reads stdin.")
    ] = None,
    *,
    protocol: Annotated[str, typer.Option(help="For instance ftp.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Keep a password, in place of an earlier one for the same service."""
    from meshhw.cli.secrets import read_secret
    from meshhw.schema.entry import CatalogedCredential

    entry = CatalogedCredential(
        protocol=protocol or None,
        service=service,
        username=username,
        password=read_secret(password or "-", "password"),
    )
    catalogs.add(STORE, account, f"{protocol}:{service}", entry)


@app.command("get")
def get(
    service: Service,
    *,
    protocol: Annotated[str, typer.Option(help="For instance ftp.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Print the user name and the password."""
    from meshhw.schema.entry import CatalogedCredential

    found = catalogs.get(STORE, account, f"{protocol}:{service}", CatalogedCredential)
    value = {"service": found.service, "username": found.username, "password": found.password}
    context().output.show(value, f"{found.username}\n{found.password}")


@app.command("list")
def list_passwords(*, account: catalogs.Account = None) -> None:
    """The services and user names; no password is shown."""
    from meshhw.schema.entry import CatalogedCredential

    catalogs.show_all(
        STORE,
        account,
        CatalogedCredential,
        lambda found: {"service": found.service, "username": found.username},
        ["service", "username"],
    )


@app.command("delete")
def delete(
    service: Service,
    *,
    protocol: Annotated[str, typer.Option(help="For instance ftp.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Forget a password."""
    catalogs.delete(STORE, account, f"{protocol}:{service}")
