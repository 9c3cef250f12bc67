"""How a command ends: one line and a hint on stderr, and the exit status that the fault's class says.

0 done, 1 failed, 2 usage, 3 token or key absent, 4 PIN, 5 not supported, 6 integrity, 7 busy or too late,
130 interrupted. A traceback is left for defects of the program alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from meshhw.cli.output import say
from meshhw.errors import MeshError, UsageError

INTERRUPTED = 130


def report(command: Callable[[], object]) -> int:
    """Run a command, tell what went wrong, return the exit status."""
    try:
        status = command()
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except MeshError as error:
        return _tell(error.message, _hint(error), error.exit_status, error)
    except click.ClickException as error:
        return _tell_usage(error)
    except (KeyboardInterrupt, click.Abort):
        return _tell("interrupted", "", INTERRUPTED)
    except BrokenPipeError:
        _close_stdout()
        return 1


def _tell(message: str, hint: str, status: int, error: MeshError | None = None) -> int:
    say(" ".join(message.split("\n")) + _wire(error))
    if hint:
        sys.stderr.write(f"hint: {hint}\n")
    return status


def _hint(error: MeshError) -> str:
    """The error's hint, with the names to choose from where there are some."""
    candidates = getattr(error, "candidates", ())
    if not candidates or candidates[0] in error.hint:
        return error.hint
    return f"{error.hint}: " + "  ".join(candidates)


def _wire(error: MeshError | None) -> str:
    return f" [{error.code}]" if error is not None and error.code is not None else ""


def _tell_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    told = of_usage(error)
    return _tell(told.message, told.hint, error.exit_code)


def of_usage(error: click.ClickException) -> UsageError:
    """What is wrong with the words of a call, as an error with one line and a hint."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if isinstance(ctx, click.Context) else "meshhw"
    return UsageError(error.format_message(), hint=f"`{path} --help` tells what it takes")


def of_system(error: OSError) -> MeshError:
    """What the operating system refused (a missing file, a full disk), as an error with one line."""
    what = error.strerror or str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError) and str(error.filename) == "-":
        return UsageError("this is not read from a pipe", hint="name a file")
    return MeshError(f"{error.filename}: {what}" if error.filename else what)


def of_text() -> UsageError:
    """That what was given, and is written or sent as text, is none: only a file's name may be so."""
    return UsageError("an argument or a name is not UTF-8", hint="write it in UTF-8, or rename the file")


def as_json(error: MeshError) -> dict[str, Any]:
    """An error for programs: its class, its line, its hint, its exit status."""
    told = {"class": type(error).__name__, "message": error.message, "hint": error.hint or None}
    more = {name: getattr(error, name) for name in ("candidates", "retries_left") if hasattr(error, name)}
    return {"error": told | {"exit_status": error.exit_status} | more}


def _close_stdout() -> None:
    """The reader went away; without this the interpreter complains once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
