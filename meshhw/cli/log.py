"""`meshhw log`: the use log, in which every operation with a private key stands."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli.common import context, verbs

app = verbs("The use log: every operation with a private key.")


@app.command("show")
def show(
    last: Annotated[int | None, typer.Option(min=1, help="Only so many of the newest entries.")] = None,
) -> None:
    """The entries, oldest first."""
    from collections import deque

    import msgspec

    from meshhw.managers.uselog import entries

    cli = context()
    kept = deque((entry for entry, _ in entries(cli.home / "log.jsonl")), maxlen=last)
    rows = [msgspec.to_builtins(entry) for entry in kept]
    cli.output.table(rows, ["index", "time", "operation", "result", "caller", "key"], "the log is empty")


@app.command("verify")
def verify() -> None:
    """Check that no entry was changed, dropped or moved."""
    from meshhw.managers.uselog import verify as check

    cli = context()
    head = check(cli.home / "log.jsonl")
    value = {"entries": head.count, "head": head.digest}
    cli.output.show(value, f"{head.count} entries, the chain is whole; head {head.digest}")
