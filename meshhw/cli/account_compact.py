"""`meshhw account compact`: stores without the versions that were replaced, and messages that are closed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from meshhw.cli.account_devices import Account
from meshhw.cli.common import context


def compact(
    stores: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STORE…", help="Only these, as MMM_Credential or MMM_Local; without, all of them."
        ),
    ] = None,
    *,
    account: Account = None,
) -> None:
    """Write this device's stores anew, without replaced or deleted versions and used PINs.

    The account's other devices take that over with `account sync`; each has its own stores to compact.
    """
    from meshhw.managers.account.standing import standing
    from meshhw.managers.host import Host
    from meshhw.managers.sync.compacting import compact as compact_stores

    cli = context()
    found = standing(Host(cli.home), account)
    rows = [asdict(done) for done in compact_stores(found, cli.open_options, stores or [])]
    columns = ["store", "frames_before", "frames", "octets_before", "octets"]
    cli.output.table(rows, columns, "nothing to leave out")
