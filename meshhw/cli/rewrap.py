"""`meshhw dare rewrap`: the same letter for more readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshhw.cli.common import context
from meshhw.cli.envelopekeys import KeyFiles, Recipients, Signers, open_keys
from meshhw.cli.streams import reading, writing


def rewrap(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="An envelope, or - for stdin.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Where to write; - is a pipe on stdout.")],
    encrypt: Recipients = None,
    sign: Signers = None,
    key: KeyFiles = None,
    signer: Annotated[
        list[Path] | None,
        typer.Option(metavar="PUBLIC", help="A public key that must have signed the old envelope."),
    ] = None,
) -> None:
    """Give an envelope to further readers. Its body stays as it is; its signatures end, since they cover who
    may read."""
    from meshhw.cli.inputs import public_key_in
    from meshhw.dare.rewrap import rewrap_stream
    from meshhw.errors import SignatureInvalid, UsageError
    from meshhw.managers.recipients import recipient
    from meshhw.udf import fingerprint

    cli = context()
    if not encrypt:
        raise UsageError("nobody is given who shall read, too", hint="name them with --encrypt")
    wanted = [public_key_in(path) for path in signer or []]
    readers = [recipient(name, cli.home, cli.open_options) for name in encrypt]
    with open_keys(key or []) as keys:
        signers = [keys.signer(name) for name in sign or []]
        with reading(file) as (source, _), writing(out) as target:
            checks = rewrap_stream(source, target, keys, readers, signers=signers, known=wanted)
            before = [check.public for check in checks if check.public is not None]
            for public in wanted:
                if public not in before:
                    raise SignatureInvalid(f"{fingerprint(public)} did not sign this")
    names = [fingerprint(public) for public in before]
    if names:
        cli.output.note(f"the signature of {', '.join(names)} was checked, and ends here")
    if out != "-":
        value = {"file": out, "added": len(readers), "was_signed_by": names, "signers": len(signers)}
        cli.output.show(value, "")
