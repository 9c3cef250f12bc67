"""What `--help` tells: each verb in a whole sentence, and what each argument is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup


class Verbs(TyperGroup):
    """A group whose help tells of each verb in a whole sentence, where click would cut it off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = [(name, verb) for name, verb in self.commands.items() if not verb.hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, (verb.help or "").partition("\n\n")[0]) for name, verb in shown])


class Verb(TyperCommand):
    """A verb that tells what its arguments are."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        explain(self)
        super().format_help(ctx, formatter)

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: Typer tells of them with the options."""


class Application(typer.Typer):
    """Hangs verbs of that class."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """As Typer's."""
        return super().command(name, cls=Verb, **settings)


def explain(command: click.Command) -> None:
    """Give its arguments the help that they were declared with: since 8.5 click has a place of its own for
    that, and empties Typer's. It takes a while, and so waits until somebody wants it.
    """
    arguments = [param for param in command.params if isinstance(param, TyperArgument) and not param.help]
    declared = getattr(command.callback, "__wrapped__", None)
    if not arguments or declared is None:
        return
    from typer.utils import get_params_from_function

    known = get_params_from_function(declared)
    for argument in arguments:
        argument.help = getattr(known[argument.name or ""].default, "help", None)
