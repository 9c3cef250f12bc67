"""Completion by the shell: Typer's scripts and answers, loaded only when somebody asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

VARIABLE = "_MESHHW_COMPLETE"
"""What Typer's scripts set when the shell asks."""
_SHELLS = ("bash", "zsh", "fish", "pwsh", "powershell")
_THIS = "this"


def answer_shells() -> None:
    """Make ready for the question of a shell, if one asks: click alone would answer in another dialect."""
    if VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()


def options() -> list[click.Option]:
    """`--install-completion` and `--show-completion`, for the shell that is named or that runs this."""
    return [
        _option("--install-completion", _install, "Let the shell complete what is typed."),
        _option("--show-completion", _show, "Print what that installs."),
    ]


def _option(name: str, work: Callable[[str], str], help_text: str) -> click.Option:
    def call(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
        if shell is not None and not ctx.resilient_parsing:
            click.echo(work(_this_shell() if shell == _THIS else shell))
            ctx.exit()

    return click.Option(
        [name],
        is_flag=False,
        flag_value=_THIS,
        type=click.Choice([*_SHELLS, _THIS]),
        metavar="[SHELL]",
        is_eager=True,
        expose_value=False,
        callback=call,
        help=help_text,
    )


def _install(shell: str) -> str:
    from typer._completion_shared import install

    _, place = install(shell)
    return f"{place} completes meshhw in every {shell} that is started from now on"


def _show(shell: str) -> str:
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name="meshhw", complete_var=VARIABLE, shell=shell)


def _this_shell() -> str:
    from typer._completion_shared import _get_shell_name

    name = _get_shell_name() or ""
    if name not in _SHELLS:
        raise click.UsageError(f"this is no shell that can complete: name one of {', '.join(_SHELLS)}")
    return name
