"""`meshhw ssh`: keys for SSH and git that stay in tokens."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshhw.algorithms import Algorithm
from meshhw.cli.catalogs import Account
from meshhw.cli.common import context, verbs

if TYPE_CHECKING:
    from meshhw.managers.ssh.keys import SshKey

_ENDS = {signal.SIGINT, signal.SIGTERM}

app = verbs("SSH keys in tokens, and an agent that signs with them.")


@app.command()
def add(
    on: Annotated[str, typer.Option("--on", metavar="TOKEN", help="The token to make the key on.")],
    comment: Annotated[str, typer.Option(help="What the key is called in authorized_keys.")] = "",
    algorithm: Annotated[str, typer.Option(help="Ed25519, P-256, P-384 or RSA-3072.")] = "",
    account: Account = None,
) -> None:
    """Make a key of its own for SSH on a token, and print its authorized_keys line.

    Where this home belongs to an account, the public key is listed in the account's application catalog.
    """
    from meshhw.keystore.registry import find_token, open_token
    from meshhw.managers.ssh.keys import SshKeys

    run = context()
    chosen = Algorithm.parse(algorithm) if algorithm else None
    token = open_token(find_token(on), run.open_options)
    try:
        made = SshKeys(run.home).add(token, comment, chosen)
    finally:
        token.close()
    listed = _list(made, account)
    run.output.show({"uri": made.uri, "public": made.line, "listed": listed}, made.line)


@app.command("list")
def list_keys(
    *,
    everywhere: Annotated[
        bool, typer.Option("--all", help="The keys of all the account's devices, by its catalog.")
    ] = False,
    account: Account = None,
) -> None:
    """List the SSH keys: the line for authorized_keys, and where the private key is."""
    from meshhw.managers.ssh.keys import SshKeys

    run = context()
    if everywhere:
        _list_all(account)
        return
    rows = [
        {"uri": key.uri, "algorithm": key.algorithm.value, "comment": key.comment, "public": key.line}
        for key in SshKeys(run.home).all()
    ]
    run.output.table(rows, ["public", "uri"], empty="no SSH key yet; `meshhw ssh add --on TOKEN` makes one")


@app.command(context_settings={"allow_interspersed_args": False})
def agent(
    command: Annotated[list[str] | None, typer.Argument(help="A command to run with the agent.")] = None,
    socket: Annotated[Path | None, typer.Option(help="Where to listen (default: a private place).")] = None,
) -> None:
    """Serve the SSH keys as an ssh-agent: for one COMMAND, or until interrupted.

    `meshhw ssh agent -- ssh host` runs one command; without one, the shell line that points programs at the
    agent is printed first.
    """
    from meshhw.managers.host import Host
    from meshhw.managers.ssh.agent import Agent, Server
    from meshhw.managers.ssh.keys import SshKeys

    run = context()
    serving = Agent(
        SshKeys(run.home).all(),
        run.open_options,
        lambda error: run.output.note(f"{error.message}" + (f" ({error.hint})" if error.hint else "")),
        {key.public for profile in Host(run.home).profiles() for key in profile.keys},
    )
    with tempfile.TemporaryDirectory(prefix="meshhw-ssh-") as private:
        place = socket.absolute() if socket else Path(private) / "agent"
        if not command:  # blocked in every thread from here on, so that only sigwait takes them
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        with Server(serving, place):
            if command:
                raise typer.Exit(_run(command, place))
            shell = f"SSH_AUTH_SOCK={place}; export SSH_AUTH_SOCK;"
            run.output.show({"SSH_AUTH_SOCK": str(place)}, shell)
            signal.sigwait(_ENDS)


def _run(command: list[str], socket: Path) -> int:
    return subprocess.run(command, env=os.environ | {"SSH_AUTH_SOCK": str(socket)}, check=False).returncode


def _list(made: SshKey, account: str | None) -> bool:
    """List a new key in the account, if there is one here that may; it is made all the same."""
    from meshhw.errors import KeyNotFound, NotSupported
    from meshhw.managers.account.sshkeys import list_key
    from meshhw.managers.account.standing import standings
    from meshhw.managers.host import Host

    run = context()
    host = Host(run.home)
    if account is None and not standings(host):
        return False
    try:
        list_key(host, made.public_key, made.comment, account, run.open_options)
    except (KeyNotFound, NotSupported) as error:
        run.output.note(f"the key is not listed in the account: {error.message}")
        return False
    return True


def _list_all(account: str | None) -> None:
    from meshhw.managers.account.sshkeys import listed_keys
    from meshhw.managers.host import Host
    from meshhw.managers.ssh.wire import authorized_key

    run = context()
    rows = [
        {
            "algorithm": found.public.algorithm.value,
            "comment": found.comment,
            "public": authorized_key(found.public, found.comment),
        }
        for found in listed_keys(Host(run.home), account, run.open_options)
    ]
    run.output.table(rows, ["public"], empty="the account lists no SSH key yet")
