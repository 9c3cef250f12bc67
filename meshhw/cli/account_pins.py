"""`meshhw account pin` and `meshhw account pins`: PINs that connect one device each, and their QR codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.cli.account_devices import Account
from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.managers.account.pins import PinSpool

Png = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the QR code to this file, in PNG.")]
Qr = Annotated[bool, typer.Option("--qr", help="Show the QR code on the terminal.")]


def pin(
    *,
    roles: Annotated[
        str, typer.Option(metavar="R,...", help="What the device shall be, as in `account connect`.")
    ] = "message",
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="For how long it is good: 30m, 24h, 7d.")
    ] = "24h",
    qr: Qr = False,
    png: Png = None,
    account: Account = None,
) -> None:
    """Make a PIN that connects one device, once, without comparing anything; tell it to nobody else."""
    from meshhw.managers.account.pins import lifetime_of
    from meshhw.managers.account.rights import rights_of
    from meshhw.udf.locator import connection_uri, strong_name

    output = context().output
    granted = rights_of([role for role in roles.split(",") if role]).roles
    with _pins(account) as (spool, address, udf):
        secret, message = spool.issue(granted, lifetime_of(expires))
    uri = connection_uri(strong_name(address, udf), secret)
    show_code(uri, qr, png)
    until = message.expires.isoformat() if message.expires else ""
    output.note(f"good for one device as {', '.join(granted)}, until {until}")
    value = {
        "pin": secret.text,
        "uri": uri,
        "id": message.message_id,
        "roles": list(granted),
        "expires": until,
    }
    output.show(value, secret.text)


def pins(
    *,
    close: Annotated[str | None, typer.Option(metavar="ID", help="Take this PIN back.")] = None,
    account: Account = None,
) -> None:
    """The PINs that were made, and what has become of them; never the PINs themselves."""
    from meshhw.managers.account.pins import standing_of

    with _pins(account) as (spool, _, _):
        if close is not None:
            spool.close(close)
        rows = [
            {
                "id": known.pin_id,
                "state": standing_of(known),
                "roles": list(known.message.roles),
                "expires": known.message.expires.isoformat() if known.message.expires else "",
            }
            for known in spool.all()
        ]
    context().output.table(rows, ["id", "state", "roles", "expires"], "no PIN was made")


def show_code(text: str, qr: bool, png: Path | None) -> None:
    """A QR code on the terminal and in a file that only its owner reads: who sees it has the secret in it."""
    from meshhw.managers.account.codes import png_of, terminal

    output = context().output
    if png is not None:
        from meshhw import files

        files.replace(png, png_of(text))
        output.note(f"written: {png}")
    if qr and not output.json:
        output.line(terminal(text))


@contextmanager
def _pins(account: str | None) -> Iterator[tuple[PinSpool, str, str]]:
    """The account's PINs, its address, and its UDF."""
    from meshhw.managers.account.authority import authority
    from meshhw.managers.account.pins import pins_of
    from meshhw.managers.host import Host

    cli = context()
    found = authority(Host(cli.home), account, cli.open_options)
    with pins_of(found, found.held(common=False)) as spool:
        yield spool, found.address, found.udf
