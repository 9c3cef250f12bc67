"""`meshhw log`: the use log, in which every operation with a private key stands."""

from __future__ import annotations

from typing import Annotated

import typer

from meshhw.cli.common import context, verbs
from meshhw.cli.heads import Older

app = verbs("The use log: every operation with a private key.")


@app.command("show")
def show(
    last: Annotated[int | None, typer.Option(min=1, help="Only so many of the newest entries.")] = None,
) -> None:
    """The entries, oldest first."""
    from collections import deque

    import msgspec

    from meshhw.managers.logsealing import entries

    cli = context()
    kept = deque(entries(cli.home), maxlen=last)
    rows = [msgspec.to_builtins(entry) for entry in kept]
    cli.output.table(rows, ["index", "time", "operation", "result", "caller", "key"], "the log is empty")


@app.command("verify")
def verify(*, older: Older = False) -> None:
    """Check that no entry was changed, dropped or moved, and who signed for the sealed ones."""
    from meshhw.managers import logsealing
    from meshhw.managers.uselog import verify as check
    from meshhw.udf import fingerprint

    cli = context()
    head = check(cli.home / "log.jsonl")
    sealed = logsealing.verify(cli.home, older=older)
    signers = [fingerprint(public) for public in sealed.signers]
    value = {"entries": head.count, "head": head.digest, "sealed": sealed.entries, "signers": signers}
    lines = [f"{head.count} entries, the chain is whole; head {head.digest}"]
    if sealed.entries:
        by = f"signed by {', '.join(signers)}" if signers else "not signed yet"
        lines.append(f"{sealed.entries} sealed entries, {by}")
    cli.output.show(value, "\n".join(lines))


@app.command("sign")
def sign(
    *,
    key: Annotated[str, typer.Option("--with", metavar="KEY", help="The key, or device, that signs.")],
    older: Older = False,
) -> None:
    """Seal the log so far under a signed head, and go on in a fresh file; `dare prove` proves any entry."""
    from meshhw.cli.envelopekeys import open_keys
    from meshhw.cli.targets import announce
    from meshhw.keystore.api import Key
    from meshhw.managers.logsealing import seal, sequence_path
    from meshhw.udf import fingerprint

    cli = context()
    with open_keys() as keys:
        signer = keys.signer(key)
        announce(*(found for found in (signer,) if isinstance(found, Key)))
        sealed = seal(cli.home, signer, older=older)
    value = {
        "sealed": sealed.entries,
        "head": sealed.head,
        "signers": [fingerprint(public) for public in sealed.signers],
        "file": str(sequence_path(cli.home)),
    }
    cli.output.show(value, f"{sealed.entries} entries are sealed in {value['file']}")
