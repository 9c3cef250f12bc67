"""The private keys that a command of `meshhw dare` may use: the home's and those in given files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.cli.common import context

if TYPE_CHECKING:
    from meshhw.managers.openers import Keys
    from meshhw.managers.threshold.use import ThresholdPrivateKey

KeyFiles = Annotated[
    list[Path] | None, typer.Option("--key", metavar="PRIVATE", help="A private key file to decrypt with.")
]
Recipients = Annotated[
    list[str] | None,
    typer.Option(
        "--encrypt",
        metavar="RECIPIENT",
        help="A public key or profile file, a device of this home, threshold:NAME.",
    ),
]
Signers = Annotated[
    list[str] | None,
    typer.Option("--sign", metavar="KEY", help="A key, or a device whose signature key signs."),
]


@contextmanager
def open_keys(files: Sequence[Path] = (), responses: Sequence[Path] = ()) -> Iterator[Keys]:
    """The keys of this home, those in key files, and threshold keys that other machines have answered for."""
    from meshhw.cli.inputs import private_key_in
    from meshhw.dare.local import LocalKey
    from meshhw.managers.openers import Keys

    cli = context()
    local = [LocalKey(private_key_in(path), cli.use_log) for path in files]
    with _answered(responses) as shared, Keys(cli.home, cli.open_options, [*shared, *local]) as keys:
        yield keys


@contextmanager
def _answered(responses: Sequence[Path]) -> Iterator[Sequence[ThresholdPrivateKey]]:
    """The threshold keys that other machines' holders have answered for."""
    if not responses:
        yield ()
        return
    from meshhw.managers.threshold.asking import answered_keys

    cli = context()
    with answered_keys(responses, cli.home, cli.open_options) as keys:
        yield keys
