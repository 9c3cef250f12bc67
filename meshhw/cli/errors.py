"""How a command ends: one line and a hint on stderr, and the exit status that the fault's class says.

0 done, 1 failed, 2 usage, 3 token or key absent, 4 PIN, 5 not supported, 6 integrity, 7 busy or too late,
130 interrupted. A traceback is left for defects of the program alone.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from meshhw import files
from meshhw.cli.output import say
from meshhw.errors import MeshError, UsageError

INTERRUPTED = 130
_CURES = {
    errno.ENOENT: "check its spelling; a path without / in front begins in the directory of the command",
    errno.ENOTDIR: "check its spelling: what should be a directory in it is a file",
    errno.EISDIR: "name a file, not a directory",
    errno.EACCES: "`ls -ld` on it and the directories above tells who may use it",
    errno.EPERM: "`ls -ld` on it and the directories above tells who may use it",
    errno.ELOOP: "links in it lead in a circle; name the file itself",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EROFS: "name a place on another disk: this one cannot be written",
    errno.ENOSPC: "make room on the disk, and repeat the command",
    errno.EDQUOT: "make room on the disk, and repeat the command",
    errno.EMFILE: files.MORE,
    errno.ENFILE: files.MORE,
}
"""What to do about what the operating system says."""


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
    cure = _CURES.get(error.errno or 0, "")
    return MeshError(f"{_named(error)}: {what}" if error.filename else what, hint=cure)


def _named(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)


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
