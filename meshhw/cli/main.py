"""The front of the command line: one table of commands, each loaded only when it is called.

`meshhw --help` imports no command, no driver and no vendor's library; that is most of its speed.
"""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NamedTuple

import click
import typer
from click.shell_completion import CompletionItem
from typer.core import TyperGroup

from meshhw import __version__
from meshhw.cli import completion
from meshhw.cli.common import add_common_options, common_options, ending
from meshhw.cli.errors import report


class Entry(NamedTuple):
    """Where a command lives (a module with a Typer application named `app`), and one line about it."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "token": Entry(
        "meshhw.cli.token", "Tokens: list, show and check what they can do, change and unlock PINs."
    ),
    "key": Entry("meshhw.cli.key", "Single keys in tokens: generate, import, sign, attest, delete."),
    "device": Entry("meshhw.cli.device", "Device profiles whose private keys live in tokens."),
    "account": Entry("meshhw.cli.account", "A person's Mesh account: its keys, devices and escrow."),
    "threshold": Entry("meshhw.cli.threshold", "Keys whose shares live in several tokens and never meet."),
    "dare": Entry("meshhw.cli.dare", "Envelopes, sequences and archives: encode, decode, verify, prove."),
    "udf": Entry("meshhw.cli.udf", "Fingerprints, nonces, secrets and their shares (UDF)."),
    "password": Entry("meshhw.cli.password", "User names and passwords, on every device of the account."),
    "bookmark": Entry("meshhw.cli.bookmark", "Bookmarks, on every device of the account."),
    "task": Entry("meshhw.cli.task", "Tasks, on every device of the account."),
    "network": Entry("meshhw.cli.network", "Credentials of networks, on every device of the account."),
    "contact": Entry("meshhw.cli.contact", "Contacts, on every device of the account."),
    "ssh": Entry("meshhw.cli.ssh", "SSH keys in tokens, and an agent that signs with them."),
    "log": Entry("meshhw.cli.log", "The use log: every operation with a private key."),
    "lab": Entry("meshhw.cli.lab", "Emulated tokens for tests and trials, and faults in them."),
    "doctor": Entry("meshhw.cli.doctor", "What is missing on this machine, and the command that mends it."),
    "demo": Entry("meshhw.cli.demo", "The main job from end to end on emulated tokens."),
    "version": Entry("meshhw.cli.version", "The versions of meshhw, Python and the drivers."),
}


class Front(TyperGroup):
    """A group that knows its commands by the table alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(error.message + _meant(args[0]), ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        with ending(ctx, [*ctx._protected_args, *ctx.args]):
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return list(_completions(incomplete))


def load(name: str) -> click.Command:
    """The command of that name with the common options on each of its verbs."""
    command = typer.main.get_command(import_module(COMMANDS[name].module).app)
    return add_common_options(command)


def front() -> TyperGroup:
    """The whole command line as one click group."""
    app = typer.Typer(cls=Front, rich_markup_mode=None, suggest_commands=False)
    app.callback(no_args_is_help=True)(_meshhw)
    command = typer.main.get_group(app)
    command.params += [*common_options(), *completion.options(), _version_option()]
    return command


def run() -> None:
    """The console script: run the command line, exit with its status."""
    completion.answer_shells()
    _leave_no_core()
    status = report(lambda: front().main(prog_name="meshhw", standalone_mode=False))
    gc.freeze()  # the process ends: what it made is not looked through once more for garbage
    sys.exit(status)


def _leave_no_core() -> None:
    """What crashes in a maker's library must not leave PINs and keys in a file, nor with a program that the
    system pipes cores to: one octet, since that one gets them even when none is allowed (core(5)).
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, most))


def _meshhw() -> None:
    """The Mathematical Mesh 3.0 with keys in hardware.

    The options may stand here or after the verb.
    """


def _meant(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS)
    return f" (Did you mean {' or '.join(map(repr, close))}?)" if close else ""


def _version_option() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            click.echo(f"meshhw {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the version.",
    )


def _completions(incomplete: str) -> Iterable[CompletionItem]:
    for name, entry in COMMANDS.items():
        if name.startswith(incomplete):
            yield CompletionItem(name, help=entry.help)
