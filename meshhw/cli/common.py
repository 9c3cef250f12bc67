"""The options that every command takes, and the one object that they add up to.

No verb declares them: they are hung on every verb when its group is loaded, and on the front, and what is
given in either place is gathered. A verb calls `context()` and finds everything there.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import typer
from click.core import ParameterSource

from meshhw.cli.errors import as_json, of_system, of_text, of_usage
from meshhw.cli.help import Application, Verbs
from meshhw.cli.output import Output, nobody_listens, say
from meshhw.errors import Cancelled, MeshError
from meshhw.keystore.home import VARIABLE, state_directory

if TYPE_CHECKING:
    from meshhw.cli.terminal import Terminal
    from meshhw.keystore.api import OpenOptions
    from meshhw.managers.uselog import UseLog

DEFAULT_DEADLINE = 60.0
"""Seconds that one token operation may take, a touch included."""
_DAY = 86400
_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "suggest_commands": False}
_GIVEN = "meshhw.given"
_CONTEXT = "meshhw.context"


@dataclass(frozen=True)
class Context:
    """What a verb runs in: where the state is, whom to ask, how to print."""

    home: Path
    json: bool = False
    pin_sources: tuple[str, ...] = ()
    yes: bool = False
    deadline: float = DEFAULT_DEADLINE
    verbose: int = 0
    allow_final_try: bool = False

    @cached_property
    def output(self) -> Output:
        """The one door to stdout."""
        return Output(json=self.json, verbose=self.verbose)

    @cached_property
    def interaction(self) -> Terminal:
        """Whom drivers and managers ask. Raises UsageError for a PIN source that cannot be read as one."""
        from meshhw.cli.terminal import Terminal

        return Terminal.from_options(
            self.pin_sources, assume_yes=self.yes, allow_final_try=self.allow_final_try
        )

    @cached_property
    def open_options(self) -> OpenOptions:
        """How every token of this command is opened: with this terminal, deadline and use log."""
        from meshhw.keystore.api import OpenOptions

        return OpenOptions(interaction=self.interaction, recorder=self.use_log, deadline=self.deadline)

    @cached_property
    def use_log(self) -> UseLog:
        """The use log of this home, in which this command is the caller."""
        from meshhw.managers.uselog import UseLog

        return UseLog(self.home / "log.jsonl", click.get_current_context().command_path)

    def require_consent(self, question: str) -> None:
        """Go on only when the person says so, or said --yes. Raises Cancelled."""
        if not self.interaction.confirm(question):
            raise Cancelled("not confirmed, nothing was changed", hint="answer yes, or repeat with --yes")


def context() -> Context:
    """The running command's Context."""
    meta = click.get_current_context().meta
    if _CONTEXT not in meta:
        meta[_CONTEXT] = _build(meta.get(_GIVEN, {}))
    built: Context = meta[_CONTEXT]
    return built


@contextmanager
def ending(ctx: click.Context, words: Sequence[str] = ()) -> Iterator[None]:
    """What every command's end owes: no bar left on the terminal, and with --json exactly one value, also
    when the `words` of the call are wrong.
    """
    try:
        yield
    except click.ClickException as error:
        if "--json" in takewhile(lambda word: word != "--", words):
            ctx.meta.setdefault(_GIVEN, {})["json"] = True  # they were not all looked at
        _complete(ctx, of_usage(error))
        raise
    except UnicodeEncodeError as error:
        if error.encoding != "utf-8":
            raise
        no_text = of_text()
        _complete(ctx, no_text)
        raise no_text from error
    except OSError as error:
        if isinstance(error, BrokenPipeError) and nobody_listens():
            raise  # nobody would hear of it
        told = of_system(error)
        _complete(ctx, told)
        raise told from error
    except MeshError as error:
        _complete(ctx, error)
        raise
    else:
        _complete(ctx, None)
    finally:
        built = ctx.meta.get(_CONTEXT)
        if built is not None and "interaction" in vars(built):
            built.interaction.cancel()
            built.interaction.close()
        if built is not None and "use_log" in vars(built):
            built.use_log.close()


def verbs(help_text: str) -> typer.Typer:
    """An empty group of verbs, plain and quick. Hang verbs on it with `@app.command()`."""
    app = Application(cls=Verbs, help=help_text, **_PLAIN)
    app.callback(no_args_is_help=True)(_nothing)
    return app


def single() -> typer.Typer:
    """The application of a command that is no group (`doctor`, `version`): give it one command."""
    return Application(**_PLAIN)


def common_options() -> list[click.Option]:
    """Fresh instances of the common options."""
    return [
        _option(
            "--home", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help=_HELP["home"]
        ),
        _option("--json", is_flag=True, help=_HELP["json"]),
        _option("--pin-source", multiple=True, metavar="SRC", help=_HELP["pin_source"]),
        _option("--yes", is_flag=True, help=_HELP["yes"]),
        _option("--deadline", type=_Seconds(0, _DAY, min_open=True), metavar="S", help=_HELP["deadline"]),
        _option("--allow-final-try", is_flag=True, help=_HELP["allow_final_try"]),
        _option("-v", "--verbose", count=True, help=_HELP["verbose"]),
    ]


def add_common_options(command: click.Command) -> click.Command:
    """Hang the common options on a verb, or on every verb of a group."""
    if isinstance(command, click.Group):
        for verb in command.commands.values():
            add_common_options(verb)
    else:
        command.params += common_options()
    return command


class _Seconds(click.FloatRange):
    """Seconds in a range; what is no number at all is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return seconds


_HELP = {
    "home": "State directory (default: $MESHHW_HOME, else the user's data directory).",
    "json": "Print exactly one JSON value on stdout.",
    "pin_source": "Where PINs come from: prompt, env:NAME, file:PATH, fd:N, keyring, or URI=SRC. Repeatable.",
    "yes": "Answer yes to what would be asked.",
    "deadline": f"Seconds one token operation may take (default {DEFAULT_DEADLINE:.0f}).",
    "allow_final_try": "Spend the last try of a PIN too.",
    "verbose": "Say more on stderr.",
}


def _option(*names: str, **settings: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_gather, **settings)


def _gather(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep what was really given; the later place wins, PIN sources and -v add up."""
    if param.name is None or ctx.get_parameter_source(param.name) is ParameterSource.DEFAULT:
        return
    given: dict[str, Any] = ctx.meta.setdefault(_GIVEN, {})
    adds: Callable[[Any, Any], Any] | None = _ADDING.get(param.name)
    given[param.name] = adds(given[param.name], value) if adds and param.name in given else value


_ADDING: dict[str, Callable[[Any, Any], Any]] = {
    "pin_source": lambda before, after: before + after,
    "verbose": lambda before, after: before + after,
}


def _build(given: dict[str, Any]) -> Context:
    if "home" in given:  # drivers are plug-ins that are told of the state directory by the environment alone
        os.environ[VARIABLE] = str(given["home"].expanduser().absolute())
    if not given.get("verbose"):
        _hush_libraries()
    _pass_on_warnings()
    return Context(
        home=state_directory(),
        json=given.get("json", False),
        pin_sources=given.get("pin_source", ()),
        yes=given.get("yes", False),
        deadline=given.get("deadline", DEFAULT_DEADLINE),
        verbose=given.get("verbose", 0),
        allow_final_try=given.get("allow_final_try", False),
    )


def _complete(ctx: click.Context, error: MeshError | None) -> None:
    """With --json: the fault as an object, or null, unless the command has printed its value."""
    if ctx.meta.get(_GIVEN, {}).get("json"):
        built = ctx.meta.get(_CONTEXT)
        output = built.output if built is not None else Output(json=True)
        if not output.printed:
            output.show(None if error is None else as_json(error))


def _hush_libraries() -> None:
    """Libraries below PKCS#11 modules write to stderr on their own; every fault of theirs is told by us."""
    os.environ.setdefault("TSS2_LOG", "all+NONE")
    os.environ.setdefault("TPM2_PKCS11_LOG_LEVEL", "0")


class _ToThePerson(logging.Handler):
    """What drivers warn of (a factory's management key, say), as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def _pass_on_warnings() -> None:
    logger = logging.getLogger("meshhw")
    if not any(isinstance(handler, _ToThePerson) for handler in logger.handlers):
        logger.addHandler(_ToThePerson(logging.WARNING))


def _nothing() -> None:
    return None
