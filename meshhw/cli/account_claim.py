"""`meshhw account claim`, `device preconfigure` and `device claimed`: devices with a code on their back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshhw.cli.account_devices import Account, going_on, tell_judged
from meshhw.cli.account_pins import Png, Qr, show_code
from meshhw.cli.common import context

Directory = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the device was published.")]


def claim(
    code: Annotated[str, typer.Argument(metavar="URI", help="What the device's QR code holds (-, @FILE).")],
    *,
    directory: Directory,
    roles: Annotated[str, typer.Option(metavar="R,...", help="As in `account connect`.")] = "device",
    name: Annotated[
        str | None, typer.Option(help="What the account's catalogs call the device, on every device.")
    ] = None,
    account: Account = None,
) -> None:
    """Connect a preconfigured device by the code on it; put claim and answer where the device looks."""
    from meshhw.cli.secrets import read_secret
    from meshhw.managers.account.authority import authority
    from meshhw.managers.account.claiming import claim as claiming
    from meshhw.managers.account.claiming import request_of
    from meshhw.managers.account.connect import Connector
    from meshhw.managers.account.preconfigured import published
    from meshhw.managers.account.rights import rights_of
    from meshhw.managers.host import Host

    cli = context()
    rights = rights_of([role for role in roles.split(",") if role])
    uri = read_secret(code, "device's code")
    device = published(uri, directory)
    host = Host(cli.home)
    found = going_on(authority(host, account, cli.open_options))
    tell_judged(Connector(host, found, cli.open_options).judged(request_of(found, device)))
    claiming(found, device, uri, rights, directory, name=name)
    value = {"device": device.udf, "roles": list(rights.roles), "directory": str(directory)}
    told = f"{device.udf} is claimed as {', '.join(rights.roles)}; claim and answer are in {directory}"
    cli.output.show(value, told)


def preconfigure(
    maker: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Of whoever hands it over: maker@example.net.")
    ],
    *,
    publish: Annotated[Path, typer.Option(metavar="DIR", help="Where its profile goes, encrypted.")],
    qr: Qr = False,
    png: Png = None,
    device: Annotated[
        str | None, typer.Option(metavar="UDF", help="Which device, when there are several.")
    ] = None,
) -> None:
    """Make a device ready to be claimed by whoever scans its code; the code is printed, and is a secret."""
    from meshhw.managers.account.preconfigured import preconfigure as prepare
    from meshhw.managers.host import Host

    cli = context()
    host = Host(cli.home)
    record = host.profile(device, "ProfileDevice")
    uri = prepare(host, record, maker, publish, cli.open_options)
    show_code(uri, qr, png)
    cli.output.show({"device": record.udf, "uri": uri, "directory": str(publish)}, uri)


def claimed(directory: Directory) -> None:
    """Take the claim on this preconfigured device: it then belongs to the claimant's account."""
    from meshhw.managers.account.claiming import take_claim
    from meshhw.managers.host import Host

    cli = context()
    found = take_claim(Host(cli.home), directory, cli.open_options)
    roles = list(found.connection.roles)
    value = {"account": found.udf, "address": found.address, "device": found.device.udf, "roles": roles}
    cli.output.show(value, f"connected to {found.address} ({found.udf}) as {', '.join(roles)}")
