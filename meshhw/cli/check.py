"""`meshhw token check`: hold a token to its promises and print what came out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.cli.common import context
from meshhw.cli.targets import TokenArgument, opened_token

if TYPE_CHECKING:
    from meshhw.conformance.model import Report

_WIPE_QUESTION = (
    "with --wipe one try of the user PIN of {name} is spent on a wrong PIN; keys made for the check are "
    "removed again, others are left alone. Go on?"
)


def check(
    token: TokenArgument,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also check what spends a PIN try.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the whole report there, as JSON.")
    ] = None,
) -> None:
    """Hold a token to its promises: 0 when none that applies to it is broken, 1 otherwise."""
    from meshhw.conformance.run import check_token

    cli = context()
    with opened_token(token) as open_token:
        info = open_token.info()
        if wipe:
            cli.require_consent(_WIPE_QUESTION.format(name=info.label or info.uri))
        found = check_token(open_token, wipe=wipe, progress=cli.output.detail)
    if report is not None:
        report.write_text(json.dumps(found.json(), indent=2) + "\n")
    cli.output.show(found.json(), lambda: as_text(found))
    if found.broken:
        raise typer.Exit(1)


def as_text(report: Report) -> str:
    """The report as people read it: broken promises first in sight, then what is kept, then the latencies."""
    from meshhw.conformance.model import Outcome, Promise

    lines = [
        f"{report.info.label or report.info.uri}  {report.info.model} {report.info.firmware}".rstrip(),
        "",
    ]
    for promise in Promise:
        verdicts = [verdict for verdict in report.verdicts if verdict.promise is promise]
        lines += [
            f"BROKEN  {promise}: {verdict.subject}: {verdict.detail}"
            for verdict in verdicts
            if verdict.outcome is Outcome.BROKEN
        ]
        kept = [verdict.subject for verdict in verdicts if verdict.outcome is Outcome.KEPT]
        if kept:
            lines.append(f"kept    {promise} ({', '.join(kept)})")
    lines += ["", f"{'algorithm':<15}{'operation':<13}{'tier':<10}{'ms':>9}{'calls':>7}"]
    lines += [
        f"{row.algorithm:<15}{row.operation:<13}{row.tier:<10}{row.seconds * 1000:>9.2f}"
        f"{'-' if row.calls is None else row.calls:>7}"
        for row in report.measurements
    ]
    return "\n".join(lines)
