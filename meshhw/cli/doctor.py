"""`meshhw doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from meshhw.cli.common import context, single

app = single()


@app.command()
def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when anything is missing.")] = False,
) -> None:
    """What is missing on this machine, and the command that mends it."""
    from meshhw.managers.doctor import State, examine
    from meshhw.managers.machine import Machine

    cli = context()
    findings = examine(Machine(), cli.home)
    cli.output.show([asdict(finding) for finding in findings], "\n".join(map(str, findings)))
    if strict and any(finding.state is State.MISSING for finding in findings):
        raise typer.Exit(1)
