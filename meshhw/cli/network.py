"""`meshhw network`: the credentials of networks, on every device of the account that holds the role."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli import catalogs
from meshhw.cli.common import context, verbs

app = verbs("The credentials of networks, on every device that holds the role.")
STORE = "MMM_Network"
Network = Annotated[str, typer.Argument(metavar="NETWORK", help="Its name (SSID).")]


@app.command("add")
def add(
    network: Network,
    password: Annotated[
        str | None, typer.Argument(metavar="PASSWORD", help="-, @FILE, or the password; none reads stdin.")
    ] = None,
    *,
    username: Annotated[str, typer.Option(help="Where the network asks for one.")] = "",
    account: catalogs.Account = None,
) -> None:
    """Keep a network's credentials."""
    from meshhw.cli.secrets import read_secret
    from meshhw.schema.entry import CatalogedNetwork

    entry = CatalogedNetwork(
        service=network, username=username or None, password=read_secret(password or "-", "password")
    )
    catalogs.add(STORE, account, network, entry)


@app.command("get")
def get(network: Network, *, account: catalogs.Account = None) -> None:
    """Print a network's credentials."""
    from meshhw.schema.entry import CatalogedNetwork

    found = catalogs.get(STORE, account, network, CatalogedNetwork)
    value = {"network": found.service, "username": found.username, "password": found.password}
    context().output.show(value, "\n".join(filter(None, [found.username, found.password])))


@app.command("list")
def list_networks(*, account: catalogs.Account = None) -> None:
    """The networks; no password is shown."""
    from meshhw.schema.entry import CatalogedNetwork

    catalogs.show_all(
        STORE, account, CatalogedNetwork, lambda found: {"username": found.username}, ["username"]
    )


@app.command("delete")
def delete(network: Network, *, account: catalogs.Account = None) -> None:
    """Forget a network."""
    catalogs.delete(STORE, account, network)
