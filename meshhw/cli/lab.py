"""`meshhw lab`: emulated tokens that any program can use, and what can befall them."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from meshhw.cli.common import context, verbs
from meshhw.lab.faults import Fault

app = verbs("Emulated tokens for tests and trials, and faults in them.")

DEFAULT_TOKENS = 2


@app.command("up")
def up(
    *,
    softhsm: Annotated[int, typer.Option(min=0, max=16, help="SoftHSM tokens.")] = 0,
    nss: Annotated[int, typer.Option(min=0, max=16, help="NSS tokens.")] = 0,
    opencryptoki: Annotated[bool, typer.Option("--opencryptoki", help="The opencryptoki token.")] = False,
    tpm: Annotated[int, typer.Option(min=0, max=16, help="Software TPMs.")] = 0,
    piv: Annotated[int, typer.Option(min=0, max=16, help="Virtual PIV cards.")] = 0,
    fido2: Annotated[int, typer.Option(min=0, max=16, help="Virtual FIDO2 cards.")] = 0,
    fido2_usb: Annotated[int, typer.Option(min=0, max=16, help="Virtual FIDO2 keys in USB ports.")] = 0,
    tpm2_pkcs11: Annotated[
        bool, typer.Option("--tpm2-pkcs11", help="A TPM behind the module of tpm2-pkcs11.")
    ] = False,
) -> None:
    """Start emulated tokens (two SoftHSM tokens unless told otherwise); they run until `lab down`."""
    from meshhw.lab.client import Lab
    from meshhw.lab.part import Order

    order = Order(softhsm, nss, opencryptoki, tpm, piv, fido2, fido2_usb, tpm2_pkcs11)
    if order == Order():
        order = Order(softhsm=DEFAULT_TOKENS)
    cli = context()
    _list(Lab(cli.home).up(order))
    cli.output.note('use it: eval "$(meshhw lab env)"')


@app.command("status")
def status() -> None:
    """The tokens of this home's lab."""
    from meshhw.lab.client import Lab

    _list(Lab(context().home).status())


@app.command("env")
def env() -> None:
    """What a shell must export to see the lab's tokens, and no other ones."""
    from meshhw.lab.client import Lab

    cli = context()
    variables: dict[str, str] = Lab(cli.home).status()["env"]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    cli.output.show(variables, "\n".join(lines))


_FAULTS = (
    "pull, return, swap (another one in its place), clear (erase it), lock (its PIN), full, busy, hang, "
    "slow, notouch (nobody touches it), none"
)


@app.command("fault")
def fault(
    token: Annotated[str, typer.Argument(help="A token of the lab, plugged in or not.")],
    kind: Annotated[Fault, typer.Argument(metavar="FAULT", help=_FAULTS)],
) -> None:
    """Let something befall a token, in every program that uses it; `none` ends it all."""
    from meshhw.lab.client import Lab

    cli = context()
    Lab(cli.home).fault(token, kind)
    cli.output.show({"token": token, "fault": kind.value}, f"{token}: {kind.value}")


@app.command("down")
def down() -> None:
    """End the lab and remove all that it made."""
    from meshhw.lab.client import Lab

    cli = context()
    Lab(cli.home).down()
    cli.output.show({"down": True}, "the lab is down")


def _list(status: dict[str, Any]) -> None:
    context().output.table(status["tokens"], ["name", "family", "uri"], "the lab has no tokens")
